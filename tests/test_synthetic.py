"""The synthetic word engine: repeatable, valid labels, sane crops, only fonts that draw Latin letters."""

import json
import os
import pickle
from dataclasses import replace
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from random import Random

import cv2
import numpy as np
import pytest
from PIL import ImageFont

from clip4str_plugin.cli import main
from clip4str_plugin.data.datasets import open_dataset
from clip4str_plugin.errors import Clip4StrError
from clip4str_plugin.synthetic import CHARSET, MAX_LABEL_LENGTH, Corpus, LineRenderer, WordRenderer, find_fonts
from clip4str_plugin.synthetic import fonts as fonts_module
from clip4str_plugin.synthetic.geometry import bend, outline_points, project
from clip4str_plugin.synthetic.textures import TextureBank


@pytest.fixture(scope="module")
def font(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Pillow's own font as a file, so that the tests need no font of the system."""
    path = tmp_path_factory.mktemp("fonts") / "default.ttf"
    default = ImageFont.load_default(size=20)
    assert isinstance(default, ImageFont.FreeTypeFont)
    path.write_bytes(default.font_bytes)
    return str(path)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache") / "fonts.json"


@pytest.fixture(scope="module")
def renderer(font: str, cache: Path) -> WordRenderer:
    return WordRenderer([font], seed=3, cache=cache)


def test_charset_is_printable_ascii_without_space() -> None:
    assert len(CHARSET) == len(set(CHARSET)) == 94
    assert set(CHARSET) == {chr(code) for code in range(33, 127)}


def test_corpus_labels_are_valid_and_mixed_like_signs() -> None:
    corpus, rng = Corpus(), Random(0)
    labels = [corpus(rng) for _ in range(20000)]
    assert all(1 <= len(label) <= MAX_LABEL_LENGTH for label in labels)
    seen = set("".join(labels))
    assert seen == set(CHARSET)
    upper = np.mean([label.isupper() for label in labels])
    digits = np.mean([any(char.isdigit() for char in label) for label in labels])
    assert 0.35 < upper < 0.65
    assert 0.08 < digits < 0.3
    assert 4 <= np.median([len(label) for label in labels]) <= 8
    assert max(len(label) for label in labels) == MAX_LABEL_LENGTH
    assert len(set(labels)) > 12000


@pytest.mark.parametrize("signs", ["€", "€£"])
def test_amounts_of_other_currencies_come_with_their_signs(signs):
    corpus, rng = Corpus("abc" + signs), Random(0)
    labels = [corpus(rng) for _ in range(20000)]
    assert set("".join(labels)) == set(CHARSET + signs)
    priced = [label for label in labels if set(label) & set(signs)]
    assert 0.03 < len(priced) / len(labels) < 0.08
    for sign in signs:
        assert sum(label[0] == sign and label[1:2].isdigit() for label in priced) > 60
        assert sum(label[-1] == sign and label[-2:-1].isdigit() for label in priced) > 60
        assert sign in priced


@pytest.mark.parametrize(("drawn", "charset", "seen"), [("", "€", ""), ("€", "€", "€"), ("€", "", "")])
def test_lines_hold_the_signs_of_a_charset_that_a_face_draws(font, cache, monkeypatch, drawn, charset, seen):
    (face,) = fonts_module.inspect_fonts([font], cache)
    face = replace(face, characters=face.characters + drawn)
    monkeypatch.setattr("clip4str_plugin.synthetic.line_renderer.inspect_fonts", lambda _: [face])
    renderer = LineRenderer([font], seed=1, charset=CHARSET + charset)
    labels = [renderer.word(index)[1] for index in range(300)]
    assert set("".join(labels)) - set(CHARSET) == set(seen)


@pytest.mark.slow
def test_crops_and_labels_are_valid(renderer: WordRenderer) -> None:
    heights = []
    for index in range(300):
        crop, label = renderer(index)
        assert crop.dtype == np.uint8
        assert crop.ndim == 3
        assert crop.shape[2] == 3
        assert crop.flags.c_contiguous
        assert 6 <= crop.shape[0] <= 128
        assert 4 <= crop.shape[1] <= 420
        assert 1 <= len(label) <= MAX_LABEL_LENGTH
        assert set(label) <= set(CHARSET)
        heights.append(crop.shape[0])
    assert np.percentile(heights, 10) < 25
    assert np.percentile(heights, 90) > 50


def test_index_and_seed_alone_decide_the_word(font: str, cache: Path, renderer: WordRenderer) -> None:
    again = WordRenderer([font], seed=3, cache=cache)
    other = WordRenderer([font], seed=4, cache=cache)
    different = 0
    for index in (41, 7, 1000003, 7):
        crop, label = renderer(index)
        crop_again, label_again = again(index)
        assert label == label_again
        assert np.array_equal(crop, crop_again)
        different += other(index)[1] != label
    assert different > 0


def test_render_takes_the_chance_of_the_caller(renderer: WordRenderer) -> None:
    first, second = renderer.render(Random(5)), renderer.render(Random(5))
    assert first[1] == second[1]
    assert np.array_equal(first[0], second[0])


def _child(renderer: WordRenderer, queue) -> None:
    crop, label = renderer(11)
    queue.put((label, crop.tobytes()))


def test_survives_pickling_and_forking(renderer: WordRenderer) -> None:
    crop, label = renderer(11)
    copy_crop, copy_label = pickle.loads(pickle.dumps(renderer))(11)
    assert copy_label == label
    assert np.array_equal(copy_crop, crop)
    if "fork" not in get_all_start_methods():
        return
    context = get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_child, args=(renderer, queue))
    process.start()
    answer = queue.get(timeout=60)
    process.join(timeout=60)
    assert answer == (label, crop.tobytes())


def test_words_are_visible(renderer: WordRenderer) -> None:
    contrasts = []
    for index in range(200):
        gray = cv2.cvtColor(renderer(index)[0], cv2.COLOR_RGB2GRAY)
        contrasts.append(float(np.percentile(gray, 95)) - float(np.percentile(gray, 5)))
    assert np.percentile(contrasts, 2) > 8
    assert np.median(contrasts) > 40


def test_font_filter(font: str, tmp_path: Path) -> None:
    folder = tmp_path / "fonts" / "below"
    folder.mkdir(parents=True)
    good = folder / "good.ttf"
    good.write_bytes(Path(font).read_bytes())
    (folder / "broken.ttf").write_bytes(b"not a font")
    (folder / "readme.txt").write_text("no font")
    cache = tmp_path / "cache.json"
    assert find_fonts([tmp_path / "fonts"], cache) == [str(good)]
    assert json.loads(cache.read_text())["fonts"][str(folder / "broken.ttf")][1] is None


def test_font_check_is_cached_until_the_file_changes(
    font: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "font.ttf"
    copy.write_bytes(Path(font).read_bytes())
    cache = tmp_path / "cache.json"
    first = fonts_module.inspect_fonts([copy], cache)
    calls = []
    inspect = fonts_module._inspect
    monkeypatch.setattr(fonts_module, "_inspect", lambda path: calls.append(path) or inspect(path))
    assert fonts_module.inspect_fonts([copy], cache) == first
    assert calls == []
    os.utime(copy, (1, 1))
    assert fonts_module.inspect_fonts([copy], cache) == first
    assert calls == [str(copy)]


def test_damaged_cache_is_rebuilt(font: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache.json"
    cache.write_text("[1, 2")
    assert len(fonts_module.inspect_fonts([font], cache)) == 1
    assert json.loads(cache.read_text())["fonts"]


def test_only_drawable_characters_are_asked_of_a_font(
    font: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    face = fonts_module.Face(font, "Capitals", capitals, 0.7)
    monkeypatch.setattr("clip4str_plugin.synthetic.renderer.inspect_fonts", lambda fonts, cache: [face])
    renderer = WordRenderer([font])
    for index in range(100):
        assert set(renderer(index)[1]) <= set(capitals)


def test_no_usable_font_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Clip4StrError, match="install fonts"):
        WordRenderer([], cache=tmp_path / "cache.json")
    with pytest.raises(Clip4StrError, match=r"nowhere\.ttf"):
        WordRenderer([tmp_path / "nowhere.ttf"], cache=tmp_path / "cache.json")


@pytest.mark.parametrize("seed", range(8))
def test_bent_outline_stays_around_the_bent_ink(seed: int) -> None:
    mask = np.zeros((120, 320), np.uint8)
    box = (60, 45, 260, 75)
    mask[box[1] : box[3], box[0] : box[2]] = 255
    bent, points = bend(Random(seed), mask, outline_points(box, 33))
    y, x = np.nonzero(bent > 127)
    low, high = points.min(0), points.max(0)
    assert abs(x.min() - low[0]) < 3
    assert abs(y.min() - low[1]) < 3
    assert abs(x.max() - high[0]) < 3
    assert abs(y.max() - high[1]) < 3


def test_projected_word_lies_in_the_crop() -> None:
    box = (60, 45, 260, 75)
    for seed in range(100):
        view, (height, width) = project(Random(seed), outline_points(box), 28.0, 24.0, (128, 420))
        points = cv2.perspectiveTransform(outline_points(box)[None], view)[0]
        inside = ((points > -6) & (points < (width + 6, height + 6))).all()
        assert inside
        assert height <= 128
        assert width <= 420


def test_textures_are_normalised_and_fit_any_size() -> None:
    bank = TextureBank(seed=1, count=10)
    for height, width in ((6, 4), (40, 100), (300, 900)):
        piece = bank.cut(Random(height), height, width)
        assert piece.shape == (height, width)
        assert np.abs(piece).max() < 5
        assert bank.white(Random(0), height, width).shape == (height, width, 3)


def test_a_set_of_rendered_words(
    font: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fonts_module, "_font_folders", lambda: [Path(font).parent])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    command = ["data", "render", str(tmp_path / "words"), "--count", "5", "--seed", "3"]
    assert main(command) == 0
    assert "5 words" in capsys.readouterr().out
    dataset = open_dataset(tmp_path / "words")
    assert len(dataset) == 5
    renderer = WordRenderer([font], seed=3)
    for index in range(5):
        crop, label = renderer(index)
        np.testing.assert_array_equal(dataset[index][0], crop)
        assert dataset[index][1] == label
    assert main(command) == 1
    assert "words" in capsys.readouterr().err


def test_words_of_printed_lines(font: str) -> None:
    """They are cut out of lines: repeatable, labelled, with ink in every crop, and not all of their neighbours."""
    renderer, again = LineRenderer([font], seed=5), LineRenderer([font], seed=5)
    labels = []
    for index in range(60):
        crop, label = renderer.word(index)
        same, same_label = again.word(index)
        np.testing.assert_array_equal(crop, same)
        assert label == same_label
        assert crop.dtype == np.uint8
        assert crop.shape[2] == 3
        assert crop.shape[0] >= 5
        assert crop.shape[1] >= 2
        assert int(crop.max()) - int(crop.min()) > 10
        assert 0 < len(label) <= MAX_LABEL_LENGTH
        assert set(label) <= set(CHARSET) - {"_"}
        labels.append(label)
    assert len(set(labels)) > 40
