"""Two detectors on one page: of words in one place the better read one stays."""

import cv2
import numpy as np
import pytest

from clip4str_plugin import Detections, Reader, Recognition, Recognizer
from clip4str_plugin.reading.rivals import keep_best, per_character


def box(left, top, right, bottom):
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)


def test_of_words_in_one_place_the_best_stays():
    whole, half, far, beside = box(0, 0, 100, 20), box(0, 0, 50, 20), box(200, 0, 260, 20), box(80, 0, 180, 20)
    assert list(keep_best([whole, half, far], ["coffee", "cof", "tea"], [0.9, 0.8, 0.1])) == [0, 2]
    assert list(keep_best([whole, half, far], ["coffee", "cof", "tea"], [0.7, 0.8, 0.1])) == [1, 2]
    assert list(keep_best([whole, beside], ["coffee", "tea"], [0.7, 0.8])) == [0, 1]
    assert list(keep_best([], [], [])) == []


def test_of_two_that_read_alike_the_tighter_outline_stays():
    tight, loose, other = box(2, 4, 98, 18), box(0, 0, 100, 22), box(0, 0, 100, 21)
    assert list(keep_best([tight, loose], ["Tea", "TEA!"], [0.9, 0.99])) == [0]
    assert list(keep_best([tight, loose, other], ["Tea", "TEA!", "TEN"], [0.8, 0.99, 0.9])) == [0]
    assert list(keep_best([tight, loose], ["Tea", "TEN"], [0.9, 0.99])) == [1]
    # A word that is written twice, one small in the other's box.
    assert list(keep_best([box(2, 4, 20, 8), loose], ["Tea", "tea"], [0.9, 0.99])) == [1]


def test_known_words_are_preferred_and_not_torn():
    whole, left, right = box(0, 0, 100, 20), box(0, 0, 52, 20), box(50, 0, 100, 20)
    # The dictionary decides between readings that are about as good ...
    assert list(keep_best([whole, whole + 1], ["coffce", "coffee"], [0.99, 0.96])) == [1]
    assert list(keep_best([whole, whole + 1], ["Jiffce", "coffee"], [0.99, 0.8])) == [0]
    # ... parts of a known word are no words, and two known words no unknown one.
    assert list(keep_best([left, right, whole], ["MUL", "BERRY", "mulberry"], [1.0, 0.99, 0.97])) == [2]
    assert list(keep_best([left, right, whole], ["TOAST", "BOX", "toastbox"], [0.98, 0.97, 1.0])) == [0, 1]
    assert list(keep_best([left, right, whole], ["market", "place", "marketplace"], [1.0, 1.0, 0.99])) == [0, 1]


def test_words_that_only_one_detector_found_are_told():
    word, far = box(0, 0, 100, 20), box(200, 0, 260, 20)
    assert keep_best([word, far, word + 1], ["coffee", "x", "coffee"], [0.9, 0.8, 0.95]) == {0: True, 1: False}
    assert keep_best([word, word + 1], ["coffee", "toffee"], [0.9, 0.8]) == {0: True}


def test_a_cut_word_counts_for_less():
    whole, cut = (Recognition(text, product, (0.9,) * len(text)) for text, product in (("coffee", 0.5), ("cof", 0.3)))
    assert per_character(whole, "product") > per_character(cut, "product")
    assert per_character(whole, "mean") == per_character(cut, "mean") == pytest.approx(0.9)
    assert Reader(lambda pages: [], Recognizer("tiny", confidence="min"))._confidence == "min"


def test_a_reader_reads_both_and_keeps_one_word_a_place():
    page = np.full((160, 420, 3), 255, np.uint8)
    for text, left, top in (("market", 20, 60), ("garden", 220, 60), ("window", 20, 130)):
        cv2.putText(page, text, (left, top), cv2.FONT_HERSHEY_SIMPLEX, 1.4, (0, 0, 0), 3)
    # The first detector cuts a word in two and misses another; the lines of the second hold all three.
    words = [box(16, 20, 175, 75), box(216, 20, 285, 75)]
    lines = Detections([box(12, 18, 400, 76), box(12, 90, 200, 146)], np.ones(2), "line")

    def texts(rivals):
        (read,) = Reader(lambda pages: [Detections(words, np.ones(2), rivals=rivals)]).stream([page])
        return sorted(word.text.lower() for word in read.words), len({word.line for word in read.words})

    assert texts(lines) == (["garden", "market", "window"], 2)
    assert "window" not in texts(None)[0]
