import math

import numpy as np
import pytest

from clip4str_plugin.reading.lexicon import unknown_characters
from clip4str_plugin.reading.orientation import Oriented
from clip4str_plugin.reading.recognizer import Recognition
from clip4str_plugin.reading.regions import Region
from clip4str_plugin.reading.segmentation import Pieces, alternatives, choose, known_words, likeliest, worth_reading
from clip4str_plugin.reading.word_boundaries import parts_together


def line(*blanks, length=10.0, gap=0.01):
    count = len(blanks) + 1
    return Pieces([(number / count + gap, (number + 1) / count - gap) for number in range(count)], blanks, length)


def readings(**texts):
    """Readings by span: _01="ab" is what the pieces 0 and 1 say together; a pair adds the probability a character."""
    result = {}
    for name, value in texts.items():
        text, sure = value if isinstance(value, tuple) else (value, 0.99)
        result[int(name[1]), int(name[2])] = Recognition(text, sure ** len(text), (sure,) * len(text))
    return result


def test_likeliest_words_are_cut_at_blanks_more_likely_than_not():
    assert likeliest(line()) == [(0, 0)]
    assert likeliest(line(0.6, 0.4, 0.9)) == [(0, 0), (1, 2), (3, 3)]


def test_certain_blanks_and_certain_words_leave_no_alternative():
    assert alternatives(line(0.99, 0.0001, 0.99)) == []


def test_alternatives_are_parts_of_words_and_several_of_them_over_doubtful_blanks():
    assert sorted(alternatives(line(0.6, 0.3))) == [(0, 1), (0, 2), (1, 1), (2, 2)]
    # Never parts of two words.
    assert sorted(alternatives(line(0.3, 0.6, 0.3))) == [(0, 0), (0, 2), (0, 3), (1, 1), (1, 3), (2, 2), (3, 3)]
    # What a certain blank parts is never tried together, and what a certain word joins never apart.
    assert sorted(alternatives(line(0.6, 0.99, 0.0001))) == [(0, 1)]


def test_words_far_too_long_to_be_read_are_not_tried():
    assert alternatives(line(0.6, length=100.0)) == []


def test_the_better_reading_wins_over_a_doubtful_blank():
    doubtful = line(0.6)
    assert choose(doubtful, readings(_00=("inte", 0.7), _11=("rnational", 0.7), _01="international")) == [(0, 1)]
    assert choose(doubtful, readings(_00="New", _11="York", _01=("Newvrk", 0.7))) == [(0, 0), (1, 1)]


@pytest.mark.parametrize(("left", "right"), [("12", "34"), ("Qbx", "Vrtk"), ("X", "Y")])
def test_equal_readings_leave_the_choice_to_the_blank(left, right):
    read = readings(_00=left, _11=right, _01=left + right)
    assert choose(line(0.75), read) == [(0, 0), (1, 1)]
    assert choose(line(0.25), read) == [(0, 1)]


@pytest.mark.parametrize(
    ("left", "right", "joined"),
    [("95569", "39040118", True), ("17", "726)", True), ("100.00", "200.00", False), ("Qbx", "Vrtk", False)],
)
def test_digits_without_a_blank_to_be_seen_belong_together(left, right, joined):
    read = readings(_00=left, _11=right, _01=left + right)
    assert choose(line(0.75, gap=0.0), read) == ([(0, 1)] if joined else [(0, 0), (1, 1)])
    assert choose(line(0.75), read) == [(0, 0), (1, 1)]
    assert choose(line(0.93, gap=0.0), read) == [(0, 0), (1, 1)]


@pytest.mark.parametrize("blank", [0.35, 0.65])
def test_known_words_win_where_readings_are_equal(blank):
    assert choose(line(blank), readings(_00="of", _11="pages", _01="ofpages")) == [(0, 0), (1, 1)]
    assert choose(line(blank), readings(_00="2", _11="for", _01="2for")) == [(0, 0), (1, 1)]
    assert choose(line(blank), readings(_00="Require", _11="ments", _01="Requirements")) == [(0, 1)]


@pytest.mark.parametrize("letters", [3, 12])
def test_neither_short_nor_long_words_are_favoured(letters):
    """Read as surely character by character, words stay apart and together as their blank says, however long."""
    left, right = "q" * letters, "x" * letters
    for blank, words in ((0.6, [(0, 0), (1, 1)]), (0.4, [(0, 1)])):
        read = readings(_00=(left, 0.8), _11=(right, 0.8), _01=(left + right, 0.8))
        assert choose(line(blank), read) == words


def test_without_alternatives_the_likeliest_words_stay():
    pieces = line(0.9, 0.1, 0.7)
    spans = likeliest(pieces)
    assert choose(pieces, {span: Recognition("word", 0.9, (0.9,) * 4) for span in spans}) == spans


@pytest.mark.parametrize(
    ("left", "right", "joined"),
    [
        ("43", ".94", "43.94"),
        ("43.", "94", "43.94"),
        ("43", "94", "43.94"),
        ("1", ",234", "1,234"),
        ("$0", "00", "$0.00"),
        ("$2", ".oo", "$2.00"),
    ],
)
def test_numbers_are_not_cut_at_their_points(left, right, joined):
    assert choose(line(0.75), readings(_00=left, _11=right, _01=joined)) == [(0, 1)]
    backwards = readings(_00=right, _11=left, _01=joined)
    assert choose(line(0.75), backwards, backwards=True) == [(0, 1)]


@pytest.mark.parametrize(("left", "right"), [("13,", "1984"), ("No.", "12"), ("end.", "Then"), ("12", "34")])
def test_other_points_end_words(left, right):
    assert choose(line(0.75), readings(_00=left, _11=right, _01=left + right)) == [(0, 0), (1, 1)]


@pytest.mark.parametrize(
    ("left", "right", "joined"),
    [
        ("S", "mithtown", "Smithtown"),
        ("J", "ones", "Jones"),
        ("Attention-C", "entric", "Attention-Centric"),
        ("Abstract-", "-Line", "Abstract-Line"),
        ("(", "17)", "(17)"),
        ("(ex-catcher", ")", "(ex-catcher)"),
        ("name@", "example.org", "name@example.org"),
    ],
)
def test_words_are_not_cut_behind_their_capital_nor_through_their_marks(left, right, joined):
    assert choose(line(0.65), readings(_00=left, _11=right, _01=joined)) == [(0, 1)]
    assert choose(line(0.99), readings(_00=left, _11=right, _01=joined)) == [(0, 0), (1, 1)]


@pytest.mark.parametrize(
    ("left", "right"), [("A", "person"), ("X", "axis"), ("(", ")"), ("3 @", "4.99"), ("PhD", "in")]
)
def test_other_capitals_and_marks_stand_alone(left, right):
    assert choose(line(0.65), readings(_00=left, _11=right, _01=left + right)) == [(0, 0), (1, 1)]


def test_a_part_goes_to_the_next_word():
    usual = readings(_01=("LindaJ", 0.8), _22="ones")
    assert worth_reading(line(0.3, 0.6), (1, 2), usual)
    read = usual | readings(_00="Linda", _11=("J", 0.9), _12="Jones")
    assert choose(line(0.3, 0.6), read) == [(0, 0), (1, 2)]


def test_the_whole_line_decides_and_not_pairs():
    # 1,234.50 comes together only over both of its doubtful blanks.
    read = readings(_00="1", _11=",234", _22=".50", _01="1,234", _12=(",234.50", 0.8), _02="1,234.50")
    assert choose(line(0.7, 0.7), read) == [(0, 2)]


def test_a_sure_word_is_not_taken_apart_again():
    pieces = line(0.3, 0.6)
    sure, unsure = readings(_01="together", _22="qvz"), readings(_01=("together", 0.8), _22="qvz")
    assert not worth_reading(pieces, (0, 0), sure)
    assert worth_reading(pieces, (0, 0), unsure)
    assert worth_reading(pieces, (0, 2), readings(_01=("toge", 0.99), _22="ther"))
    assert math.prod(sure[0, 1].char_confidences) > 0.9


def test_a_sure_word_over_a_doubtful_blank_is_read_apart_as_well():
    """A crop of two words is sometimes read as one of them, and surely."""
    lost = readings(_01=("minutes", 0.999), _22="ago")
    assert worth_reading(line(0.45, 0.9), (0, 0), lost)
    assert worth_reading(line(0.45, 0.9), (1, 1), lost)
    assert not worth_reading(line(0.2, 0.9), (0, 0), lost)


@pytest.mark.parametrize(("part", "kept"), [(("9", 0.99), True), (("9", 0.6), False), ((":", 0.99), False)])
def test_one_sure_character_that_is_lost_by_reading_together_is_kept(part, kept):
    read = readings(_00=part, _11="minutes", _01="minutes")
    assert choose(line(0.45), read) == ([(0, 0), (1, 1)] if kept else [(0, 1)])


def test_what_cannot_win_is_not_read():
    """Words read surely over a likely blank stay apart, however well they read together."""
    apart = readings(_00="New", _11="York")
    assert not worth_reading(line(0.8), (0, 1), apart)
    assert choose(line(0.8), apart | readings(_01=("NewYork", 1.0))) == [(0, 0), (1, 1)]
    assert worth_reading(line(0.8), (0, 1), readings(_00=("New", 0.5), _11=("York", 0.5)))
    assert worth_reading(line(0.5), (0, 1), readings(_00="Requi", _11="rements"))
    # Together these two are as unknown as apart.
    assert not worth_reading(line(0.6), (0, 1), readings(_00="qvz", _11="York"))


@pytest.mark.parametrize(
    ("left", "right"), [("12", "345"), ("3.", "45"), ("it'", "s"), ("it", "'s"), ("Date", "="), ("", "to")]
)
def test_where_a_mark_may_be_lost_both_are_read(left, right):
    assert worth_reading(line(0.8), (0, 1), readings(_00=left, _11=right))


def test_words_beside_a_number_are_not_drawn_in():
    beside = readings(_00="12", _11="345", _22="York")
    assert worth_reading(line(0.8, 0.8), (0, 1), beside)
    assert not worth_reading(line(0.8, 0.8), (0, 2), beside)


@pytest.mark.parametrize(
    ("left", "right", "joined"),
    [
        ("TODAY'", "S", "TODAY'S"),
        ("don'", "t", "don't"),
        ("we", "'ll", "we'll"),
        ("Date", ":", "Date:"),
        ("Date", "=", "Date:"),
    ],
)
def test_marks_and_contractions_stay_with_their_word(left, right, joined):
    assert choose(line(0.75), readings(_00=left, _11=right, _01=joined)) == [(0, 1)]


def test_a_quotation_and_an_apostrophe_that_ends_a_word_are_no_contractions():
    assert choose(line(0.75), readings(_00="boys'", _11="shoes", _01="boys'shoes")) == [(0, 0), (1, 1)]
    assert choose(line(0.75), readings(_00="a", _11="'tis'", _01="a'tis'")) == [(0, 0), (1, 1)]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("of", 0),
        ("Pages,", 0),
        ("ofpages", 7),
        ("12.50", 0),
        ("M.", 0),
        ("30mm", 2),
        ("(qxvz)", 4),
        ("qxvz-pages", 4),
        ("Test_station", 2),
        ("qxvz_pages", 6),
        ("", 0),
    ],
)
def test_characters_outside_of_known_words_are_counted(text, count):
    assert unknown_characters(text) == count


def test_a_word_that_swallows_its_neighbour_loses():
    apart = {"_00": "Date", "_11": "Rec'd"}
    assert choose(line(0.8), readings(**apart, _01=("Date", 0.9))) == [(0, 0), (1, 1)]
    assert choose(line(0.3), readings(_00="Re", _11="port", _01="Report")) == [(0, 1)]


@pytest.mark.parametrize(
    ("text", "blank", "expected"),
    [
        ("PacificHotel", 0.03, (7, 0)),  # a faint blank where two known words meet
        ("from$10", 0.4, (4, 0)),
        ("PacificHotel", 0.001, None),  # hardly anything to be seen
        ("Qbrtlzx", 0.4, None),  # no words
        ("marketplace", 0.4, None),  # one word
        ("CANCELLED", 0.2, None),  # an ending is no word
        ("HotelPacific", 0.03, None),  # the blank is elsewhere
    ],
)
def test_two_known_words_with_hardly_a_blank(text, blank, expected):
    pieces = Pieces([(0.0, 0.58), (0.59, 1.0)], [blank], 6.0)
    assert known_words(pieces, (0, 1), text) == expected


@pytest.mark.parametrize(
    ("left", "right", "one"),
    [
        ("27", "-23343332-8", True), ("self-", "employed", True), ("https://www.", "example.org", True),
        ("info@site", ".org", True), ("dell'", "acqua", True),
        ("end.", "The", False), ("Mr.", "Smith", False), ("Child'", "found", False), ("in-", "18.", False),
    ],
)  # fmt: skip
def test_what_is_one_word_is_whole_where_no_blank_is_to_be_seen(left, right, one):
    for begin, whole in ((0.5, one), (0.55, False)):
        pieces = Pieces([(0.0, 0.5), (begin, 1.0)], [0.9], 6.0)
        words = []
        for number, said in enumerate((left, right)):
            x = 100 * number
            quad = np.array([[x, 0], [x + 90, 0], [x + 90, 30], [x, 30]], np.float32)
            region = Region(quad, 1.0, 0, np.zeros((30, 200, 3), np.uint8), pieces, (number, number))
            words.append((region, Oriented(Recognition(said, 0.9, (0.9,) * len(said)))))
        texts = [item.reading.text for _, item in parts_together(words)]
        assert texts == ([left + right] if whole else [left, right])


@pytest.mark.parametrize(
    ("left", "right", "blank", "gap", "one"),
    [
        ("file.", "html", 0.6, 0.0, True), ("file.", "html", 0.7, 0.0, False), ("file.", "html", 0.6, 0.05, False),
        ("me@example.", "org", 0.6, 0.05, True), ("end.", "The", 0.6, 0.0, False),
    ],
)  # fmt: skip
def test_names_are_whole_that_came_apart_at_a_point(left, right, blank, gap, one):
    pieces = Pieces([(0.0, 0.5), (0.5 + gap, 1.0)], [blank], 6.0)
    quad = np.array([[0, 0], [90, 0], [90, 30], [0, 30]], np.float32)
    words = [
        (
            Region(quad + np.float32(100 * number), 1.0, 0, np.zeros((30, 200, 3), np.uint8), pieces, (number, number)),
            Oriented(Recognition(said, 0.9, (0.9,) * len(said))),
        )
        for number, said in enumerate((left, right))
    ]
    assert len(parts_together(words)) == (1 if one else 2)


@pytest.mark.parametrize(
    ("left", "right", "text"),
    [("$10.", "80", "$10.80"), ("$1,010.", "00", "$1,010.00"), ("1990.", "80", None), ("$10.", "801", None)],
)
def test_an_amount_that_came_apart_at_its_point_is_whole(left, right, text):
    pieces = line(0.99)
    words = []
    for number, said in enumerate((left, right)):
        x = 100 * number
        quad = np.array([[x, 0], [x + 90, 0], [x + 90, 30], [x, 30]], np.float32)
        region = Region(quad, 1.0, 0, np.zeros((30, 200, 3), np.uint8), pieces, (number, number))
        words.append((region, Oriented(Recognition(said, 0.9 - number / 10, (0.9,) * len(said)))))
    together = parts_together(words)
    if text is None:
        assert together == words
    else:
        ((region, item),) = together
        assert (item.reading.text, item.reading.confidence, len(item.reading.char_confidences)) == (
            text,
            0.8,
            len(text),
        )
        assert region.span == (0, 1)
        assert region.polygon.tolist() == [[0, 0], [190, 0], [190, 30], [0, 30]]
