"""The Ray adapter on a local Ray of two workers a stage: nothing is lost or doubled, whatever is killed.

Every worker imports this file: it imports PyTorch where that is needed alone.
"""

import os
import signal
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip4str_plugin import Detections
from clip4str_plugin.errors import ImageError
from tests.host_helpers import colour_reader, photo, random_clip4str

ray = pytest.importorskip("ray")

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from clip4str_adapters import ray as ray_adapter  # noqa: E402
from clip4str_adapters.ray import (  # noqa: E402
    Detect,
    Recognize,
    Totals,
    _shares,
    decode,
    find_files,
    read_folder,
    schema,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


class OneBox:
    """A detector that notes each page it sees in a file, and can kill its own process at one of them, once."""

    def __init__(self, notes, deadly=None):
        self.notes, self.deadly = Path(notes), deadly

    def __call__(self, pages):
        (page,) = pages
        height, width = page.shape[:2]
        name = int(page[0, 0, 0])
        with self.notes.open("a") as file:
            file.write(f"{os.getpid()} {name}\n")
        if name == self.deadly and not self.notes.with_suffix(".killed").exists():
            self.notes.with_suffix(".killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if name == 99:
            raise RuntimeError("out of order")
        box = np.array([[2, 2], [width - 2, 2], [width - 2, height - 2], [2, height - 2]], np.float32)
        return [Detections([box], [0.5])]


def read_notes(path):
    return [tuple(map(int, line.split())) for line in Path(path).read_text().splitlines()]


@pytest.fixture(scope="module", autouse=True)
def cluster():
    # Ray's workers stand back behind everything else by default, and get nothing done on a busy machine.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # Ray gives its processes half a minute to start, which may be too short on a busy machine.
    for last in (False, False, True):
        try:
            ray.init(num_cpus=6, include_dashboard=False, log_to_driver=False, object_store_memory=200_000_000)
            break
        except Exception:
            ray.shutdown()
            if last:
                raise
    yield
    ray.shutdown()


def page(number, colour):
    """A page of its own size with one word; its top left pixel says which it is."""
    pixels = np.full((20 + number, 60, 3), COLOURS[colour], np.uint8)
    pixels[0, 0] = number
    return Image.fromarray(pixels)


@pytest.fixture
def scans(tmp_path):
    """Twenty pages: sixteen files of one, in two folders, and one file of four."""
    folder = tmp_path / "scans"
    (folder / "inner").mkdir(parents=True)
    names = list(COLOURS)
    for number in range(16):
        page(number, names[number % 3]).save(folder / ("inner" if number % 2 else "") / f"{number:02}.png")
    sheets = [page(16 + index, names[index % 3]) for index in range(4)]
    sheets[0].save(folder / "four.tiff", save_all=True, append_images=sheets[1:])
    (folder / "notes.txt").write_text("no image")
    return folder


def read(scans, output, detector, **options):
    return read_folder(scans, output, detector=detector, model=colour_reader(confidence=0.9), **options)


def rows(output):
    return pq.read_table(output).to_pylist()


def expect_all_once(output, scans):
    found = rows(output)
    places = Counter((Path(row["image"]).relative_to(scans).as_posix(), row["page"]) for row in found)
    single = [(("inner/" if number % 2 else "") + f"{number:02}.png", 0) for number in range(16)]
    assert places == Counter(single + [("four.tiff", index) for index in range(4)])
    names = list(COLOURS)
    for row in found:
        number = int(Path(row["image"]).stem) if row["image"].endswith("png") else row["page"]
        assert [word["text"] for word in row["words"]] == [names[number % 3]]


def test_a_killed_worker_loses_and_doubles_nothing(scans, tmp_path):
    notes = tmp_path / "notes"
    totals = read(scans, tmp_path / "out", OneBox(notes, deadly=7), detectors=2, recognizers=2)
    assert (tmp_path / "notes.killed").exists()
    seen = read_notes(notes)
    assert len({process for process, _ in seen}) >= 2
    assert sum(number == 7 for _, number in seen) >= 2
    assert totals == Totals(pages=20, errors=0, files_done=0)
    expect_all_once(tmp_path / "out", scans)


@pytest.mark.parametrize("cores", [1, 3, 8])
def test_actors_leave_a_core_to_open_files_with(monkeypatch, cores):
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": float(cores)})
    share, file_cpus = _shares(ray, wanted=4)
    assert share * 4 + file_cpus <= cores
    assert (share, file_cpus) == {1: (0.125, 0.5), 3: (0.5, 1), 8: (1, 1)}[cores]


def test_a_second_run_reads_only_what_is_missing(scans, tmp_path):
    out, notes = tmp_path / "out", tmp_path / "notes"
    assert read(scans, out, OneBox(notes)).pages == 20
    # As if the first run had been killed: one file is cut short, one was never written, of one file a page is missing.
    written = sorted(out.glob("*.parquet"))
    table = pq.read_table(out)
    for path in written:
        path.unlink()
    missing = [not (row["image"].endswith(("03.png", "08.png")) or row["page"] == 2) for row in table.to_pylist()]
    pq.write_table(table.filter(missing), out / "clip4str-written.parquet")
    whole = (out / "clip4str-written.parquet").read_bytes()
    (out / "clip4str-cut.parquet").write_bytes(whole[: len(whole) // 2])
    notes.write_text("")
    assert read(scans, out, OneBox(notes)) == Totals(pages=3, errors=0, files_done=14)
    assert sorted(number for _, number in read_notes(notes)) == [3, 8, 18]
    expect_all_once(out, scans)
    # And a third finds nothing to do.
    assert read(scans, out, OneBox(notes)) == Totals(pages=0, errors=0, files_done=17)


def test_what_cannot_be_read_is_said_and_costs_nothing_else(scans, tmp_path):
    out = tmp_path / "out"
    (scans / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (scans / "empty.pdf").write_bytes(b"")
    page(99, "red").save(scans / "fails.png")
    totals = read(scans, out, OneBox(tmp_path / "notes"))
    assert totals == Totals(pages=23, errors=3, files_done=0)
    errors = {Path(row["image"]).name: row["error"] for row in rows(out) if row["error"]}
    assert "damaged" in errors["broken.png"] or "neither an image" in errors["broken.png"]
    assert "empty" in errors["empty.pdf"]
    assert "out of order" in errors["fails.png"]
    assert read(scans, out, OneBox(tmp_path / "notes")).pages == 0


def test_real_models_read_the_same_as_the_reader(tmp_path):
    from clip4str_plugin import Reader, load_model
    from clip4str_plugin.model import save_pretrained

    save_pretrained(random_clip4str(), tmp_path / "model")
    (tmp_path / "scans").mkdir()
    picture = photo("railroad_crossing.png")
    Image.fromarray(picture).save(tmp_path / "scans" / "photo.png")
    read_folder(tmp_path / "scans", tmp_path / "out", model=tmp_path / "model", batch_size=8)
    (row,) = rows(tmp_path / "out")
    (expected,) = Reader(recognizer=load_model(tmp_path / "model")).stream([picture])
    assert [word["text"] for word in row["words"]] == [word.text for word in expected.words]
    for word, other in zip(row["words"], expected.words):
        np.testing.assert_allclose(word["polygon"], other.polygon, atol=0.01)
    assert (row["width"], row["height"], row["error"]) == (picture.shape[1], picture.shape[0], None)
    assert row["seconds"]["detect"] > 0
    assert pq.read_schema(next((tmp_path / "out").glob("*.parquet"))).names == schema().names


class Marks:
    """Finds black marks on pages of up to 200 pixels; smaller ones are lost to it."""

    max_side = 200

    def __init__(self):
        self.seen = 0

    def __call__(self, pages):
        self.seen += len(pages)
        return [self.find(page) for page in pages]

    def find(self, page):
        if max(page.shape) > self.max_side or not (dark := np.argwhere(page.max(axis=2) < 128)).size:
            return Detections([], [])
        (top, left), (bottom, right) = dark.min(axis=0), dark.max(axis=0) + 1
        return Detections([np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)], [1.0])


def test_large_pages_are_looked_at_in_tiles_once():
    page = np.full((2000, 150, 3), 255, np.uint8)
    page[300:320, 30:90] = page[1700:1720, 30:90] = (0, 0, 100)
    given = {"image": ["tall"], "page": [0], "last": [True], "error": [""], "pixels": [page]}
    marks, again = Marks(), Marks()
    found = Detect(marks)(given)
    rows = Recognize(colour_reader(confidence=0.9), detector=again)(found).to_pylist()
    assert marks.seen > 5
    assert again.seen == 0, "what was found is not looked for again"
    assert [word["text"] for word in rows[0]["words"]] == ["blue", "blue"]


def test_find_files(scans):
    found = find_files(f"file://{scans}")
    assert [path.rpartition("/")[2] for path in found[:2]] == ["00.png", "02.png"]
    assert len(found) == 17
    assert find_files([str(scans / "00.png"), str(scans / "inner")])[0] == str(scans / "00.png")
    with pytest.raises(ImageError, match="no such folder"):
        find_files(str(scans / "nothing"))
    (scans / "inner" / "only").mkdir()
    with pytest.raises(ImageError, match="no image or PDF"):
        find_files(str(scans / "inner" / "only"))


def test_decode_marks_the_last_page_and_opens_uris(scans):
    pages = list(decode({"path": f"file://{scans / 'four.tiff'}", "skip": [1]}))
    assert [(row["page"], row["last"]) for row in pages] == [(0, False), (2, False), (3, True)]
    assert [int(row["pixels"][0, 0, 0]) for row in pages] == [16, 18, 19]


def test_a_file_that_cannot_be_opened_is_tried_again_and_not_done(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_adapter, "_PAUSES", (0.01, 0.3))
    (missing,) = decode({"path": str(tmp_path / "gone.png"), "skip": []})
    assert "cannot be opened" in missing["error"]
    assert (missing["page"], missing["last"]) == (-1, False)
    threading.Timer(0.15, lambda: Image.new("RGB", (4, 3)).save(tmp_path / "late.png")).start()
    (late,) = decode({"path": str(tmp_path / "late.png"), "skip": []})
    assert late["pixels"].shape == (3, 4, 3)
    rows = pa.table({"image": ["a"], "page": [-1], "last": [False], "error": ["a: cannot be opened"]})
    (tmp_path / "out").mkdir()
    pq.write_table(rows, tmp_path / "out" / "clip4str-1.parquet")
    assert ray_adapter._pages_done(str(tmp_path / "out")) == {}


def test_only_own_files_that_were_cut_short_are_removed(tmp_path):
    rows = pa.table({"image": ["a"], "page": [0], "last": [True], "error": ["x"]})
    pq.write_table(rows, tmp_path / "clip4str-1.parquet")
    whole = (tmp_path / "clip4str-1.parquet").read_bytes()
    (tmp_path / "clip4str-2.parquet").write_bytes(whole[:-9])
    (tmp_path / "other.parquet").write_bytes(whole[:-9])
    (tmp_path / "foreign.parquet").write_bytes(b"not mine")
    assert ray_adapter._pages_done(str(tmp_path)) == {"a": "all"}
    assert {path.name for path in tmp_path.iterdir()} == {"clip4str-1.parquet", "other.parquet", "foreign.parquet"}


def test_an_error_in_reading_removes_nothing(tmp_path, monkeypatch):
    (tmp_path / "clip4str-1.parquet").write_bytes(bytes(100))

    class Entry:
        path, base_name, size = str(tmp_path / "clip4str-1.parquet"), "clip4str-1.parquet", 100

    class Broken:
        def get_file_info(self, selector):
            return [Entry]

        def open_input_file(self, path):
            raise OSError("no connection")

        def delete_file(self, path):
            pytest.fail("removed")

    monkeypatch.setattr(ray_adapter, "_filesystem", lambda path: (Broken(), path))
    with pytest.raises(OSError, match="no connection"):
        ray_adapter._pages_done(str(tmp_path))


@pytest.mark.parametrize("name", ["a b.png", "100%.png", "a%20b.png", "ä#?.png"])
def test_names_of_all_kinds(tmp_path, name):
    Image.new("RGB", (4, 3)).save(tmp_path / name)
    for base in (str(tmp_path), f"file://{tmp_path}"):
        (found,) = find_files(base)
        (page,) = decode({"path": found, "skip": []})
        assert page["pixels"].shape == (3, 4, 3)
