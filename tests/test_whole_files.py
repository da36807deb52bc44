"""Outputs appear when they are whole; what cannot be written is said before anything is read."""

import os
import signal
import stat
import subprocess
import sys

import pytest
from PIL import Image

from clip4str_plugin.cli import main
from clip4str_plugin.cli.outputs import FileNames
from clip4str_plugin.io.whole_files import whole_file
from clip4str_plugin.io.writers.csv_table import CsvWriter


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    path.chmod(0o640)
    with whole_file(path) as stream:
        stream.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"old")

    def interrupted():
        with whole_file(path) as stream:
            stream.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("a.json", b"old")]


def test_links_stay_links(tmp_path):
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with whole_file(tmp_path / "link") as stream:
        stream.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


def test_devices_are_written_directly():
    with whole_file(os.devnull) as stream:
        stream.write(b"x")
    assert not stat.S_ISREG(os.stat(os.devnull).st_mode)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_process_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    script = (
        "import os, signal, sys; from clip4str_plugin.io.whole_files import whole_file\n"
        "with whole_file(sys.argv[1]) as stream: stream.write(b'n'); stream.flush(); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)]).returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 30)).save(folder / name)
    return folder


@pytest.mark.parametrize(
    "output",
    [["--format", "page", "--output", "{}/a.xml"], ["--output", "{}/no/such/folder/a.txt"], ["--format", "page"],
     ["--overlay", "{}/photos/a.png"]],
)  # fmt: skip
def test_what_cannot_be_written_is_known_before_reading(photos, monkeypatch, capsys, output):
    monkeypatch.setattr("clip4str_plugin.cli.options.build_recognizer", lambda *_: pytest.fail("a model was loaded"))
    monkeypatch.setattr("clip4str_plugin.cli.options.build_detector", lambda *_: pytest.fail("a detector was loaded"))
    assert main(["read", str(photos), *(part.format(photos.parent) for part in output)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert {path.name for path in photos.parent.iterdir()} == {"photos"}


def test_cells_are_no_formulas():
    import csv
    import io

    from clip4str_plugin.page import Page

    stream = io.BytesIO()
    CsvWriter(stream).write(Page(None, error="=cmd|' /C calc'!A0: broken", source="@evil.png", index=None))
    (_, row) = csv.reader(io.StringIO(stream.getvalue().decode()))
    assert row[0] == "'@evil.png"
    assert row[-1].startswith("'=cmd")


def test_no_input_is_replaced(tmp_path):
    (tmp_path / "scans").mkdir()
    for name in ("a.pdf", "a.ocr.pdf"):
        (tmp_path / "scans" / name).write_bytes(b"mine")
    (tmp_path / "link").symlink_to(tmp_path / "scans")
    taken = {str(path.resolve()) for path in (tmp_path / "scans").iterdir()}
    names = FileNames(tmp_path / "link", ".ocr.pdf", taken)
    assert names.name("scans/a.pdf") == tmp_path / "link" / "a-2.ocr.pdf"
    assert main(["read", str(tmp_path / "scans"), "--format", "pdf", "--output", str(tmp_path / "link" / "a.pdf")]) == 2
    assert all((tmp_path / "scans" / name).read_bytes() == b"mine" for name in ("a.pdf", "a.ocr.pdf"))
