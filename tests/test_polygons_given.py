"""Polygons given by people: outlines that hug letters, are cut, uneven or bumpy, come out with their letters whole."""

import cv2
import numpy as np
import pytest

from clip4str_plugin import Reader
from clip4str_plugin.errors import PolygonError
from clip4str_plugin.geometry.rectification import other_views, straighten, views_in_line
from clip4str_plugin.geometry.text_strip import CurvedStrip, StraightStrip, TextStrip
from clip4str_plugin.reading.polygons import read_polygons
from clip4str_plugin.reading.recognizer import Recognition

PAGE = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)


def ring(points=12, radius=120.0, height=36.0, degrees=100.0, rng=None, hug=0.0, centre=(200.0, 170.0)):
    """An outline round text on an arc: corners uneven, and pushed towards the letters by up to `hug` of the height."""
    rng = rng or np.random.default_rng(0)

    def side(distance):
        steps = rng.uniform(0.4, 2.0, points - 1)
        turn = (np.concatenate([[0], np.cumsum(steps) / steps.sum()]) - 0.5) * np.radians(degrees)
        away = distance - np.sign(distance - radius) * rng.uniform(0, hug, points) * height
        return np.array(centre) + away[:, None] * np.stack([np.sin(turn), -np.cos(turn)], axis=1)

    polygon = np.concatenate([side(radius + height / 2), side(radius - height / 2)[::-1]])
    return np.roll(polygon[:: rng.choice([1, -1])], rng.integers(len(polygon)), axis=0)


@pytest.mark.parametrize("seed", range(8))
def test_bumpy_outlines_of_arcs_give_even_strips(seed):
    rng = np.random.default_rng(seed)
    strip = straighten(PAGE, ring(rng=rng, hug=0.3)).strip
    assert isinstance(strip, CurvedStrip)
    across = np.hypot(*(strip.bottom - strip.top).T)
    assert across.max() < 1.45 * across.min()
    # The letters' circle lies in the middle, its ends at the ends.
    middle = (strip.top + strip.bottom) / 2 - (200, 170)
    assert np.abs(np.hypot(*middle.T) - 120).max() < 0.25 * 36
    assert strip.size[0] > 0.95 * 120 * np.radians(100)


@pytest.mark.parametrize("shape", ["23", "skyline"])
def test_what_hugs_letters_is_not_bent(shape):
    outlines = {
        "23": [(60, 40), (110, 38), (118, 60), (125, 36), (180, 40), (188, 90), (180, 150), (120, 152), (62, 150)],
        "skyline": [
            (20, 40),
            (60, 40),
            (62, 60),
            (150, 62),
            (152, 40),
            (180, 40),
            (182, 58),
            (300, 60),
            (300, 99),
            (20, 99),
        ],
    }
    strip = straighten(PAGE, outlines[shape]).strip
    box = np.array(outlines[shape])
    middle = (strip.top + strip.bottom) / 2
    assert isinstance(strip, StraightStrip) or shape == "skyline"
    # The text stays level and as wide as it is.
    assert np.ptp(middle[:, 1]) < 0.15 * np.ptp(box[:, 0])
    assert strip.size[0] == pytest.approx(np.ptp(box[:, 0]), rel=0.5)


class Fake:
    """Reads wide crops as told, and counts what it is asked."""

    def __init__(self, first, again):
        self.answers, self.batches = [first, again], []

    def __call__(self, crops):
        text, sure = self.answers[min(len(self.batches), 1)]
        self.batches.append(len(crops))
        return [Recognition(text, sure, (sure,) * len(text)) for _ in crops]


QUAD = [[20, 30], [150, 30], [150, 70], [20, 70]]


def test_clear_polygons_cost_nothing_and_doubtful_ones_share_batches():
    page = np.full((120, 200, 3), 128, np.uint8)
    clear = Fake(("word", 0.99), ("other", 1.0))
    assert [one.views for one in read_polygons(page, [QUAD, QUAD], clear)] == [1, 1]
    assert clear.batches == [2]
    doubtful = Fake(("wrd", 0.87), ("word", 0.95))
    readings = read_polygons(page, [QUAD, QUAD], doubtful)
    assert [one.text for one in readings] == ["word", "word"]
    assert doubtful.batches == [2, 2, 2]  # then their direction, then their views
    assert all(one.views > 1 for one in readings)
    kept = Fake(("wrd", 0.87), ("word", 0.88))
    assert read_polygons(page, [QUAD], kept)[0].text == "wrd"
    off = Fake(("wrd", 0.87), ("word", 0.95))
    assert read_polygons(page, [QUAD], off, other=False)[0].text == "wrd"


def test_other_views_of_a_drawn_outline():
    piece = straighten(PAGE, ring())
    upright, grown = other_views(PAGE, piece.strip)
    assert isinstance(upright.strip, StraightStrip)
    assert grown.strip.height > 1.2 * piece.strip.height


def test_the_other_view_of_a_word_in_its_line_is_lower():
    strip = TextStrip.of([[100, 100], [160, 100], [160, 120], [100, 120]], "top-left")
    (lower,) = views_in_line(PAGE, strip)
    assert lower.crop.shape[1] == 60
    assert 10 < lower.strip.height < 15


def test_read_regions_gives_words_polygon_by_polygon():
    page = np.full((200, 500, 3), 255, np.uint8)
    cv2.putText(page, "GREEN  TEA", (20, 80), cv2.FONT_HERSHEY_DUPLEX, 2, (0, 0, 0), 4)
    line = [[15, 25], [455, 25], [455, 95], [15, 95]]
    reader = Reader(detector=lambda pages: [])
    words, nothing = reader.read_regions(page, [line, [[300, 120], [480, 120], [480, 180], [300, 180]]])
    assert [word.text.lower() for word in words] == ["green", "tea"]
    assert words[0].polygon[:, 0].max() < words[1].polygon[:, 0].min()
    assert {word.line for word in words} == {0}
    assert all(word.doubtful for word in nothing)
    assert reader.read_regions(page, []) == []
    with pytest.raises(PolygonError, match="polygon 1"):
        reader.read_regions(page, [line, [[0, 0], [1, 1]]])
