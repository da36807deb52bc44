"""Curved polygons: the two ends are found, and the text between them comes out flat."""

import cv2
import numpy as np
import pytest

from clip4str_plugin.geometry.rectification import rectify
from clip4str_plugin.geometry.text_strip import CurvedStrip, StraightStrip, TextStrip

FLAT = np.full((40, 240, 3), 230, np.uint8)
cv2.putText(FLAT, "Rectify", (8, 30), cv2.FONT_HERSHEY_DUPLEX, 1.3, (40, 20, 90), 2, cv2.LINE_AA)


def arc(degrees, points=9, smile=False, uneven=True, seed=0):
    """The flat word on an arc around the middle of a page, and its polygon, clockwise from the text's top left."""
    height, width = FLAT.shape[:2]
    angle = np.radians(degrees)
    radius = width / angle
    half = radius + height
    y, x = np.mgrid[: 2 * int(half), : 2 * int(half)].astype(np.float64) + 0.5 - half
    turn = np.arctan2(x, y if smile else -y)
    away = np.hypot(x, y) - radius
    maps = (turn / angle + 0.5) * width - 0.5, height / 2 + (away if smile else -away) - 0.5
    page = cv2.remap(FLAT, *(part.astype(np.float32) for part in maps), cv2.INTER_LINEAR, borderValue=(90, 120, 90))

    rng = np.random.default_rng(seed)

    def side(distance):
        steps = rng.uniform(0.5, 2, points - 1) if uneven else np.ones(points - 1)
        turns = (np.concatenate([[0], np.cumsum(steps) / steps.sum()]) - 0.5) * angle
        return half + distance * np.stack([np.sin(turns), np.cos(turns) * (1 if smile else -1)], axis=1)

    outer, inner = side(radius + height / 2), side(radius - height / 2)
    top, bottom = (inner, outer) if smile else (outer, inner)
    return page, np.concatenate([top, bottom[::-1]])


def correlation(crop):
    resized = cv2.resize(crop, FLAT.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return np.corrcoef(resized.ravel(), FLAT.ravel())[0, 1]


@pytest.mark.parametrize("degrees", [30, 90, 180, 270, 300])
@pytest.mark.parametrize("smile", [False, True])
def test_arcs_become_flat(degrees, smile):
    page, polygon = arc(degrees, smile=smile)
    assert correlation(rectify(page, polygon)) > 0.97


@pytest.mark.parametrize("seed", range(6))
def test_any_starting_point_winding_and_spacing(seed):
    rng = np.random.default_rng(seed)
    page, polygon = arc(120, points=int(rng.integers(4, 17)), seed=seed)
    polygon = np.roll(polygon[:: rng.choice([1, -1])], rng.integers(len(polygon)), axis=0)
    assert correlation(rectify(page, polygon)) > 0.97


@pytest.mark.parametrize("turns", range(4))
def test_start_top_left_keeps_the_reading_direction(turns):
    page, polygon = arc(100)
    for _ in range(turns):
        page, polygon = np.rot90(page), np.stack([polygon[:, 1], page.shape[1] - polygon[:, 0]], axis=1)
    assert correlation(rectify(page, polygon, start="top-left")) > 0.97


def test_the_contour_of_a_mask():
    page, polygon = arc(150, points=40, uneven=False)
    mask = cv2.fillPoly(np.zeros(page.shape[:2], np.uint8), [polygon.round().astype(np.int32)], 1)
    contour = max(cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=len)[:, 0]
    assert len(contour) > 300
    assert correlation(rectify(page, contour)) > 0.85


def test_slight_crossings_are_repaired():
    page, polygon = arc(150, points=13)
    polygon[[4, 5]] = polygon[[5, 4]]
    assert correlation(rectify(page, polygon)) > 0.9


def test_points_on_the_sides_of_a_quad_change_nothing():
    page = np.random.default_rng(0).integers(0, 256, (100, 200, 3), dtype=np.uint8)
    quad = np.array([[20.0, 30], [150, 20], [155, 60], [22, 75]])
    middles = (quad + np.roll(quad, -1, axis=0)) / 2
    dense = np.stack([quad, middles], axis=1).reshape(-1, 2)
    np.testing.assert_array_equal(rectify(page, dense), rectify(page, quad))
    assert isinstance(TextStrip.of(dense), StraightStrip)


def test_a_curved_word_polygon_covers_its_share():
    _, polygon = arc(120)
    strip = TextStrip.of(polygon)
    assert isinstance(strip, CurvedStrip)
    area = cv2.contourArea(polygon.astype(np.float32))
    left, right = (cv2.contourArea(strip.polygon(*part)) for part in ((0, 0.3), (0.3, 1)))
    assert left == pytest.approx(0.3 * area, rel=0.05)
    assert right == pytest.approx(0.7 * area, rel=0.05)


def test_upright_strokes_stay_upright_on_a_flag():
    """One side is the other one moved straight down."""
    page = np.full((120, 260, 3), 255, np.uint8)
    x = np.arange(260)
    wave = 12 * np.sin(x / 35)
    for stroke in range(25, 240, 20):
        page[int(40 + wave[stroke]) : int(80 + wave[stroke]), stroke : stroke + 4] = 0
    at = np.arange(10, 251, 20)
    top = np.stack([at, 38 + wave[at]], axis=1)
    crop = rectify(page, np.concatenate([top, top[::-1] + np.array([0, 44])]))
    middle, low = (crop[round(share * len(crop)), :, 0] < 128 for share in (0.3, 0.7))
    assert np.count_nonzero(middle != low) < 0.08 * crop.shape[1]


def test_a_flag_with_margins_keeps_the_pace_of_its_text():
    x = np.linspace(20, 260, 17)
    top = np.stack([x, 100 + 25 * np.sin(x / 40)], axis=1)
    strip = TextStrip.of(np.concatenate([top, top[::-1] + np.array([0, 44])]))
    assert isinstance(strip, CurvedStrip)
    margin, (width, _) = 0.3, strip.size
    grown = strip.grown(margin, 0.2, margin, 0.2)
    share = np.linspace(0, 1, 9)
    wider = (share * width + margin * strip.height) / (width + 2 * margin * strip.height)
    for v, w in ((0, 0.2 / 1.4), (1, 1.2 / 1.4)):
        before, after = (
            np.stack(side.at(*place), axis=1) for side, place in ((strip, (share, v)), (grown, (wider, w)))
        )
        assert np.abs(before - after).max() < 1


@pytest.mark.parametrize("degrees", [30, 60, 200])
def test_outlines_that_cut_no_letters_get_no_margins(degrees):
    page, polygon = arc(degrees)
    np.testing.assert_array_equal(rectify(page, polygon), TextStrip.of(polygon).crop(page))
