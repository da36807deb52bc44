"""Checking, splitting and converting sets of labelled crops."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from clip4str_plugin import Recognition
from clip4str_plugin.cli import main
from clip4str_plugin.data.datasets import open_dataset
from clip4str_plugin.data.relabel import relabel
from clip4str_plugin.data.tools import check_dataset, convert, split
from clip4str_plugin.errors import DatasetError
from tests.word_sets import write_folder


@pytest.fixture
def words(tmp_path):
    return write_folder(tmp_path / "words", ["one", "two", "three"])


def test_there_and_back(words, tmp_path):
    pytest.importorskip("lmdb")
    assert convert(words, tmp_path / "lmdb", "lmdb") == {"written": 3, "skipped": 0}
    assert convert(tmp_path / "lmdb", tmp_path / "back", "folder") == {"written": 3, "skipped": 0}
    first, middle, last = (open_dataset(tmp_path / name) for name in ("words", "lmdb", "back"))
    for i in range(3):
        assert first.label(i) == middle.label(i) == last.label(i)
        np.testing.assert_array_equal(first[i][0], middle[i][0])
        np.testing.assert_array_equal(first[i][0], last[i][0])
    assert (tmp_path / "back" / "000000001.png").read_bytes() == (words / "00000.png").read_bytes()


def test_entries_without_image_are_left_out(words, tmp_path):
    (words / "00001.png").unlink()
    assert convert(words, tmp_path / "copy", "folder") == {"written": 2, "skipped": 1}


def test_an_existing_target_is_kept(words, tmp_path):
    other = write_folder(tmp_path / "other", ["kept"])
    with pytest.raises(DatasetError, match="is not empty"):
        convert(words, other, "lmdb")
    assert open_dataset(other).label(0) == "kept"
    with pytest.raises(DatasetError, match="lies within"):
        convert(words, words, "lmdb")


def test_a_good_set(words):
    report = check_dataset(words)
    assert report.usable
    assert report.samples == 3
    assert report.characters["e"] == 3


def test_everything_that_is_wrong_is_told(words, tmp_path, capsys):
    other = write_folder(tmp_path / "test", ["one"])  # the same picture as the first word
    (words / "00001.png").write_bytes(b"no image")
    shutil.copy(words / "00002.png", words / "again.png")
    with (words / "labels.tsv").open("a", encoding="utf-8") as f:
        f.write("again.png\tthree\n00002.png\tλ3\n00002.png\t" + "x" * 26 + "\nno tab\n")
    assert main(["data", "check", str(words), "--against", str(other), "--format", "json"]) == 1
    (report,) = json.loads(capsys.readouterr().out)
    assert (report["samples"], report["dropped"], report["corrupt"], report["reduced"]) == (5, 1, 1, 1)
    assert report["foreign"] == [["λ", 1]]
    assert len(report["unreadable"]) == 1
    assert "00001.png" in report["unreadable"][0]
    assert report["duplicates"] == 2
    assert report["shared"] == {str(other): 1}


def test_commands(words, tmp_path, capsys):
    assert main(["data", "check", str(words)]) == 0
    assert "3 usable" in capsys.readouterr().out
    assert main(["data", "convert", str(words), str(tmp_path / "new"), "--to", "folder"]) == 0
    assert "3 entries written" in capsys.readouterr().out
    assert main(["data", "check", str(tmp_path / "nowhere")]) == 1


# ---- splitting ----------------------------------------------------------------------------------------------


def contents(folder):
    dataset = open_dataset(folder)
    return [(dataset[i][0].tobytes(), dataset.label(i)) for i in range(len(dataset))]


@pytest.fixture
def photos(tmp_path):
    """Thirty photos of three words each."""
    folder = write_folder(tmp_path / "set", [f"word{i}" for i in range(90)])
    rows = []
    for i in range(90):
        (folder / f"{i:05d}.png").rename(folder / f"{i // 3}_{i % 3}.png")
        rows.append(f"{i // 3}_{i % 3}.png\tword{i}\n")
    (folder / "labels.tsv").write_text("".join(rows), encoding="utf-8")
    return folder


def test_split_parts_the_words_and_keeps_photos_together(photos, tmp_path, capsys):
    into = [str(tmp_path / "deep" / "train"), str(tmp_path / "held")]
    assert main(["data", "split", str(photos), "--into", *into, "--group", r"(\d+)_\d+\.png$"]) == 0
    train, held = (contents(folder) for folder in into)
    assert sorted(train + held) == sorted(contents(photos))
    numbers = [{int(label[4:]) // 3 for _, label in part} for part in (train, held)]
    assert numbers[0].isdisjoint(numbers[1])
    assert len(numbers[0]) + len(numbers[1]) == 30
    assert not list((tmp_path / "held").glob("*.png"))  # the images stay where they are
    assert capsys.readouterr().out.splitlines() == [
        f"{folder}: {3 * len(n)} samples, {len(n)} groups" for folder, n in zip(into, numbers)
    ]


def test_split_depends_on_names_alone(photos, tmp_path):
    split(photos, tmp_path / "a", tmp_path / "b")
    lines = (photos / "labels.tsv").read_text().splitlines(keepends=True)
    (photos / "labels.tsv").write_text("".join(lines[::-1][:80]))  # another order, and some are gone
    split(photos, tmp_path / "c", tmp_path / "d")
    before, after = ({label for _, label in contents(tmp_path / name)} for name in ("b", "d"))
    assert after
    assert after < before or after == before


@pytest.mark.parametrize("other", ["a", "a/b", "."])
def test_the_parts_of_a_split_lie_side_by_side(photos, tmp_path, other):
    with pytest.raises(DatasetError, match="lies within"):
        split(photos, tmp_path / "a", tmp_path / other)
    assert not (tmp_path / "a").exists()


def test_split_of_lmdb_sets_copies(photos, tmp_path):
    pytest.importorskip("lmdb")
    convert(photos, tmp_path / "lmdb", "lmdb")
    counts = split(tmp_path / "lmdb", tmp_path / "a", tmp_path / "b", part=4)
    a, b = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert sorted(a + b) == sorted(contents(photos))
    assert {name: c["samples"] for name, c in counts.items()} == {"train": len(a), "held_out": len(b)}


def test_split_holds_out_about_the_part(tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    (folder / "labels.tsv").write_text("".join(f"{i}.png\tw\n" for i in range(3000)))
    counts = split(folder, tmp_path / "a", tmp_path / "b", part=5)
    assert abs(counts["held_out"]["samples"] - 600) < 4 * (3000 * 0.2 * 0.8) ** 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": "("}, "is not a regular expression"),
        ({"group": "photo"}, "does not match the name '0_0.png'"),
        ({"part": 1}, "at least 2"),
        ({"group": "png"}, "would get none of the 1 groups"),
    ],
)
def test_splits_that_cannot_be(photos, tmp_path, options, message):
    with pytest.raises(DatasetError, match=message):
        split(photos, tmp_path / "a", tmp_path / "b", **options)
    assert not (tmp_path / "a").exists()


class Readings:
    """Reads as told, view by view."""

    def __init__(self, *texts):
        self.texts = list(texts)

    def stream(self, crops):
        for _crop in crops:
            text, confidence = self.texts.pop(0)
            yield Recognition(text, confidence, (confidence,) * len(text))


def test_relabel(tmp_path):
    source = write_folder(tmp_path / "words", ["joes", "one", "end", "lost", "I"])
    up, lost, letter = (np.asarray(Image.open(source / f"0000{i}.png")) for i in (2, 3, 4))
    for name, crop in (("00002", np.rot90(up, 3)), ("00003", np.rot90(lost)), ("00004", letter[:, :9])):
        Image.fromarray(np.ascontiguousarray(crop)).save(source / f"{name}.png")
    (source / "labels.tsv").open("a").write("00000.png\tjoes\nnothing.png\tnone\n")
    read = Readings(
        *[("Joe's", 0.9), ("0ne", 0.9)],
        *[("end", 0.99), ("END", 0.8), ("pua", 0.9)],  # as it is, turned to the left, to the right
        *[("a", 0.9), ("b", 0.9), ("c", 0.9)],
        *[("I", 0.9), ("joes", 0.2)],
    )
    assert relabel(source, tmp_path / "new", read) == {"written": 5, "changed": 2, "turned": 1, "left_out": 2}
    assert not read.texts
    dataset = open_dataset(tmp_path / "new")
    assert [dataset.label(i) for i in range(5)] == ["Joe's", "one", "END", "I", "joes"]
    np.testing.assert_array_equal(dataset[2][0], up)


def test_relabel_command(tmp_path, capsys):
    source = write_folder(tmp_path / "words", ["market", "STATION"])
    assert main(["data", "relabel", str(source), str(tmp_path / "new")]) == 0
    assert "2 samples" in capsys.readouterr().out
    assert len(open_dataset(tmp_path / "new")) == 2
    assert main(["data", "relabel", str(source), str(tmp_path / "new")]) == 1
