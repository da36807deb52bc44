"""Charts: what they draw, the figures behind them, and the commands that write them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from lxml import etree
from PIL import Image

from clip4str_plugin.cli import main
from clip4str_plugin.data.datasets import open_dataset
from clip4str_plugin.errors import Clip4StrError
from clip4str_plugin.evaluation.charts import calibration_error, coverage_curve, reliability_bins
from clip4str_plugin.evaluation.evaluate import WordResult
from clip4str_plugin.evaluation.plotting import Axis, Series, line_chart
from clip4str_plugin.evaluation.sheet import contact_sheet
from clip4str_plugin.reading.recognizer import Recognition
from clip4str_plugin.training.curves import read_curves
from tests.word_sets import write_folder

SVG = "{http://www.w3.org/2000/svg}"


def words(*pairs):
    """Readings from (confidence, right or not)."""
    return [WordResult(f"{i}", "ab", "ab" if right else "x", c, i, 30, 10) for i, (c, right) in enumerate(pairs)]


def parsed(path):
    return etree.fromstring(path.read_bytes() if hasattr(path, "read_bytes") else path.encode())


def texts(chart):
    return [t.text for t in chart.iter(f"{SVG}text")]


# ---- figures ----------------------------------------------------------------------------------------------


def test_bins_and_calibration_error_by_hand():
    readings = words((0.95, True), (0.91, False), (0.12, False), (1.0, True), (0.0, False))
    bins = reliability_bins(readings)
    assert [n for n, _, _ in bins] == [1, 1, 0, 0, 0, 0, 0, 0, 0, 3]
    assert bins[9][1:] == pytest.approx((100 * (0.95 + 0.91 + 1.0) / 3, 100 * 2 / 3))
    expected = (0 + 12 + 3 * (286 / 3 - 200 / 3)) / 5
    assert calibration_error(readings) == pytest.approx(expected)


def test_confidences_that_tell_the_truth_have_no_calibration_error():
    assert calibration_error(words(*[(0.75, i % 4 != 0) for i in range(40)])) == pytest.approx(0)
    assert calibration_error([]) == 0


def test_coverage_by_hand():
    readings = words(*[(0.9, True)] * 10, (0.5, False), (0.5, True), (0.1, False))
    assert coverage_curve(readings) == [
        (pytest.approx(100 * 10 / 13), 100),
        (pytest.approx(100 * 12 / 13), pytest.approx(100 * 11 / 12)),  # equal confidences are kept together
        (100, pytest.approx(100 * 11 / 13)),
    ]


def test_the_end_of_the_coverage_curve_is_the_accuracy():
    rng = np.random.default_rng(0)
    readings = words(*[(float(c), bool(rng.random() < c)) for c in rng.random(500)])
    curve = coverage_curve(readings)
    assert curve[-1] == (100, pytest.approx(100 * sum(r.correct for r in readings) / 500))
    assert curve[0][1] > curve[-1][1]


# ---- drawing ----------------------------------------------------------------------------------------------


def ticks_of(chart):
    """Where the texts of a chart stand."""
    return {t.text: (float(t.get("x")), float(t.get("y"))) for t in chart.iter(f"{SVG}text")}


def marks_of(chart):
    """Where the dots of the first line lie; the last dot belongs to the legend."""
    uses = [use for use in chart.iter(f"{SVG}use") if "fill: #0072b2" in use.get("style")]
    return [(float(use.get("x")), float(use.get("y"))) for use in uses[:-1]]


def test_lines_lie_where_the_ticks_say():
    chart = parsed(line_chart("A < B", Axis("x", 0, 8), Axis("y", 0, 50), [Series("s & t", [(0, 0), (8, 50)], True)]))
    assert {"A < B", "s & t", "x", "y", "8", "50"} <= set(texts(chart))
    start, end = marks_of(chart)
    assert end[0] == pytest.approx(ticks_of(chart)["8"][0], abs=0.1)
    assert end[1] == pytest.approx(ticks_of(chart)["50"][1], abs=5)  # the text's baseline is below its tick
    assert start[0] < end[0]
    assert start[1] > end[1]


def test_bars_diagonals_and_large_numbers():
    x, y = Axis("samples", 100, 2e6, log=True), Axis("%", 0, 100)
    plain = line_chart("t", x, y, [Series("s", [(1000, 50), (1e6, 80)])])
    assert {"1k", "1M", "100"} <= set(texts(parsed(plain)))
    assert plain == line_chart("t", x, y, [Series("s", [(1000, 50), (1e6, 80)])])
    full = line_chart("t", x, y, [Series("s", [(1000, 50)])], bars=[(100, 1000, 30), (1000, 2e6, 60)], diagonal=True)
    assert full.count("#dddddd") == 2
    assert "stroke-dasharray" in full


# ---- commands ---------------------------------------------------------------------------------------------


@pytest.fixture
def sets(tmp_path, monkeypatch):
    """Two sets, of whose words the recognizer reads "one"."""

    def build(args, overrides):
        return SimpleNamespace(stream=lambda crops: (Recognition("one", 0.8, ()) for _ in crops))

    monkeypatch.setattr("clip4str_plugin.cli.options.build_recognizer", build)
    write_folder(tmp_path / "first", ["one"] * 8 + ["two", "three"])
    write_folder(tmp_path / "second", ["four", "one"])
    return tmp_path


def test_evaluate_draws_and_plot_does_the_same(sets, capsys):
    folders = [str(sets / "first"), str(sets / "second")]
    results = str(sets / "r.jsonl")
    assert main(["evaluate", *folders, "--plots", str(sets / "plots"), "--results", results]) == 0
    for kind in ("reliability", "coverage"):
        assert main(["plot", kind, results, "-o", str(sets / f"{kind}.svg")]) == 0
        assert (sets / f"{kind}.svg").read_text() == (sets / "plots" / f"{kind}.svg").read_text()
    chart = parsed(sets / "reliability.svg")
    # 8 of 10 and 1 of 2 are right at a confidence of 0.8
    assert {"first: 10 words, calibration error 0.0", "second: 2 words, calibration error 30.0"} <= set(texts(chart))
    assert "all: 12 words, calibration error 5.0" in texts(chart)
    assert main(["plot", "coverage", f"new={results}", f"old={results}", "-o", str(sets / "two.svg")]) == 0
    assert {"new: 12 words", "old: 12 words"} <= set(texts(parsed(sets / "two.svg")))


def test_by_height(sets, capsys):
    Image.new("RGB", (30, 7)).save(sets / "second" / "00000.png")
    Image.new("RGB", (300, 200)).save(sets / "second" / "00001.png")
    main(["evaluate", str(sets / "second"), "--by-height"])
    rows = capsys.readouterr().out.splitlines()
    assert [row.split() for row in rows[2:]] == [
        ["1-7", "pixels", "high", "1", "0.00"],
        ["96+", "pixels", "high", "1", "100.00"],
    ]
    # Columns of parts stand below those of the sets.
    assert rows[2].index("0.00") + 4 == rows[3].index("100.00") + 6 == rows[0].index("accuracy") + 8


@pytest.mark.parametrize(("height", "group"), [(1, "1-7"), (8, "8-11"), (11, "8-11"), (95, "64-95"), (96, "96+")])
def test_height_groups(height, group):
    assert WordResult("", "a", "a", 1.0, 0, 10, height).height_group == group


def test_contact_sheet(sets):
    main(["evaluate", str(sets / "first"), str(sets / "second"), "--errors", str(sets / "worst.jpg")])
    sheet = Image.open(sets / "worst.jpg")
    assert sheet.size == (5 * 240, 108)
    cells = np.asarray(sheet).reshape(108, 5, 240, 3)
    inked = (cells.min(axis=(0, 2, 3)) < 120).tolist()
    assert inked == [True] * 3 + [False] * 2  # three mistakes


def test_contact_sheet_keeps_the_most_confident_mistakes(tmp_path):
    folder = write_folder(tmp_path / "set", ["ab"] * 30)
    readings = words(*[(i / 30, i % 2 == 0) for i in range(30)])
    few, all_ = (contact_sheet([(open_dataset(folder), readings)], count=n) for n in (5, 100))
    assert few.height == 108
    assert all_.height == 3 * 108
    np.testing.assert_array_equal(np.asarray(few), np.asarray(all_)[:108])


# ---- learning curves --------------------------------------------------------------------------------------


def log(folder, text):
    (folder / "log").mkdir(parents=True)
    (folder / "log" / "metrics.csv").write_text(text)
    return folder


def test_learning_curves_of_stages(tmp_path):
    first = log(tmp_path / "a", "step,loss,samples,accuracy/x\n50,2,100,\n100,1,200,10\n150,1,300,\n")
    second = log(tmp_path / "b", "step,loss,samples,accuracy/x\n10,1,40,\n15,,,60\n")
    assert read_curves(first) == ({"accuracy/x": [(200, 10)]}, 300)
    assert read_curves(second) == ({"accuracy/x": [(60, 60)]}, 60)  # the samples of step 15 follow from those of 10
    assert read_curves(first / "log" / "metrics.csv", ["loss"])[0] == {"loss": [(100, 2), (200, 1), (300, 1)]}
    assert main(["plot", "learning", f"{first},{second}", "-o", str(tmp_path / "c.svg")]) == 0
    chart = parsed(tmp_path / "c.svg")
    ticks, points = ticks_of(chart), [x for x, _ in marks_of(chart)]
    unit = (ticks["300"][0] - ticks["200"][0]) / 100
    assert points == pytest.approx([ticks["200"][0], ticks["300"][0] + 60 * unit], abs=0.2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "holds no log/metrics.csv"),
        ("step,loss,samples\n1,2,3\n", "validated on nothing"),
        ("a,b\n1,2\n", "not the log of a training"),
        ("", "columns are none"),
    ],
)
def test_logs_without_curves(tmp_path, text, message):
    folder = tmp_path if text is None else log(tmp_path, text)
    with pytest.raises(Clip4StrError, match=message):
        read_curves(folder)


def test_json_holds_the_breakdowns(sets, capsys):
    main(["evaluate", str(sets / "second"), "--format", "json"])
    (result,) = json.loads(capsys.readouterr().out)
    assert sum(group["samples"] for group in result["by_height"].values()) == 2
