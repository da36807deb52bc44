"""Checking and converting sets of labelled crops."""

import json
import shutil

import numpy as np
import pytest

from clip4str_plugin.cli import main
from clip4str_plugin.dataset_tools import check_dataset, convert
from clip4str_plugin.datasets import open_dataset
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
    with pytest.raises(DatasetError, match="is not empty"):
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
