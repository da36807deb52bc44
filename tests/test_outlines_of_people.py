"""Text drawn into outlines as people draw them: they hug the letters, cut tips off, are uneven and start anywhere."""

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from clip4str_plugin.geometry.rectification import straighten
from clip4str_plugin.geometry.text_strip import StraightStrip, TextStrip

ROWS, COLUMNS = 700, 900
AIR = 8  # pixels of ground around the ink of a word
CUT = 0.16  # of the height of the letters, the most that an outline cuts off


def drawn(text):
    """Light letters on dark ground, (h, w) uint8."""
    font = ImageFont.load_default(64)
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text))
    image = Image.new("L", (right - left + 2 * AIR, bottom - top + 2 * AIR))
    ImageDraw.Draw(image).text((AIR - left, AIR - top), text, font=font, fill=255)
    return np.asarray(image)


class Bend:
    """Lays a picture along a line that is straight at first and then bends down on a circle.

    Args:
        picture: (h, w) uint8.
        straight: share of the width that stays straight; without any the bend is as high at both ends.
        degrees: of the circle.
    """

    def __init__(self, picture, straight, degrees):
        self.picture = picture
        height, width = picture.shape
        self.middle, self.start = height / 2, straight * width
        self.radius = (width - self.start) / np.radians(degrees)
        turn = 0.0 if straight else -np.radians(degrees) / 2
        self.rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        self.origin = np.array([160.0, 260.0])

    def to_page(self, points):
        """Points of the picture on the page, (N, 2)."""
        x, y = points.T
        angle, away = np.maximum(0, x - self.start) / self.radius, self.radius - (y - self.middle)
        bent = np.stack([np.minimum(x, self.start) + away * np.sin(angle), self.radius - away * np.cos(angle)], axis=1)
        return bent @ self.rotation.T + self.origin

    def page(self):
        """The picture on a page of its ground, (ROWS, COLUMNS) uint8."""
        y, x = np.mgrid[:ROWS, :COLUMNS] + 0.5
        x, y = np.moveaxis((np.stack([x, y], axis=2) - self.origin) @ self.rotation, 2, 0)
        angle, away = np.arctan2(x - self.start, self.radius - y), np.hypot(x - self.start, self.radius - y)
        u = np.where(x > self.start, self.start + self.radius * angle, x) - 0.5
        v = np.where(x > self.start, self.radius - away, y) + self.middle - 0.5
        return cv2.remap(self.picture, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR)


def outline(picture, rng, points):
    """Points around the ink of a picture, (2 * points, 2): near its upper and lower edge, most of them too far in."""
    ink = picture > 128
    columns = np.flatnonzero(ink.any(axis=0))
    rows = np.flatnonzero(ink.any(axis=1))
    height = rows[-1] - rows[0] + 1
    steps = np.cumsum(np.concatenate([[0], rng.uniform(0.4, 2.0, points - 1)]))
    places = np.interp(steps / steps[-1], [0, 1], columns[[0, -1]] + np.array([1, -1]) * rng.uniform(0, 0.1) * height)
    sides = []
    for side in (0, 1):
        # A person looks at the letters near a point, not at the single column.
        edge = [rows[-side] + (1 - 2 * side) * rng.uniform(0, CUT) * height for _ in places]
        sides.append(np.stack([places, edge], axis=1))
    return np.concatenate([sides[0], sides[1][::-1]])


def started_anywhere(polygon, rng):
    return np.roll(polygon[:: rng.choice([1, -1])], rng.integers(len(polygon)), axis=0)


def share_inside(strip, ink):
    """How much of the ink of a page lies within a strip."""
    mask = np.zeros(ink.shape, np.uint8)
    cv2.fillPoly(mask, [strip.polygon(0, 1).round().astype(np.int32)], 255)
    return float(ink[mask > 0].sum() / ink.sum())


BENDS = {"level": (0.9, 2), "arc": (0.0, 70), "half circle": (0.0, 150), "one end": (0.55, 50)}
WORDS = ["FRIENDSHIP", "Imperial", "Blackburn"]


@pytest.mark.parametrize("bend", BENDS)
def test_most_of_what_an_outline_cuts_off_comes_back(bend):
    rng = np.random.default_rng([*bend.encode()])
    cut, lost, heights = [], [], []
    for word in WORDS:
        picture = drawn(word)
        place = Bend(picture, *BENDS[bend])
        ink = place.page()
        page = cv2.cvtColor(ink, cv2.COLOR_GRAY2RGB)
        for _ in range(6):
            points = place.to_page(outline(picture, rng, points=int(rng.integers(5, 12))))
            polygon = started_anywhere(points, rng)
            strip = straighten(page, polygon).strip
            cut.append(1 - share_inside(TextStrip.of(polygon), ink))
            lost.append(1 - share_inside(strip, ink))
            heights.append(strip.height / (picture.shape[0] - 2 * AIR))
            # Along the text, not across it and not back and forth.
            assert 0.85 < strip.size[0] / picture.shape[1] < 1.25
    assert np.mean(cut) > 0.05  # or these outlines show nothing
    assert np.mean(lost) < 0.5 * np.mean(cut)
    assert np.mean(heights) < 1.2  # and not by taking all that is around


def seven(width, height, stroke, slant):
    """The outline of a 7 as a person sets it, (7, 2)."""
    foot = width - slant * width
    return np.array(
        [
            (0, 0), (width, 0), (width, stroke), (foot + stroke, height), (foot, height),
            (width - stroke, 1.2 * stroke), (0, stroke),
        ]
    )  # fmt: skip


@pytest.mark.parametrize("stroke", [0.3, 0.4, 0.5])
@pytest.mark.parametrize("slant", [0.4, 0.6, 0.8])
def test_the_strokes_of_a_digit_are_no_curved_line(stroke, slant):
    rng = np.random.default_rng(0)
    page = np.zeros((ROWS, COLUMNS, 3), np.uint8)
    points = seven(50, 110, stroke * 50, slant) + 300
    cv2.fillPoly(page, [points.round().astype(np.int32)], (255, 255, 255))
    for _ in range(6):
        polygon = started_anywhere(points + rng.normal(0, 1.5, points.shape), rng)
        strip = straighten(page, polygon).strip
        assert isinstance(strip, StraightStrip)
        along = strip.top[1] - strip.top[0]
        assert abs(along[1]) < 0.2 * along[0]


@pytest.mark.parametrize("digits", ["1", "2", "4", "5", "10", "23", "77"])
def test_what_hugs_one_digit_or_two_stays_upright(digits):
    rng = np.random.default_rng(int(digits))
    image = Image.new("L", (500, 500))
    ImageDraw.Draw(image).text((120, 120), digits, font=ImageFont.load_default(200), fill=255)
    ink = np.asarray(image)
    loose = cv2.dilate(ink, np.ones((9, 9)))
    if len(digits) > 1:  # one outline around both
        loose = cv2.morphologyEx(loose, cv2.MORPH_CLOSE, np.ones((45, 45)))
    contours, _ = cv2.findContours(loose, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for _ in range(6):
        around = cv2.approxPolyDP(max(contours, key=cv2.contourArea), rng.uniform(3, 12), True)[:, 0]
        polygon = started_anywhere(around + rng.normal(0, 2, around.shape), rng)
        strip = straighten(cv2.cvtColor(ink, cv2.COLOR_GRAY2RGB), polygon).strip
        along = strip.top[-1] - strip.top[0]
        assert abs(along[1]) < 0.2 * along[0]
        assert share_inside(strip, ink) > 0.97
