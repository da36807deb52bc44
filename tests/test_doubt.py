import numpy as np
import pytest

from clip4str_plugin.reading.doubt import find_doubtful
from clip4str_plugin.reading.recognizer import Recognition


def reading(text, confidence):
    return Recognition(text, confidence, (confidence,) * len(text))


def test_what_is_read_badly_or_not_at_all_is_doubtful():
    readings = [reading("street", 0.9), reading("stone", 0.49), reading("", 0.9)]
    assert find_doubtful(readings, [[0], [1], [2]], 0.5) == [False, True, True]
    assert find_doubtful(readings, [], 0.0) == [False, False, True]


@pytest.mark.parametrize(("kind", "doubtful"), [("product", False), ("mean", True), ("min", True), ("geometric", True)])
def test_only_products_are_lifted_for_long_words(kind, doubtful):
    assert find_doubtful([reading("international-1", 0.4)], [[0]], 0.5, kind) == [doubtful]


def test_short_words_are_kept_by_a_line_that_is_read_well():
    line = [reading("Mr.", 0.95), reading("J", 0.3), reading("Smith", 0.97)]
    assert find_doubtful(line, [[0, 1, 2]], 0.5) == [False] * 3
    alone = [[0], [1], [2]]
    assert find_doubtful(line, alone, 0.5) == [False, True, False]
    badly_read = [reading("Mr.", 0.6), reading("J", 0.3), reading("Smith", 0.6)]
    assert find_doubtful(badly_read, [[0, 1, 2]], 0.5)[1]


def test_a_line_keeps_long_words_that_are_nearly_sure_but_not_what_is_hardly_read():
    line = [reading("Mister", 0.95), reading("xqjw", 0.25), reading("J", 0.1), reading("Smith", 0.97)]
    assert find_doubtful(line, [[0, 1, 2, 3]], 0.5) == [False, True, True, False]
    line[1] = reading("must", 0.4)
    assert find_doubtful(line, [[0, 1, 2, 3]], 0.5) == [False, False, True, False]
    assert find_doubtful(line, [[0], [1], [2, 3]], 0.5) == [False, True, True, False]


def test_short_words_that_one_of_two_detectors_found_must_be_read_well():
    readings = [reading("B", 0.8), reading("off", 0.8), reading("street", 0.8)]
    lines = [[0], [1], [2]]
    assert find_doubtful(readings, lines, 0.5, alone=[True, True, True]) == [True, True, False]
    assert find_doubtful(readings, lines, 0.5, alone=[False, True, True]) == [False, True, False]
    assert find_doubtful(readings, lines, 0.0, alone=[True, True, True]) == [False] * 3
    # Not those of a line that is read well.
    line = [reading("Mister", 0.99), reading("J", 0.6), reading("Smith", 0.97)]
    assert find_doubtful(line, [[0, 1, 2]], 0.5, alone=[False, True, False]) == [False] * 3


@pytest.mark.parametrize(
    ("text", "doubtful"),
    [
        ("....", True),
        ("______", True),
        ("--------", True),
        ("...", False),
        ("-", False),
        ("1....", False),
        ("**** ", False),
    ],
)
def test_leaders_are_no_words(text, doubtful):
    line = [reading("Chapter", 0.99), reading(text, 0.99), reading("12", 0.99)]
    assert find_doubtful(line, [[0, 1, 2]], 0.5) == [False, doubtful, False]


@pytest.mark.parametrize(("text", "doubtful"), [("s", False), ("0", False), ("A", True), ("so", True)])
def test_lone_letters_share_their_probability_with_look_alikes(text, doubtful):
    assert find_doubtful([reading(text, 0.45)], [[0]], 0.5) == [doubtful]


@pytest.mark.parametrize(
    ("text", "doubtful"), [("----PAID", False), ("TOTAL...", False), ("-PAID", True), ("PAID-X", True)]
)
def test_how_many_strokes_lead_to_a_word_says_nothing_of_it(text, doubtful):
    sure = tuple(0.99 if char.isalpha() else 0.3 for char in text)
    assert find_doubtful([Recognition(text, float(np.prod(sure)), sure)], [[0]], 0.5) == [doubtful]
