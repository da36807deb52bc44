"""Large pages: every region once and whole, whatever the tiles."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from clip4str_plugin import Detections, Reader
from clip4str_plugin.errors import DetectorError
from clip4str_plugin.reading.tiles import detect_pages


class Blobs:
    """Finds black spots as a detector of lines finds lines: on a shrunk page, and none lower than 6 pixels there."""

    def __init__(self, max_side=512):
        self.max_side = max_side
        self.sizes = []

    def __call__(self, pages):
        return [self._detect(page) for page in pages]

    def _detect(self, page):
        self.sizes.append(page.shape[:2])
        scale = min(1.0, self.max_side / max(page.shape[:2]))
        size = [max(1, round(side * scale)) for side in page.shape[1::-1]]
        dark = (cv2.resize(page, size, interpolation=cv2.INTER_AREA)[..., 0] < 128).astype(np.uint8)
        boxes = cv2.connectedComponentsWithStats(dark)[2][1:, :4]
        boxes = boxes[boxes[:, 2:].min(axis=1) >= 6] / scale
        quads = [np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]]) for x, y, w, h in boxes]
        return Detections(quads, np.full(len(quads), 0.9), "line")


def page_of(shape, boxes):
    page = np.full((*shape, 3), 255, np.uint8)
    for left, top, width, height in boxes:
        page[top : top + height, left : left + width] = 0
    return page


def boxes_of(found):
    corners = [(*polygon.min(axis=0), *np.ptp(polygon, axis=0)) for polygon in found.polygons]
    return np.array(sorted(corners, key=lambda box: (round(box[1] / 8), box[0])))


def grid(shape, width, height, step_x, step_y):
    return [
        (x, y, width, height) for y in range(7, shape[0] - height, step_y) for x in range(9, shape[1] - width, step_x)
    ]


SHAPES = {"tall": (4100, 300), "wide": (260, 3900), "huge": (2300, 1700)}


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_each_region_is_found_once_and_whole(shape):
    boxes = grid(shape, 90, 20, 131, 37)
    detector = Blobs()
    (found,) = detect_pages(detector, [page_of(shape, boxes)])
    assert len(detector([page_of(shape, boxes)])[0]) < len(boxes)
    assert found.granularity == "line"
    np.testing.assert_allclose(boxes_of(found), sorted(boxes, key=lambda box: (box[1], box[0])), atol=3)


@pytest.mark.parametrize("turned", [False, True])
def test_lines_longer_than_a_tile_are_joined(turned):
    boxes = [(30, y, 3700, 18) for y in range(20, 240, 60)]
    page = page_of((260, 3900), boxes)
    (found,) = detect_pages(Blobs(), [np.ascontiguousarray(page.transpose(1, 0, 2)) if turned else page])
    polygons = [polygon[:, ::-1] if turned else polygon for polygon in found.polygons]
    np.testing.assert_allclose(boxes_of(replace(found, polygons=polygons)), boxes, atol=3)


def test_large_text_comes_from_the_look_at_the_whole_page():
    small = grid((900, 1700), 90, 20, 131, 37)
    boxes = [*small, (100, 1100, 1300, 800)]
    (found,) = detect_pages(Blobs(), [page_of((2300, 1700), boxes)])
    np.testing.assert_allclose(boxes_of(found), sorted(boxes, key=lambda box: (box[1], box[0])), atol=6)


def test_small_pages_and_large_text_cost_one_look():
    for shape, boxes in [((512, 400), [(50, 50, 90, 8)]), ((1500, 1300), [(100, 100, 800, 90), (100, 900, 800, 90)])]:
        detector = Blobs()
        (found,) = detect_pages(detector, [page_of(shape, boxes)])
        assert detector.sizes == [shape]
        assert len(found) == len(boxes)


@pytest.mark.slow
def test_tiles_are_no_larger_than_the_detector_takes():
    detector = Blobs()
    detect_pages(detector, [page_of((4100, 3300), grid((4100, 3300), 60, 14, 131, 37))])
    assert detector.sizes[0] == (4100, 3300)
    assert max(max(size) for size in detector.sizes[1:]) <= detector.max_side + 2


def test_empty_pages_stay_empty():
    detector = Blobs()
    for shape, most in [((1500, 1100), 1), ((2000, 1500), 10)]:
        (found,) = detect_pages(detector, [page_of(shape, [])])
        assert len(found) == 0
        assert len(detector.sizes) <= most


def test_the_parts_of_a_page_are_looked_at_by_the_detector_that_the_page_was_given_to():
    class Chooser(Blobs):
        part = Blobs()

        def __call__(self, pages):
            return [replace(found, detector="blobs") for found in super().__call__(pages)]

        def named(self, name):
            assert name == "blobs"
            return self.part

    detector = Chooser()
    (found,) = detect_pages(detector, [page_of((4100, 300), grid((4100, 300), 90, 20, 131, 37))])
    assert found.detector == "blobs"
    assert len(detector.sizes) == 1
    assert len(Chooser.part.sizes) > 5


def test_a_detector_that_fails_on_a_tile_fails_on_the_page_alone():
    class Fails(Blobs):
        def __call__(self, pages):
            found = super().__call__(pages)
            return found if max(pages[0].shape) > self.max_side else []

    with pytest.raises(DetectorError, match="0 results"):
        detect_pages(Fails(), [page_of((4100, 300), [])])
    pages = list(Reader(Fails()).stream([page_of((4100, 300), []), page_of((600, 500), [(50, 50, 300, 90)])]))
    assert "0 results" in pages[0].error
    assert pages[1].error is None


@pytest.mark.parametrize("shape", [(1, 2_000_000), (2_000_000, 2), (20, 500_000)])
def test_strips_of_millions_of_pixels_are_not_cut_into_thousands_of_tiles(shape):
    detector = Blobs()
    (found,) = detect_pages(detector, [np.full((*shape, 3), 255, np.uint8)])
    assert len(found) == 0
    assert 20 < len(detector.sizes) <= 102
