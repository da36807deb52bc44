"""Words find their lines and their order, at any angle and along curves."""

import itertools

import cv2
import numpy as np
import pytest

from clip4str_plugin.geometry.reading_order import reading_order


def box(x, y, width=60, height=20):
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], dtype=np.float64)


PAGE = [box(x, y) for y in (100, 140, 180) for x in (100, 175, 250, 325)]
LINES = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def lines_of(words):
    return [line for block in reading_order(words) for line in block]


def regrouped(words, seed):
    order = np.random.default_rng(seed).permutation(len(words))
    return [[int(order[index]) for index in line] for line in lines_of([words[index] for index in order])]


@pytest.mark.parametrize("angle", range(0, 360, 15))
def test_lines_and_order_at_any_angle(angle):
    turned = cv2.transform(np.array(PAGE), cv2.getRotationMatrix2D((220, 150), -angle, 1))
    assert regrouped(list(turned), seed=angle) == LINES


@pytest.mark.parametrize("degrees", [60, 180, 300])
def test_words_along_an_arc_are_one_line(degrees):
    words, radius = [], 200
    for index in range(8):
        turns = np.radians(degrees) * (np.linspace(index + 0.08, index + 0.92, 5) / 8 - 0.5)
        rim = np.stack([np.sin(turns), -np.cos(turns)], axis=1)
        words.append(np.concatenate([rim * radius, rim[::-1] * (radius - 30)]) + 300)
    assert regrouped(words, seed=degrees) == [list(range(8))]


def column(left, count=6):
    """Lines of four words each that fill a column."""
    return [box(left + 70 * word, 100 + 30 * line) for line in range(count) for word in range(4)]


def rows(first, count, wide):
    return [list(range(first + wide * row, first + wide * (row + 1))) for row in range(count)]


@pytest.mark.parametrize("gutter", [24, 40, 200])
@pytest.mark.parametrize("angle", [0, 7, 90, 180, 266])
def test_columns_of_prose_are_read_one_after_the_other_and_headings_first(gutter, angle):
    heading = [box(0, 20, 400, 40)]
    words = heading + column(0) + column(270 + gutter) + column(540 + 2 * gutter, 3)
    turned = list(cv2.transform(np.array(words), cv2.getRotationMatrix2D((220, 150), angle, 1)))
    assert regrouped(turned, seed=angle) == [[0], *rows(1, 15, 4)]


@pytest.mark.parametrize("lean", [-0.6, 0.6])
def test_columns_that_lean_are_read_one_after_the_other(lean):
    """As on a page that was photographed from the side: no straight stripe runs between them from top to bottom."""
    rng = np.random.default_rng(0)
    words: list[np.ndarray] = []
    lines: list[list[int]] = []
    for left in (0, 314):
        for row in range(40):
            ends = np.cumsum([0, *rng.permutation([40, 55, 75, 130])])
            lines.append(list(range(len(words), len(words) + 4)))
            words += [box(left + lean * row + x0, 30 * row, x1 - x0 - 6) for x0, x1 in itertools.pairwise(ends)]
    assert lines_of(words) == lines


@pytest.mark.parametrize("height", [20, 40])
def test_a_line_across_two_columns_is_whole_although_a_blank_of_it_lies_over_their_gutter(height):
    """A heading or the caption of a picture between columns: the blank is one like its others."""
    columns = column(0) + column(310)
    line = [box(left, 330, 60, height) for left in (66, 142, 218, 296, 374)]
    below = [np.add(word, (0, 330)) for word in columns]
    assert lines_of(columns + line + below)[12] == [48, 49, 50, 51, 52]
    assert len(lines_of(columns + line + below)) == 25


def test_rows_of_a_table_are_read_across():
    words = [box(x, 100 + 30 * row, 40 + 10 * (row % 3)) for row in range(8) for x in (0, 300, 420, 600)]
    assert regrouped(words, seed=1) == rows(0, 8, 4)


@pytest.mark.parametrize("filled", [("023 034 014 0234 0 0124 02 01 01345"), ("012 012 0 035 03 03 034 024 04 02")])
def test_rows_of_a_table_with_empty_cells_are_read_across(filled):
    starts = [0, 160, 270, 380, 490, 600]
    words = [[box(starts[int(cell)], 30 * row) for cell in cells] for row, cells in enumerate(filled.split())]
    counts = np.cumsum([0, *map(len, words)])
    assert lines_of([word for row in words for word in row]) == [
        list(range(first, last)) for first, last in itertools.pairwise(counts)
    ]


def test_columns_whose_lines_are_not_level_are_read_one_after_the_other():
    words = [box(0, 30 * line) for line in range(9)] + [box(150, 12 + 26 * line) for line in range(10)]
    assert lines_of(words) == [[index] for index in range(19)]


def test_a_price_belongs_to_its_item_on_a_bent_receipt():
    def bent(points):
        return points + np.stack([0 * points[:, 0], 4e-4 * points[:, 0] ** 2], axis=1)

    words = [
        bent(word)
        for row in range(12)
        for word in (box(0, 28 * row, 60), box(70, 28 * row, 50 + row), box(330, 28 * row, 45))
    ]
    assert regrouped(words, seed=2) == rows(0, 12, 3)


def test_words_of_a_detected_line_stay_together_in_both_directions():
    words = [box(x, 100) for x in (100, 175, 250)]
    assert reading_order(words, [5, 5, 5]) == [[[0, 1, 2]]]
    backward = [np.roll(word, 2, axis=0) for word in words]
    assert reading_order(backward, [5, 5, 5]) == [[[2, 1, 0]]]


def test_text_that_runs_another_way_keeps_its_own_order():
    aside = cv2.transform(np.array([box(x, 0) for x in (0, 70, 140)]), cv2.getRotationMatrix2D((0, 0), 90, 1))
    words = [*PAGE, *np.add(aside, (600, 300))]
    assert [12, 13, 14] in lines_of(words)
    assert [line for line in lines_of(words) if line[0] < 12] == LINES


def test_a_headline_does_not_swallow_small_print():
    words = [box(0, 0, 200, 60), box(210, 40, 50, 16), box(265, 40, 50, 16)]
    assert regrouped(words, seed=0) in ([[0], [1, 2]], [[1, 2], [0]])


def test_text_upside_down_is_read_its_own_way():
    words = [np.roll(word, 2, axis=0) for word in PAGE[:4]]
    assert lines_of(words) == [[3, 2, 1, 0]]


@pytest.mark.slow
def test_many_words_take_little_time_and_memory():
    words = [box(x * 80, y * 40) for y in range(40) for x in range(40)]
    assert lines_of(words) == [list(range(row * 40, row * 40 + 40)) for row in range(40)]
    assert lines_of([]) == []


def test_a_narrow_stroke_alone_in_its_line_costs_no_page():
    order = [index for line in lines_of([*PAGE, box(700, 400, 1, 20)]) for index in line]
    assert sorted(order) == list(range(len(PAGE) + 1))
