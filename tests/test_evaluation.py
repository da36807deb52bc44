"""Scores of known readings, and the command over folders."""

import base64
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lxml import html
from PIL import Image

from clip4str_plugin.cli import main
from clip4str_plugin.data.datasets import WordDataset, open_dataset
from clip4str_plugin.errors import ImageError
from clip4str_plugin.evaluation.ablation import ABLATIONS, ablated
from clip4str_plugin.evaluation.evaluate import CHARSETS, Evaluation, GroupScore, WordResult, combine, evaluate, score
from clip4str_plugin.evaluation.significance import compare
from clip4str_plugin.model.config import GEOMETRIES, clip_config
from clip4str_plugin.reading.recognizer import Recognition

# label, reading, confidence
WORDS = [
    ("McDonald's", "MCDONALDS", 0.5),  # right when case and punctuation are ignored
    ("abcd", "abxd", 1.0),  # 1 of 4 wrong
    ("ab", "abcd", 0.25),  # 2 of 4 wrong
    ("!?", "17", 1.0),  # no label in 36 characters
    ("xyz", "", 0.25),  # all wrong
]


class Words(WordDataset):
    """Known words without images; crops carry the number of the word."""

    name = "known"

    def __init__(self, words, damaged=()):
        self.words, self.damaged = words, damaged

    def __len__(self):
        return len(self.words)

    def label(self, index):
        return self.words[index][0]

    def source(self, index):
        return f"word {index}"

    def __getitem__(self, index):
        if index >= len(self):
            raise IndexError
        if index in self.damaged:
            raise ImageError(f"word {index}: damaged")
        return np.full((2, 2, 3), index, np.uint8), self.label(index)


def reader(words):
    """A recognizer that knows the words by their number."""
    return SimpleNamespace(stream=lambda crops: (Recognition(*words[crop[0, 0, 0]][1:], ()) for crop in crops))


def test_known_scores():
    result = evaluate(reader(WORDS), Words(WORDS))
    assert result.samples == 4
    assert result.dropped == 1
    assert result.unreadable == 0
    assert result.accuracy == pytest.approx(100 * 1 / 4)
    assert result.ned == pytest.approx(100 * (1 + 3 / 4 + 2 / 4 + 0) / 4)
    assert result.confidence == pytest.approx(100 * (0.5 + 1 + 0.25 + 0.25) / 4)
    assert result.length == pytest.approx((9 + 4 + 4 + 0) / 4)
    assert list(result.by_length) == [2, 3, 4, 9]
    assert result.by_length[9] == GroupScore(1, 1)
    assert result.by_length[4].accuracy == 0


@pytest.mark.parametrize(("charset", "samples", "correct"), [("36", 4, 1), ("62", 4, 0), ("94", 5, 0)])
def test_protocols(charset, samples, correct):
    result = evaluate(reader(WORDS), Words(WORDS), CHARSETS[charset])
    assert result.samples == samples
    assert result.accuracy == pytest.approx(100 * correct / samples)


def test_case_and_punctuation_count_when_asked():
    words = [("Don't", "Don't", 1.0), ("Don't", "don't", 1.0), ("Don't", "Dont", 1.0)]
    accuracy = {name: evaluate(reader(words), Words(words), c).accuracy for name, c in CHARSETS.items()}
    assert accuracy == pytest.approx({"36": 100, "62": 200 / 3, "94": 100 / 3})


def test_readings_come_in_order():
    readings = []
    evaluate(reader(WORDS), Words(WORDS), on_reading=readings.append)
    assert [(r.source, r.label, r.text, r.confidence) for r in readings] == [
        ("word 0", "mcdonalds", "mcdonalds", 0.5),
        ("word 1", "abcd", "abxd", 1.0),
        ("word 2", "ab", "abcd", 0.25),
        ("word 4", "xyz", "", 0.25),
    ]


def test_damaged_images_are_counted():
    errors = []
    result = evaluate(reader(WORDS), Words(WORDS, damaged={1, 3}), on_unreadable=errors.append)
    assert result.samples == 3
    assert result.unreadable == 1  # the other has no label in this charset
    assert [str(e) for e in errors] == ["word 1: damaged"]
    assert result.length == pytest.approx((9 + 4 + 0) / 3)


def test_nothing_to_evaluate():
    result = evaluate(reader([]), Words([]))
    assert (result.samples, result.accuracy, result.by_length) == (0, 0.0, {})
    assert combine([result]).samples == 0


def test_combined_means_count_every_word_the_same():
    small = Evaluation("small", 1, 100, 100, 40, 2, {2: GroupScore(1, 1)}, dropped=1, seconds=1, timed=1)
    large = Evaluation("large", 3, 0, 50, 80, 4, {2: GroupScore(1, 0), 5: GroupScore(2, 0)}, unreadable=2, seconds=2)
    both = combine([small, large])
    assert both.samples == 4
    assert (both.accuracy, both.ned, both.confidence, both.length) == pytest.approx((25, 62.5, 70, 3.5))
    assert both.by_length == {2: GroupScore(2, 1), 5: GroupScore(2, 0)}
    assert (both.dropped, both.unreadable, both.seconds) == (1, 2, 3)


def test_combining_equals_evaluating_at_once():
    parts = [WORDS[:2], WORDS[2:]]
    combined = combine([evaluate(reader(part), Words(part)) for part in parts])
    whole = evaluate(reader(WORDS), Words(WORDS))
    for figure in ("samples", "accuracy", "ned", "confidence", "length", "dropped"):
        assert getattr(combined, figure) == pytest.approx(getattr(whole, figure))
    assert combined.by_length == whole.by_length


# ---- the command -------------------------------------------------------------------------------------------


@pytest.fixture
def sets(tmp_path):
    """Two folders; every word is to be read as "word"."""
    for name, labels in (("one", ["word", "Word!"]), ("two", ["other", "!"])):
        (tmp_path / name).mkdir()
        for i, label in enumerate(labels):
            Image.new("RGB", (9, 9)).save(tmp_path / name / f"{i}.png")
            with (tmp_path / name / "labels.tsv").open("a") as table:
                table.write(f"{i}.png\t{label}\n")
    return tmp_path


@pytest.fixture
def run(monkeypatch):
    """Run the command with a recognizer that reads "word" everywhere; return status and configurations asked for."""
    changes = []

    def build(args, overrides):
        assert not hasattr(args, "charset")  # it would restrict what can be read
        changes.append(overrides)
        return SimpleNamespace(stream=lambda crops: (Recognition("word", 0.5, ()) for _ in crops))

    monkeypatch.setattr("clip4str_plugin.cli.options.build_recognizer", build)
    return lambda *arguments: (main(["evaluate", *map(str, arguments)]), changes)


def test_table(run, sets, capsys):
    status, changes = run(sets / "one", sets / "two", "--by-length", "--by-orientation")
    out, err = capsys.readouterr()
    assert status == 0
    assert changes == [{"caption_charset": CHARSETS["36"]}]
    rows = {line.split()[0]: line.split() for line in out.splitlines()}
    assert rows["one"][1:4] == ["2", "100.00", "100.00"]
    assert rows["two"][1:3] == ["1", "0.00"]
    assert rows["two"][6] == "1"
    assert rows["combined"][1:3] == ["3", "66.67"]
    assert rows["5"] == ["5", "characters", "1", "0.00"]
    assert rows["square"] == ["square", "crops", "3", "66.67"]
    assert err == ""


def test_json_and_errors_file(run, sets, capsys):
    status, changes = run(sets / "one", "--charset", "94", "--format", "json", "--errors", sets / "errors.tsv")
    (result,) = json.loads(capsys.readouterr().out)
    assert status == 0
    assert changes == [{"caption_charset": CHARSETS["94"]}]
    assert result["name"] == "one"
    assert result["accuracy"] == 50
    assert result["by_length"]["4"] == {"samples": 1, "correct": 1}
    assert (sets / "errors.tsv").read_text() == f"{sets / 'one' / '1.png'}\tWord!\tword\t0.5000\n"


def test_bad_set_and_bad_image_do_not_stop_the_rest(run, sets, capsys):
    (sets / "one" / "0.png").write_bytes(b"no image")
    status, _ = run(sets / "missing", sets / "one", "--format", "json")
    out, err = capsys.readouterr()
    assert status == 1
    (result,) = json.loads(out)
    assert (result["samples"], result["unreadable"]) == (1, 1)
    assert "missing: is not a folder" in err
    assert "0.png" in err


def test_real_recognizer_and_folder(golden_model, sets):
    from clip4str_plugin import Recognizer

    result = evaluate(Recognizer(golden_model, batch_size=1), open_dataset(sets / "one"))
    assert result.samples == 2
    assert 0 <= result.confidence <= 100


# ---- breakdowns, resuming, reports ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "height", "orientation"),
    [(30, 20, "horizontal"), (29, 20, "square"), (20, 29, "square"), (20, 30, "vertical"), (1, 1, "square")],
)
def test_orientation(width, height, orientation):
    assert WordResult("", "a", "a", 1.0, 0, width, height).orientation == orientation


def test_scores_by_orientation():
    readings = [
        WordResult("", "ab", text, 1.0, i, w, 10) for i, (text, w) in enumerate([("ab", 40), ("x", 40), ("ab", 3)])
    ]
    result = score(readings)
    assert result.by_orientation == {"horizontal": GroupScore(2, 1), "vertical": GroupScore(1, 1)}


def test_known_readings_are_not_read_again():
    readings, again = [], []
    complete = evaluate(reader(WORDS), Words(WORDS), on_reading=readings.append)
    known = {r.index: r for r in readings[:2]}
    resumed = evaluate(reader(WORDS), Words(WORDS), known=known, on_reading=again.append)
    assert [r.index for r in again] == [2, 4]
    for figure in ("samples", "accuracy", "ned", "confidence", "length", "by_length", "by_orientation", "dropped"):
        assert getattr(resumed, figure) == getattr(complete, figure)
    assert (complete.timed, resumed.timed) == (4, 2)


def test_an_interrupted_evaluation_goes_on(run, sets, capsys, tmp_path):
    results = tmp_path / "results.jsonl"
    arguments = (sets / "one", sets / "two", "--results", results, "--format", "json")
    run(*arguments)
    first = json.loads(capsys.readouterr().out)
    lines = results.read_text().splitlines(keepends=True)
    assert len(lines) == 4  # settings and three readings
    results.write_text("".join(lines[:2]) + lines[2][:20])  # killed while writing the second
    run(*arguments)
    second = json.loads(capsys.readouterr().out)
    assert results.read_text().splitlines(keepends=True) == lines
    assert [e["timed"] for e in first] == [2, 1, 3]
    assert [e["timed"] for e in second] == [1, 1, 2]
    for before, after in zip(first, second):
        assert {k: v for k, v in before.items() if k not in ("timed", "seconds")} == {
            k: v for k, v in after.items() if k not in ("timed", "seconds")
        }


def test_results_with_other_settings_are_refused(run, sets, capsys, tmp_path):
    results = tmp_path / "results.jsonl"
    assert run(sets / "one", "--results", results)[0] == 0
    before = results.read_bytes()
    assert run(sets / "one", "--results", results, "--charset", "94")[0] == 1
    assert "other settings (charset)" in capsys.readouterr().err
    assert results.read_bytes() == before


def test_a_foreign_results_file_is_refused_and_kept(run, sets, capsys, tmp_path):
    results = tmp_path / "results.jsonl"
    results.write_text("a shopping list\n")
    assert run(sets / "one", "--results", results)[0] == 1
    assert "is not a file written by 'clip4str evaluate --results'" in capsys.readouterr().err
    assert results.read_text() == "a shopping list\n"


def test_the_papers_row_stands_beside(run, sets, capsys):
    (sets / "one").rename(sets / "SVT")
    (sets / "two").rename(sets / "cute80")
    run(sets / "SVT", sets / "cute80", "--paper", "base16-real")
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert rows["set"][3:5] == ["paper", "differs"]
    assert rows["SVT"][2:5] == ["100.00", "98.30", "+1.70"]
    assert rows["cute80"][2:5] == ["0.00", "99.65", "-99.65"]
    mean = (98.30 * 647 + 99.65 * 288) / (647 + 288)
    assert rows["combined"][2:5] == ["66.67", f"{mean:.2f}", f"{200 / 3 - mean:+.2f}"]


def test_no_papers_row_for_other_charsets(run, sets, capsys):
    (sets / "one").rename(sets / "SVT")
    run(sets / "SVT", "--paper", "base16-real", "--charset", "94")
    assert "paper" not in capsys.readouterr().out


def test_error_sheet_embeds_the_crops(run, sets, capsys):
    Image.fromarray(np.full((8, 40, 3), (200, 30, 30), np.uint8)).save(sets / "two" / "0.png")
    sheet = sets / "errors.html"
    status, _ = run(sets / "one", sets / "two", "--errors", sheet)
    assert status == 0
    page = html.document_fromstring(sheet.read_text(encoding="utf-8"))
    assert [h.text for h in page.iter("h2")] == ["one: 0 of 2 misread", "two: 1 of 1 misread"]
    (picture,) = page.iter("img")
    data = picture.get("src").removeprefix("data:image/jpeg;base64,")
    crop = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert crop.shape == (8, 40, 3)
    assert abs(crop.astype(int) - (200, 30, 30)).max() < 8
    cells = [cell.text_content() for row in list(page.iter("tr"))[2:] for cell in row.iter("td")]
    assert cells[1:4] == ["other", "word", "0.500"]
    assert not page.xpath("//@href | //script")  # nothing but the file itself is needed


def test_error_sheet_escapes(run, sets):
    with (sets / "two" / "labels.tsv").open("a") as table:
        table.write("0.png\t<b>&\n")
    run(sets / "two", "--errors", sets / "errors.html", "--charset", "94")
    text = (sets / "errors.html").read_text(encoding="utf-8")
    assert "<b>" not in text
    page = html.document_fromstring(text)
    assert any(cell.text_content() == "<b>&" for cell in page.iter("td"))


# ---- the study's switches ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("as-is", lambda m, x: m.generate(x).logits),
        ("branch=visual", lambda m, x: m.generate(x).visual_logits),
        ("refine=0", lambda m, x: m.generate(x, refine_iters=0).logits),
        ("refine=2", lambda m, x: m.generate(x, refine_iters=2).logits),
    ],
)
def test_variants_of_the_model(golden_model, golden_images, variant, expected):
    before = golden_model.config
    with torch.inference_mode(), ablated(golden_model, ABLATIONS[variant]) as model:
        got = model.generate(golden_images).logits
    assert golden_model.config is before
    with torch.inference_mode():
        torch.testing.assert_close(got, expected(golden_model, golden_images), rtol=0, atol=2e-4)


def test_caption_variants(golden, golden_model, golden_images):
    with torch.inference_mode():
        with ablated(golden_model, ABLATIONS["captions=94"]) as model:
            logits = model.generate(golden_images).logits
        with ablated(golden_model, ABLATIONS["captions=none"]) as model:
            captions = model.generate(golden_images).captions
    for i in range(7):
        expected = golden("alone.npz")[f"crop{i}_r1_charset94/logits"][0]
        np.testing.assert_allclose(logits[i].numpy(), expected, rtol=0, atol=2e-4)
    assert set(sum(captions, ())) == {""}


def test_every_variant_runs_or_says_why_not(golden_checkpoint, sets, capsys, pytorch_alone):
    assert main(["evaluate", str(sets / "one"), "--model", str(golden_checkpoint), "--ablate", "--format", "json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert list(results) == list(ABLATIONS)
    assert all(e["samples"] == 2 for result in results.values() if isinstance(result, list) for e in result)
    assert all(isinstance(result, list) for result in results.values())


def test_ablation_table_and_results_by_variant(golden_checkpoint, sets, capsys, tmp_path, pytorch_alone):
    command = ["evaluate", str(sets / "one"), str(sets / "two"), "--model", str(golden_checkpoint)]
    command += ["--results", str(tmp_path / "r.jsonl"), "--ablate", "refine=0", "branch=visual"]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["variant", "one", "two", "combined", "words/s"]
    assert [line.split()[0] for line in lines[1:]] == ["refine=0", "branch=visual"]
    assert sorted(p.name for p in tmp_path.glob("r.*")) == ["r.branch=visual.jsonl", "r.refine=0.jsonl"]


def test_a_variant_that_cannot_be():
    model = SimpleNamespace(config=clip_config(**(GEOMETRIES["base16"] | {"text_width": 64})), caption_filter=None)
    with pytest.raises(ValueError, match="text width"), ablated(model, ABLATIONS["context=embeddings"]):
        pass
    model.config = model.config.replace(cross_branch=False)
    with pytest.raises(ValueError, match="no cross-modal branch"), ablated(model, ABLATIONS["captions=62"]):
        pass


# ---- significance -----------------------------------------------------------------------------------------


def readings_of(pattern):
    """Readings that are right where the pattern has a 1."""
    return [WordResult(str(i), "ab", "ab" if right == "1" else "xx", 1.0, i) for i, right in enumerate(pattern)]


def test_mcnemar_by_hand():
    # Eight words only the second reads, one only the first: two-sided, 2 * (1 + 9) / 2**9.
    result = compare(readings_of("1" * 6 + "0" * 8 + "1"), readings_of("1" * 6 + "1" * 8 + "0"))
    assert (result.only_first, result.only_second, result.samples) == (1, 8, 15)
    assert result.p_value == pytest.approx(2 * (1 + 9) / 2**9)
    assert result.difference == pytest.approx(100 * 7 / 15)
    assert result.ned_difference == pytest.approx(100 * 7 / 15)
    assert 0 < result.interval[0] < result.difference < result.interval[1] < 100


def test_bootstrap_covers_what_theory_says():
    random = np.random.default_rng(2)
    a, b = ("".join(random.choice(["0", "1"], 4000, p=p)) for p in ([0.3, 0.7], [0.25, 0.75]))
    result = compare(readings_of(a), readings_of(b))
    differences = np.array([int(y) - int(x) for x, y in zip(a, b)])
    spread = 196 * differences.std() / 4000**0.5
    assert result.interval == pytest.approx((result.difference - spread, result.difference + spread), abs=0.15)


def test_equal_readers():
    result = compare(readings_of("1100"), readings_of("1100"))
    assert (result.p_value, result.difference, result.interval) == (1.0, 0.0, (0.0, 0.0))


def test_different_words_are_refused():
    with pytest.raises(ValueError, match="same words"):
        compare(readings_of("11"), readings_of("111"))


def test_compare_command(run, sets, capsys, monkeypatch, tmp_path):
    run(sets / "one", sets / "two", "--results", tmp_path / "a.jsonl")
    worse = SimpleNamespace(stream=lambda crops: (Recognition("other", 0.5, ()) for _ in crops))
    monkeypatch.setattr("clip4str_plugin.cli.options.build_recognizer", lambda *_: worse)
    main(["evaluate", str(sets / "one"), str(sets / "two"), "--results", str(tmp_path / "b.jsonl")])
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), "--format", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["combined"]["accuracy"] == pytest.approx([200 / 3, 100 / 3])
    assert (result["combined"]["only_first"], result["combined"]["only_second"]) == (2, 1)
    assert main(["compare", str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("combined")


def test_compare_command_wants_the_same_charset(run, sets, capsys, tmp_path):
    run(sets / "one", "--results", tmp_path / "a.jsonl")
    run(sets / "one", "--results", tmp_path / "b.jsonl", "--charset", "94")
    assert main(["compare", str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]) == 2
    assert "36 and 94" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "a.jsonl"), str(tmp_path / "missing")]) == 1
