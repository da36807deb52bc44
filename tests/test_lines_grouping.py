"""Words find their lines and their order, at any angle and along curves."""

import cv2
import numpy as np
import pytest

from clip4str_plugin.geometry.grouping import group_lines


def box(x, y, width=60, height=20):
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], dtype=np.float64)


PAGE = [box(x, y) for y in (100, 140, 180) for x in (100, 175, 250, 325)]
LINES = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def regrouped(words, seed):
    order = np.random.default_rng(seed).permutation(len(words))
    return [[int(order[index]) for index in line] for line in group_lines([words[index] for index in order])]


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


def test_columns_stay_apart_and_come_left_to_right():
    words = [box(x, y) for y in (100, 140) for x in (0, 70, 300, 370)]
    assert regrouped(words, seed=0) == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_a_headline_does_not_swallow_small_print():
    words = [box(0, 0, 200, 60), box(210, 40, 50, 16), box(265, 40, 50, 16)]
    assert regrouped(words, seed=0) in ([[0], [1, 2]], [[1, 2], [0]])


def test_text_upside_down_is_read_its_own_way():
    words = [np.roll(word, 2, axis=0) for word in PAGE[:4]]
    assert group_lines(words) == [[3, 2, 1, 0]]


def test_many_words_take_little_time_and_memory():
    words = [box(x * 80, y * 40) for y in range(40) for x in range(40)]
    assert group_lines(words) == [list(range(row * 40, row * 40 + 40)) for row in range(40)]
    assert group_lines([]) == []
