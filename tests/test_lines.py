"""Lines come apart at their blanks: dark and light ground, straight, tilted and curved."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from clip4str_plugin.lines import find_words, find_words_in, split_lines
from clip4str_plugin.training.splitting import targets

WORDS = ["Printed", "words", "with", "blanks"]
WHOLE = [[0, 0], [460, 0], [460, 44], [0, 44]]


def line(ground=255, ink=0, size=30):
    """A page of one line, and the left and right end of each word on it."""
    font = ImageFont.load_default(size)
    page = Image.new("RGB", (460, 44), (ground,) * 3)
    pen, x, spans = ImageDraw.Draw(page), 12.0, []
    for word in WORDS:
        left, _, right, _ = pen.textbbox((x, 2), word, font=font)
        pen.text((x, 2), word, font=font, fill=(ink,) * 3)
        spans.append((left, right))
        x += font.getlength(word) + 0.35 * size
    return np.asarray(page), spans


@pytest.mark.parametrize(("ground", "ink"), [(255, 0), (20, 230), (120, 165)])
def test_words_are_split_at_blanks(ground, ink):
    page, spans = line(ground, ink)
    (words,) = split_lines(page, [WHOLE])
    assert len(words) == len(spans)
    for word, (left, right) in zip(words, spans):
        assert word.shape == (4, 2)
        assert word.dtype == np.float32
        assert abs(word[:, 0].min() - left) < 7
        assert abs(word[:, 0].max() - right) < 7


def test_a_line_does_not_depend_on_its_neighbours_in_the_batch():
    crop, _ = line()
    others = [crop[:, :100], crop[:20, :50], np.tile(crop, (1, 3, 1))]
    alone = find_words(crop)
    assert np.abs(np.subtract(find_words_in([others[0], crop, *others])[1], alone)).max() < 0.02


@pytest.mark.parametrize("shape", [(44, 460), (44, 460, 1), (44, 460, 4)])
def test_channels(shape):
    crop = np.resize(line()[0][..., 0][..., None].repeat(shape[2] if len(shape) > 2 else 1, axis=2), shape)
    assert len(find_words(crop)) == len(WORDS)


def test_an_empty_line_stays_whole():
    (words,) = split_lines(np.full((44, 460, 3), 200, np.uint8), [WHOLE])
    assert len(words) >= 1
    assert all(np.isfinite(word).all() for word in words)


def test_no_lines():
    assert split_lines(np.zeros((5, 5, 3), np.uint8), []) == []


def test_what_the_network_learns():
    covered, weight = targets([(1.0, 3.5), (4.0, 6.0)], 8)
    # A blank of half a column is shown as one and a half.
    np.testing.assert_allclose(covered, [0, 1, 1, 0, 0.5, 1, 0, 0])
    assert weight[3] > weight[1] > weight[0]
