"""The detector `auto`: which detector it takes for which page."""

import json

import cv2
import numpy as np
import pytest

from clip4str_plugin import Detections, Reader, load_detector
from clip4str_plugin.errors import DetectorError, HostError
from clip4str_plugin.io.writers.json_pages import page_record
from clip4str_plugin.page import Page
from clip4str_plugin.reading.auto_detector import AutoDetector
from clip4str_plugin.reading.page_kind import looks_like_photo

QUAD = np.array([[10, 10], [60, 10], [60, 30], [10, 30]], np.float32)


class Lines:
    """A detector of lines that sees as many lines of text as it is told."""

    def __init__(self, count):
        self.inner = np.zeros((240, 320), np.float32)
        for row in range(count):
            self.inner[8 * row + 4 : 8 * row + 8, 20:300] = 1

    def see(self, page):
        return self

    def lines(self, seen):
        return Detections([QUAD], np.ones(1), "line")


class Words:
    def find(self, page, text_map):
        return Detections([QUAD, QUAD + 60], np.ones(2), "word")


def scene():
    return cv2.resize(np.random.default_rng(3).integers(0, 256, (6, 8, 3), np.uint8), (320, 240))


def sheet():
    page = np.full((240, 320, 3), 240, np.uint8)
    page[::12, 20:300] = 0
    return page


def test_scenes_are_photos_and_sheets_and_full_pages_are_not():
    assert looks_like_photo(scene(), Lines(2).inner)
    assert not looks_like_photo(sheet(), Lines(2).inner)
    assert not looks_like_photo(scene(), Lines(25).inner)
    assert looks_like_photo(scene(), Lines(0).inner)


def test_words_on_photos_lines_on_documents():
    detect = AutoDetector(Lines(2), Words)
    photo, document = detect([scene(), sheet()])
    assert (photo.detector, photo.granularity, len(photo)) == ("craft+rapidocr", "word", 2)
    assert (photo.rivals.granularity, len(photo.rivals), document.rivals) == ("line", 1, None)
    assert (document.detector, document.granularity, len(document)) == ("rapidocr", "line", 1)


def test_words_are_loaded_once_and_only_for_photos():
    loads = []

    def load():
        loads.append(1)
        return Words()

    detect = AutoDetector(Lines(2), load)
    detect([sheet()])
    assert not loads
    detect([scene(), scene()])
    detect([scene()])
    assert len(loads) == 1


@pytest.mark.parametrize("error", [HostError("not installed"), DetectorError("no network")])
def test_without_craft_lines_do_for_photos_and_one_note_says_so(error, caplog):
    def missing():
        raise error

    detect = AutoDetector(Lines(2), missing)
    (first,), (second,) = detect([scene()]), detect([scene()])
    assert first.detector == second.detector == "rapidocr"
    assert [str(error) in record.getMessage() for record in caplog.records] == [True]


def test_it_takes_no_arch():
    with pytest.raises(DetectorError, match="auto"):
        load_detector("auto:craft")


@pytest.mark.slow
def test_it_is_the_default_and_the_output_tells_its_choice():
    page = sheet()
    cv2.putText(page, "invoice", (60, 160), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (0, 0, 0), 2)
    reader = Reader()
    assert isinstance(reader.detector, AutoDetector)
    (read,) = reader.stream([page])
    assert page_record(read)["detector"] == "rapidocr"
    assert "detector" not in json.loads(json.dumps(page_record(Page(page))))
