"""rectify: four corners become an upright crop, whatever their order, and nonsense becomes a clear error."""

import cv2
import numpy as np
import pytest

from clip4str_plugin.errors import ImageError, PolygonError
from clip4str_plugin.geometry.rectification import rectify, without_margins

BOX = np.array([[20.0, 30], [120, 30], [120, 62], [20, 62]])


@pytest.fixture(scope="module")
def page() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)


@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize("winding", [1, -1])
def test_whole_pixels_are_copied_from_any_corner_and_winding(page, first, winding):
    crop = rectify(page, np.roll(BOX[::winding], first, axis=0))
    np.testing.assert_array_equal(crop, page[30:62, 20:120])
    assert crop.flags.c_contiguous


@pytest.mark.parametrize("turns", range(4))
def test_start_top_left_keeps_the_reading_direction_at_any_angle(page, turns):
    crop = rectify(page, np.roll(BOX, -turns, axis=0), start="top-left")
    np.testing.assert_array_equal(crop, np.rot90(page[30:62, 20:120], turns))


def test_a_tall_box_is_turned_to_read_downwards(page):
    crop = rectify(page, [[20, 30], [50, 30], [50, 130], [20, 130]])
    np.testing.assert_array_equal(crop, np.rot90(page[30:130, 20:50]))


@pytest.mark.parametrize("view", [np.s_[..., ::-1], np.s_[..., 0], np.s_[..., :1], np.s_[:, ::-1]])
def test_views_and_channel_counts(page, view):
    np.testing.assert_array_equal(rectify(page[view], BOX), page[view][30:62, 20:120])


def test_all_four_corners_count():
    """A trapezoid of which one side is half as tall: a gradient along each side must come out even."""
    y, x = np.mgrid[:200, :300]
    page = np.repeat(((y - 50) / (100 - x / 300 * 50) * 255).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    crop = rectify(page, [[0, 50], [299, 50], [299, 100], [0, 150]])
    assert np.abs(crop[..., 0].astype(int) - crop[:, :1, 0]).max() <= 6


def test_the_border_is_repeated_and_the_rest_left_off(page):
    crop = rectify(page, [[-10, 30], [100, 30], [100, 62], [-10, 62]])
    np.testing.assert_array_equal(crop[:, 10:], page[30:62, :100])
    np.testing.assert_array_equal(crop[:, :10], np.repeat(page[30:62, :1], 10, axis=1))
    assert rectify(page, [[-1e6, 30], [1e6, 30], [1e6, 62], [-1e6, 62]]).shape[1] <= 300 + 32 + 2


def test_crossed_corners_give_the_box(page):
    np.testing.assert_array_equal(rectify(page, BOX[[0, 2, 1, 3]]), page[30:62, 20:120])


@pytest.mark.parametrize(
    ("polygon", "reason"),
    [
        ([], "shape"),
        ([[1, 2]], "three"),
        ([[1, 2], [3, 4], [1, 2], [3, 4]], "thinner"),
        ([[5, 5], [5, 5], [5, 5], [5, 5]], "three"),
        ([[0, 0], [np.nan, 0], [9, 9], [0, 9]], "finite"),
        ([[0, 0], [np.inf, 0], [9, 9], [0, 9]], "finite"),
        ([[0, 0], [100, 0], [100, 0.4], [0, 0.4]], "thinner"),
        ([[0, 0], [50, 0], [100, 0], [20, 0]], "thinner"),
        ([[400, 400], [500, 400], [500, 430], [400, 430]], "outside"),
        ([[0, 0, 0], [1, 1, 1], [2, 2, 2]], "shape"),
        ("polygon", "array"),
        (None, "shape"),
    ],
)
def test_nonsense_polygons_are_named(page, polygon, reason):
    with pytest.raises(PolygonError, match=reason):
        rectify(page, polygon)


NOT_PAGES = [None, np.zeros((0, 5, 3), np.uint8), np.zeros((5, 5, 3)), np.zeros((5, 5, 9), np.uint8)]


@pytest.mark.parametrize("image", NOT_PAGES)
def test_bad_pages_are_named(image):
    with pytest.raises(ImageError, match="page"):
        rectify(image, BOX)


def test_outlines_with_margins_are_moved_in_to_the_letters():
    page = np.full((200, 400, 3), 230, np.uint8)
    cv2.putText(page, "MARKET", (60, 120), cv2.FONT_HERSHEY_DUPLEX, 2.0, (20, 20, 20), 3, cv2.LINE_AA)
    rows = np.flatnonzero((page < 100).any(axis=(1, 2)))
    loose = np.array([[50, rows[0] - 16], [330, rows[0] - 16], [330, rows[-1] + 12], [50, rows[-1] + 12]], np.float32)
    tight = without_margins(page, loose)
    assert np.abs(tight[:2, 1] - rows[0]).max() < 6
    assert np.abs(tight[2:, 1] - rows[-1]).max() < 6
    np.testing.assert_allclose(tight[:, 0], loose[:, 0], atol=1e-3)
    hugging = np.array([[50, rows[0]], [330, rows[0]], [330, rows[-1] + 1], [50, rows[-1] + 1]], np.float32)
    np.testing.assert_array_equal(without_margins(page, hugging), hugging)
    blank = loose - (0, loose[0, 1])
    np.testing.assert_array_equal(without_margins(np.full_like(page, 9), blank), blank)
