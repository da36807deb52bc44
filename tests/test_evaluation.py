"""Scores of known readings, and the command over folders."""

import argparse
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from clip4str_plugin.datasets import WordDataset, open_dataset
from clip4str_plugin.errors import ImageError
from clip4str_plugin.evaluation import CHARSETS, Evaluation, LengthScore, add_arguments, combine, evaluate, main
from clip4str_plugin.recognizer import Recognition

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
    return SimpleNamespace(
        stream=lambda crops: (Recognition(*words[crop[0, 0, 0]][1:], ()) for crop in crops)
    )


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
    assert result.by_length[9] == LengthScore(1, 1)
    assert result.by_length[4].accuracy == 0


@pytest.mark.parametrize(
    ("charset", "samples", "correct"), [("36", 4, 1), ("62", 4, 0), ("94", 5, 0)]
)
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
    small = Evaluation("small", 1, 100, 100, 40, 2, {2: LengthScore(1, 1)}, dropped=1, seconds=1)
    large = Evaluation("large", 3, 0, 50, 80, 4, {2: LengthScore(1, 0), 5: LengthScore(2, 0)}, unreadable=2, seconds=2)
    both = combine([small, large])
    assert both.samples == 4
    assert (both.accuracy, both.ned, both.confidence, both.length) == pytest.approx((25, 62.5, 70, 3.5))
    assert both.by_length == {2: LengthScore(2, 1), 5: LengthScore(2, 0)}
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


def run(*arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    changes = []

    def load(overrides):
        changes.append(overrides)
        return SimpleNamespace(stream=lambda crops: (Recognition("word", 0.5, ()) for _ in crops))

    status = main(parser.parse_args([str(a) for a in arguments]), load)
    return status, changes


def test_table(sets, capsys):
    status, changes = run(sets / "one", sets / "two", "--by-length")
    out, err = capsys.readouterr()
    assert status == 0
    assert changes == [{"caption_charset": CHARSETS["36"]}]
    rows = {line.split()[0]: line.split() for line in out.splitlines()}
    assert rows["one"][1:4] == ["2", "100.00", "100.00"]
    assert rows["two"][1:3] == ["1", "0.00"]
    assert rows["two"][6] == "1"
    assert rows["combined"][1:3] == ["3", "66.67"]
    assert rows["5"] == ["5", "characters", "1", "0.00"]
    assert err == ""


def test_json_and_errors_file(sets, capsys):
    status, changes = run(sets / "one", "--charset", "94", "--format", "json", "--errors", sets / "errors.tsv")
    (result,) = json.loads(capsys.readouterr().out)
    assert status == 0
    assert changes == [{"caption_charset": CHARSETS["94"]}]
    assert result["name"] == "one"
    assert result["accuracy"] == 50
    assert result["by_length"]["4"] == {"samples": 1, "correct": 1}
    assert (sets / "errors.tsv").read_text() == f"{sets / 'one' / '1.png'}\tWord!\tword\t0.5000\n"


def test_bad_set_and_bad_image_do_not_stop_the_rest(sets, capsys):
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
