"""Lines and words: splitting at blanks."""

import numpy as np
import pytest

from clip4str_plugin.lines import split_lines


def line_of_blocks(boxes, ground, ink, size=(32, 400)):
    page = np.full((*size, 3), ground, np.uint8)
    for left, right in boxes:
        for x in range(left, right - 3, 6):
            page[8:24, x : x + 4] = ink
    return page


@pytest.mark.parametrize(("ground", "ink"), [(255, 0), (20, 230), (120, 150)])
def test_words_are_split_at_blanks(ground, ink):
    boxes = [(10, 80), (96, 130), (146, 290), (306, 390)]
    page = line_of_blocks(boxes, ground, ink)
    (words,) = split_lines(page, [[[0, 0], [400, 0], [400, 32], [0, 32]]])
    assert len(words) == len(boxes)
    for word, (left, right) in zip(words, boxes):
        assert word.shape == (4, 2)
        assert word.dtype == np.float32
        assert abs(word[:, 0].min() - left) < 6
        assert abs(word[:, 0].max() - right) < 6


def test_an_empty_line_stays_whole():
    (words,) = split_lines(np.full((32, 400, 3), 200, np.uint8), [[[0, 0], [400, 0], [400, 32], [0, 32]]])
    np.testing.assert_allclose(words[0], [[0, 0], [400, 0], [400, 32], [0, 32]])


def test_no_lines():
    assert split_lines(np.zeros((5, 5, 3), np.uint8), []) == []
