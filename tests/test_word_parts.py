"""Words are cut between their letters: the letters of a drawn word are found where they were drawn."""

import cv2
import numpy as np
import pytest
from PIL import Image

from clip4str_plugin.cli import main
from clip4str_plugin.data.datasets import open_dataset
from clip4str_plugin.data.word_parts import LetterFinder, write_word_parts

FONT, SCALE, THICKNESS = cv2.FONT_HERSHEY_SIMPLEX, 1.2, 3


def drawn(word):
    """A crop, and the left and right end of each of its letters in pixels."""
    crop = np.full((44, 26 * len(word) + 24, 3), 255, np.uint8)
    spans = []
    for index, letter in enumerate(word):
        left = 12 + 26 * index
        cv2.putText(crop, letter, (left, 35), FONT, SCALE, (20, 20, 90), THICKNESS, cv2.LINE_AA)
        spans.append((left, left + cv2.getTextSize(letter, FONT, SCALE, THICKNESS)[0][0]))
    return crop, spans


@pytest.fixture(scope="module")
def find():
    return LetterFinder()


@pytest.mark.parametrize("word", ["HOTEL", "BAKERY", "STATIONERS", "1947"])
def test_letters_are_found_where_they_are(find, word):
    crop, spans = drawn(word)
    text, places = find(crop)
    assert text == word
    middles = np.mean(spans, axis=1)
    assert np.abs(places - middles).max() < 10  # letters are 26 pixels apart


@pytest.mark.slow
def test_parts_hold_the_letters_of_their_labels(find, tmp_path):
    words = ["HOTEL", "BAKERY", "STATIONERS", "PARKING"]
    source = tmp_path / "words"
    source.mkdir()
    for word in words:
        Image.fromarray(drawn(word)[0]).save(source / f"{word}.png")
    rows = [f"{word}.png\t{word}" for word in words]
    # Left alone: short, of another label, hardly wider than high, no image.
    rows += ["HOTEL.png\tHOT", "HOTEL.png\tMOTEL", "square.png\tHOTEL", "damaged.png\tHOTEL"]
    Image.fromarray(np.array(Image.open(source / "HOTEL.png").resize((50, 44)))).save(source / "square.png")
    (source / "damaged.png").write_bytes(b"no image")
    (source / "labels.tsv").write_text("\n".join(rows), encoding="utf-8")

    done = write_word_parts(source, tmp_path / "parts", count=4, seed=1)
    parts = open_dataset(tmp_path / "parts")
    assert done == {"words": 4, "parts": len(parts)}
    assert 8 <= len(parts) <= 16
    read = 0
    for index in range(len(parts)):
        crop, label = parts[index]
        word = next(word for word in words if label in word)
        assert 2 <= len(label) < len(word)
        assert abs(crop.shape[1] - 26 * len(label)) < 40  # margins of 12 at the ends of a word
        read += find(crop)[0] == label
    assert read >= 0.7 * len(parts)  # slivers of neighbours may be read, too


def test_command(tmp_path, capsys):
    source = tmp_path / "words"
    source.mkdir()
    Image.fromarray(drawn("HOTEL")[0]).save(source / "a.png")
    (source / "labels.tsv").write_text("a.png\thotel\n", encoding="utf-8")
    command = ["data", "parts", str(source), str(tmp_path / "parts"), "--count", "2", "--seed", "4"]
    assert main(command) == 0
    assert "of 1 words" in capsys.readouterr().out
    parts = open_dataset(tmp_path / "parts")
    labels = [parts.label(i) for i in range(len(parts))]
    assert labels
    assert all(label in "hotel" for label in labels)
    assert main(command) == 1
    assert "not empty" in capsys.readouterr().err
