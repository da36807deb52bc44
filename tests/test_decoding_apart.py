"""What may do harm is decoded in child processes: limited, killed when nobody waits, and used again."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip4str_plugin.errors import ImageError
from clip4str_plugin.io import decoder_pool
from clip4str_plugin.io.decoder_pool import close_idle, decode_apart
from clip4str_plugin.io.decoding import Decoding, PageImage
from clip4str_plugin.io.images import read_pages, read_stream
from tests.hostile_files import GOOD_PAGE, jpeg_of_many_scans, pdf, pdf_that_never_ends

SMALL = Decoding(max_pixels=1_000_000)


@pytest.fixture(autouse=True)
def no_child_is_left():
    yield
    close_idle()


def shapes(pages):
    return [page.pixels.shape if isinstance(page, PageImage) else page.error for page in pages]


def tiff(*sizes):
    pages = [Image.new("RGB", size, "white") for size in sizes]
    out = io.BytesIO()
    pages[0].save(out, "TIFF", save_all=True, append_images=pages[1:])
    return out


def test_pages_come_as_they_are_and_the_child_is_used_again():
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "TIFF", dpi=(300, 300))
    (page,) = decode_apart(out, "a.tif", SMALL)
    np.testing.assert_array_equal(page.pixels, pixels)
    assert (page.source, page.index, page.dpi) == ("a.tif", 0, 300)
    assert page.pixels.flags.writeable
    (child,) = decoder_pool._idle
    assert shapes(decode_apart(tiff((3, 2), (5, 4)), "b.tif", SMALL)) == [(2, 3, 3), (4, 5, 3)]
    assert decoder_pool._idle == [child]


def test_small_plain_images_need_no_child(tmp_path, monkeypatch):
    monkeypatch.setattr(decoder_pool, "_borrow", lambda: pytest.fail("a child was started"))
    for name in ("a.png", "a.jpg", "a.bmp", "a.webp"):
        Image.new("RGB", (30, 20)).save(tmp_path / name)
        assert shapes(read_pages(tmp_path / name)) == [(20, 30, 3)]


def test_a_page_that_never_ends_costs_only_itself():
    content = pdf_that_never_ends([GOOD_PAGE, b"/X0 Do", GOOD_PAGE])
    begin = time.monotonic()
    first, second, third = decode_apart(io.BytesIO(content), "a.pdf", SMALL, seconds=2)
    assert isinstance(first, PageImage)
    assert isinstance(third, PageImage)
    assert third.index == 2
    # A fast processor meets the limit of memory first.
    assert second.error.startswith(("a.pdf: page 2 took longer than 2 seconds", "a.pdf: page 2 breaks its decoder, or"))
    assert time.monotonic() - begin < 30


def test_after_several_such_pages_the_rest_is_given_up():
    content = pdf_that_never_ends([b"/X0 Do"] * 9)
    errors = [page.error for page in decode_apart(io.BytesIO(content), "a.pdf", SMALL, seconds=0.3)]
    assert len(errors) == 4
    assert "pages from 4 on are not read" in errors[-1]


def test_memory_is_limited(monkeypatch):
    if not sys.platform.startswith("linux"):
        pytest.skip("the system does not limit memory")
    monkeypatch.setattr(decoder_pool, "_BYTES_A_PIXEL", 0)
    monkeypatch.setattr(decoder_pool, "_BYTES_MORE", 60_000_000)
    (page,) = decode_apart(tiff((6000, 6000)), "a.tif", Decoding())
    assert "needs more than 60 MB" in page.error
    (page,) = decode_apart(tiff((60, 60)), "b.tif", Decoding())
    assert page.pixels.shape == (60, 60, 3)


def test_nobody_waits_any_more():
    leaves = time.monotonic() + 0.5
    pages = read_stream(io.BytesIO(pdf_that_never_ends()), "a.pdf", stop=lambda: time.monotonic() > leaves)
    assert list(pages) == []
    assert time.monotonic() - leaves < 10


def test_a_consumer_that_stops_early_leaves_no_child_at_work():
    pages = decode_apart(io.BytesIO(pdf([GOOD_PAGE] * 5)), "a.pdf", SMALL)
    next(pages)
    pages.close()
    assert decoder_pool._idle == []


def test_a_child_that_was_killed_meanwhile_is_replaced():
    assert shapes(decode_apart(tiff((3, 2)), "a.tif", SMALL)) == [(2, 3, 3)]
    os.kill(decoder_pool._idle[0].process.pid, signal.SIGKILL)
    decoder_pool._idle[0].process.wait()
    assert shapes(decode_apart(tiff((3, 2)), "a.tif", SMALL)) == [(2, 3, 3)]


def test_several_threads():
    results = {}

    def read(number):
        results[number] = shapes(decode_apart(tiff((number, 5), (number, 6)), "a.tif", SMALL))

    threads = [threading.Thread(target=read, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: [(5, number, 3), (6, number, 3)] for number in range(1, 5)}
    assert len(decoder_pool._idle) <= 2


def test_a_jpeg_of_thousands_of_scans(monkeypatch):
    begin = time.monotonic()
    stop = begin + 1
    pages = read_stream(io.BytesIO(jpeg_of_many_scans()), "a.jpg", stop=lambda: time.monotonic() > stop)
    assert list(pages) == []
    assert time.monotonic() - begin < 15


def test_errors_are_those_of_decoding_here():
    for content in (b"%PDF-1.4 nothing", b"II*\0nothing at all", tiff((30, 20)).getvalue()[:60]):
        (page,) = read_stream(io.BytesIO(content), "a")
        assert page.error.startswith("a: ")
    (page,) = read_stream(io.BytesIO(pdf([GOOD_PAGE] * 3)), "a.pdf", max_pages=2)
    assert page.error == "a.pdf: has 3 pages, more than the limit of 2; split it"


def test_no_program_to_start(monkeypatch):
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(ImageError, match=r"sys\.executable"):
        list(decode_apart(tiff((3, 2)), "a.tif", SMALL))


@pytest.mark.skipif(not hasattr(os, "getppid") or sys.platform == "win32", reason="needs POSIX")
def test_children_end_with_a_parent_that_is_killed(tmp_path):
    (tmp_path / "a.pdf").write_bytes(pdf_that_never_ends())

    def children(process):
        return Path(f"/proc/{process}/task/{process}/children").read_text().split()

    try:
        children(os.getpid())
    except OSError:
        pytest.skip("the system does not list children")
    script = "import sys; from clip4str_plugin.io.images import read_pages; list(read_pages(sys.argv[1]))"
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "a.pdf")])
    deadline = time.monotonic() + 30
    while not (found := children(parent.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    parent.kill()
    parent.wait()
    status = Path(f"/proc/{found[0]}/stat")
    with suppress(FileNotFoundError):  # gone, as it should be
        while status.read_text().rpartition(")")[2].split()[0] != "Z":  # ended, and nobody has asked how
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_file_of_gigabytes_is_not_read_into_this_process(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "a.jpg"
    Image.new("RGB", (60, 40), "red").save(path)
    os.truncate(path, 5_000_000_000)  # takes no space on the disk
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (page,) = read_pages(path)
    assert isinstance(page, PageImage)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
