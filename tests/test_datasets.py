"""Labels are prepared as in the published code; folders and LMDB sets read the same, damaged entries are told."""

import io
import multiprocessing
import os
import pickle

import numpy as np
import pytest
from PIL import Image

from clip4str_plugin.data.datasets import FolderDataset, JoinedDataset, LmdbDataset, clean_label, open_dataset
from clip4str_plugin.errors import DatasetError, ImageError
from clip4str_plugin.model.config import CHARSET_36, CHARSET_94

lmdb = pytest.importorskip("lmdb")


def picture(shade, kind="PNG", mode="RGB"):
    buffer = io.BytesIO()
    Image.new(mode, (7, 5), shade).save(buffer, kind)
    return buffer.getvalue()


def write_lmdb(folder, labels, images=None, **raw):
    """An LMDB set with one image a label, of shade 1, 2, ... unless given."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = {"num-samples": str(len(labels)).encode()}
    for i, label in enumerate(labels, start=1):
        entries[f"label-{i:09d}"] = label.encode()
        entries[f"image-{i:09d}"] = images[i - 1] if images else picture((i, i, i))
    with lmdb.open(str(folder), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for key, value in {**entries, **raw}.items():
            if value is not None:
                transaction.put(key.encode(), value)
    return folder


def write_folder(folder, labels):
    (folder / "images").mkdir(parents=True)
    lines = []
    for i, label in enumerate(labels, start=1):
        (folder / "images" / f"{i}.png").write_bytes(picture((i, i, i)))
        lines.append(f"images/{i}.png\t{label}\n")
    (folder / "labels.tsv").write_text("".join(lines), encoding="utf-8")
    return folder


def contents(dataset):
    """Shade and label of every sample; the shade is the number of the entry."""
    return [(int(crop[0, 0, 0]), label) for crop, label in dataset]


# ---- labels ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "charset"), [("lmdb_train94", CHARSET_94), ("lmdb_test36", CHARSET_36)])
def test_labels_equal_golden(golden, tmp_path, key, charset):
    case = golden("extra.json")[key]
    labels = [clean_label(text, charset) for text in case["source"]]
    assert [i for i, label in enumerate(labels, start=1) if label] == case["kept_index"]
    assert [label for label in labels if label] == case["labels"]

    dataset = LmdbDataset(write_lmdb(tmp_path / "set", case["source"]), charset)
    assert contents(dataset) == list(zip(case["kept_index"], case["labels"]))
    assert dataset.dropped == len(case["source"]) - len(case["labels"])
    assert dataset.corrupt == 0


def test_length_limit_comes_before_the_charset():
    assert clean_label("!" * 26 + "a", CHARSET_36) is None
    assert clean_label("!" * 26 + "a", CHARSET_36, max_length=None) == "a"
    assert clean_label("abcd", max_length=3) is None


def test_charset_beyond_ascii_keeps_its_characters():
    assert clean_label("Zu\u0308rich Ⅷ", "Züric") == "Züric"
    assert clean_label("Zürich", CHARSET_94) == "Zurich"


# ---- folders -----------------------------------------------------------------------------------------------


def test_folder(tmp_path):
    dataset = open_dataset(write_folder(tmp_path / "words", ["Hello", "", "wide  word", "x" * 26, "tab\there"]))
    assert isinstance(dataset, FolderDataset)
    assert dataset.name == "words"
    assert contents(dataset) == [(1, "Hello"), (3, "wideword"), (5, "tabhere")]
    assert dataset.dropped == 2
    assert dataset.label(1) == "wideword"
    assert dataset.source(1) == str(tmp_path / "words" / "images" / "3.png")
    crop, _ = dataset[0]
    assert crop.shape == (5, 7, 3)
    assert crop.dtype == np.uint8
    crop[:] = 0  # may be changed in place, by an augmentation say


def test_labels_file_may_come_from_windows(tmp_path):
    folder = write_folder(tmp_path / "words", ["one", "two"])
    (folder / "labels.tsv").write_bytes("\ufeffimages/1.png\tone\x85\r\n\r\nimages/2.png\ttwo".encode())
    assert contents(open_dataset(folder)) == [(1, "one"), (2, "two")]


@pytest.mark.parametrize(("content", "complaint"), [(b"a.png\tx\nno tab\n", ":2: has no tab"), (b"\xff\xfe", "UTF-8")])
def test_damaged_labels_file(tmp_path, content, complaint):
    (tmp_path / "labels.tsv").write_bytes(content)
    with pytest.raises(DatasetError, match=complaint):
        open_dataset(tmp_path)


def test_line_without_tab_can_be_skipped(tmp_path):
    (tmp_path / "labels.tsv").write_text("a.png\tx\nno tab\n")
    dataset = open_dataset(tmp_path, on_error="skip")
    assert len(dataset) == dataset.corrupt == 1


def test_damaged_image_is_named(tmp_path):
    folder = write_folder(tmp_path / "words", ["a", "b", "c"])
    (folder / "images" / "2.png").write_bytes(picture((2, 2, 2))[:40])
    (folder / "images" / "3.png").unlink()
    dataset = open_dataset(folder)
    assert dataset[0][1] == "a"
    for i, name in ((1, "2.png"), (2, "3.png")):
        with pytest.raises(ImageError, match=name):
            dataset[i]
        assert dataset.label(i)
    with pytest.raises(IndexError):
        dataset[3]
    with pytest.raises(IndexError):
        dataset[-1]


@pytest.mark.parametrize(("mode", "shade"), [("RGBA", (9, 8, 7, 0)), ("L", 9), ("P", 0), ("1", 1)])
def test_every_mode_becomes_rgb(tmp_path, mode, shade):
    folder = write_folder(tmp_path / "words", ["a"])
    (folder / "images" / "1.png").write_bytes(picture(shade, mode=mode))
    crop, _ = open_dataset(folder)[0]
    assert crop.shape == (5, 7, 3)
    if mode == "RGBA":
        assert crop[0, 0].tolist() == [9, 8, 7]


# ---- LMDB --------------------------------------------------------------------------------------------------


def test_sets_below_a_folder_are_one(tmp_path):
    write_lmdb(tmp_path / "all" / "b", ["three", "four"])
    write_lmdb(tmp_path / "all" / "a" / "deep", ["one", "…", "two"])
    dataset = open_dataset(tmp_path / "all")
    assert isinstance(dataset, JoinedDataset)
    assert dataset.name == "all"
    assert [label for _, label in dataset] == [dataset.label(i) for i in range(5)]
    assert contents(dataset) == [(1, "one"), (2, "..."), (3, "two"), (1, "three"), (2, "four")]
    assert dataset.source(4).endswith("b[image-000000002]")


def test_twice_in_one_process(tmp_path):
    folder = write_lmdb(tmp_path / "set", ["Don't"])
    assert [open_dataset(folder, c)[0][1] for c in (CHARSET_36, CHARSET_94)] == ["dont", "Don't"]
    first, second = open_dataset(folder), open_dataset(folder)
    assert contents(first) == contents(second)


def _read(dataset, results):
    results.put(contents(dataset))


@pytest.mark.skipif(os.name != "posix", reason="needs fork")
def test_other_processes(tmp_path):
    dataset = open_dataset(write_lmdb(tmp_path / "set", ["a", "b"]))
    assert contents(pickle.loads(pickle.dumps(dataset))) == contents(dataset)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    process = context.Process(target=_read, args=(dataset, results))
    process.start()
    assert results.get(timeout=30) == contents(dataset)
    process.join()


def test_damaged_entries(tmp_path):
    folder = write_lmdb(
        tmp_path / "set",
        ["a", "b", "c", "d", "e"],
        **{
            "label-000000001": None,
            "label-000000002": b"\xff\xff",
            "image-000000003": None,
            "image-000000004": b"no image",
        },
    )
    with pytest.raises(DatasetError, match=r"label-000000001 is missing"):
        open_dataset(folder)
    dataset = open_dataset(folder, on_error="skip")
    assert dataset.corrupt == 2
    assert len(dataset) == 3
    for i, key in ((0, "image-000000003"), (1, "image-000000004")):
        with pytest.raises(ImageError, match=key):
            dataset[i]
    assert dataset[2][1] == "e"


def test_damaged_sets(tmp_path):
    with pytest.raises(DatasetError, match="not a folder"):
        open_dataset(tmp_path / "missing")
    with pytest.raises(DatasetError, match=r"neither labels\.tsv nor an LMDB"):
        open_dataset(tmp_path)
    write_lmdb(tmp_path / "uncounted", ["a"], **{"num-samples": b"many"})
    for count in (b"1000000000000", b"9" * 5000):
        write_lmdb(tmp_path / str(len(count)), ["a"], **{"num-samples": count})
        with pytest.raises(DatasetError, match="num-samples"):
            open_dataset(tmp_path / str(len(count)))
    with pytest.raises(DatasetError, match="num-samples"):
        open_dataset(tmp_path / "uncounted")
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise" / "data.mdb").write_bytes(b"noise" * 10_000)
    with pytest.raises(DatasetError, match="cannot be opened"):
        open_dataset(tmp_path / "noise")
