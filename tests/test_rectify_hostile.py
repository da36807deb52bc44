"""Whatever polygon comes in, rectify gives a crop of sensible size or says what is wrong with it."""

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from clip4str_plugin.errors import PolygonError
from clip4str_plugin.geometry.rectification import rectify
from clip4str_plugin.reading.line_splitting import split_lines

PAGE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
CALM = settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])

anything = st.floats(width=32, allow_nan=True, allow_infinity=True)
near = st.floats(-50, 210, width=32)
whole = st.integers(-5, 165).map(float)
far = st.sampled_from([-1e6, -1e5, 1e5, 1e6, 9.9e6])


def points(coordinate, least=0, most=40):
    return st.lists(st.tuples(coordinate, coordinate), min_size=least, max_size=most)


@st.composite
def repeated(draw):
    base = draw(points(near, 3, 8))
    return [base[draw(st.integers(0, len(base) - 1))] for _ in range(draw(st.integers(3, 30)))]


@st.composite
def thin(draw):
    """Points on or beside one line."""
    x0, y0, dx, dy = (draw(near) for _ in range(4))
    offsets = draw(st.lists(st.tuples(st.floats(-1, 1), st.floats(-0.6, 0.6)), min_size=3, max_size=20))
    return [(x0 + dx * along, y0 + dy * along + across) for along, across in offsets]


def test_an_unknown_start_is_refused():
    with pytest.raises(ValueError, match="start is 'left'; known are any, top-left"):
        rectify(PAGE, [[0, 0], [50, 0], [50, 20], [0, 20]], start="left")


hostile = st.one_of(
    points(anything), points(near, 3), points(whole, 3), points(st.one_of(near, far), 3), repeated(), thin()
)


@pytest.mark.slow
@CALM
@given(polygon=hostile, start=st.sampled_from(["any", "top-left"]))
@example(polygon=[(0, 0), (1e6, 0), (1e6, 1e6), (0, 1e6)], start="any")
@example(polygon=[(80.0, 60.0)] * 4, start="any")
@example(polygon=[(-1, -1), (-1, 1), (-1, -2), (0, -2), (0, -1)], start="top-left")  # about the centre of its own arc
@example(polygon=[(-1e6, 50), (0, 48), (1e6, 50), (1e6, 70), (0, 68), (-1e6, 70)], start="any")
def test_a_crop_or_a_clear_error(polygon, start):
    try:
        crop = rectify(PAGE, polygon, start=start)
    except PolygonError:
        return
    assert crop.dtype == np.uint8
    assert crop.ndim == 3
    assert crop.flags.c_contiguous
    assert min(crop.shape) >= 1
    # Memory is bounded by the page, wherever the polygon goes ...
    assert max(crop.shape) <= 2 * sum(PAGE.shape[:2])
    # ... and what is small on the page stays small: no fallback to the whole page.
    corners = np.asarray(polygon, dtype=np.float64)
    longest = np.hypot(*(corners.max(axis=0) - corners.min(axis=0)))
    assert max(crop.shape[:2]) <= max(2, 1 + np.hypot(*np.diff(np.concatenate([corners, corners[:1]]), axis=0).T).sum())
    assert min(crop.shape[:2]) <= longest + 2


@pytest.mark.slow
@CALM
@given(polygon=points(near, 3, 20))
def test_start_and_winding_do_not_matter(polygon):
    """The same outline gives the same crop, up to the direction of reading where its shape leaves that open."""
    quad = cv2.boxPoints(cv2.minAreaRect(np.array(polygon, np.float32)))
    try:
        crops = [rectify(PAGE, np.roll(quad[::step], first, axis=0)) for step in (1, -1) for first in range(4)]
    except PolygonError:
        return
    sizes = {tuple(sorted(crop.shape[:2])) for crop in crops}
    assert len(sizes) == 1


@pytest.mark.slow
@CALM
@given(polygon=hostile)
def test_words_of_hostile_lines(polygon):
    try:
        (words,) = split_lines(PAGE, [polygon])
    except PolygonError:
        return
    assert words
    for word in words:
        assert word.dtype == np.float32
        assert np.isfinite(word).all()


@pytest.mark.parametrize("length", [1e3, 1e5, 1e6])
def test_a_curve_a_million_pixels_long_costs_no_more(length):
    x = np.linspace(-length, length, 21)
    top = np.stack([x, 50 + 20 * np.sin(x / length * 3)], axis=1)
    crop = rectify(PAGE, np.concatenate([top, top[::-1] + np.array([0, 30])]))
    assert crop.shape[1] <= 160 + 2 * 30 + length / 1000
    assert crop.shape[0] <= 40


def test_pages_larger_than_opencv_can_warp():
    page = np.zeros((20, 40_000), np.uint8)
    page[5:15, 39_000:39_100] = 255
    crop = rectify(page, [[38_990, 0], [39_110, 0], [39_110, 20], [38_990, 20]])
    assert crop.shape == (20, 120)
    assert crop[5:15, 10:110].min() == 255
    assert rectify(page, [[0, 0], [40_000, 0], [40_000, 20], [0, 20]]).shape[1] <= 8192


@pytest.mark.parametrize(
    "polygon",
    [
        [(-1, -1), (-1, 1), (-1, -2), (0, -2), (0, -1)],  # about the centre of its own arc
        [(0, 1), (1, 1), (1, 0), (2, 0), (2, 1)],
        [(10, 10), (90, 10), (90, 50), (90, 90)],  # three corners on one line
        [(10, 10), (50, 10), (90, 10), (10, 90)],
    ],
)
@pytest.mark.parametrize("start", ["any", "top-left"])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_shapes_that_have_no_perspective_or_arc(polygon, start):
    assert rectify(PAGE, np.float32(polygon) + 5, start=start).size > 0
