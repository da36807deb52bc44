"""The RapidOCR adapter against the installed RapidOCR, on real pictures."""

import socket
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from difflib import SequenceMatcher

import cv2
import numpy as np
import pytest
from shapely.geometry import Polygon

from clip4str_plugin import Reader as PageReader
from clip4str_plugin import load_detector, rectify
from clip4str_plugin.errors import DetectorError, ImageError
from clip4str_plugin.reading.detectors import orient_detections
from tests.host_helpers import PHOTOS, Reader, colour_reader, photo, real_reader

rapidocr = pytest.importorskip("rapidocr")

from clip4str_adapters import _page_network, rapidocr_boxes  # noqa: E402
from clip4str_adapters.rapidocr import attach, detector, text_recognizer  # noqa: E402
from clip4str_adapters.rapidocr_boxes import BoxSettings, find_boxes  # noqa: E402

QUIET = {"Global.log_level": "error", "Global.use_cls": False}


@pytest.fixture(scope="module")
def detect():
    return load_detector("rapidocr", threads=1)


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def overlap(a, b):
    a, b = Polygon(a), Polygon(b)
    return a.intersection(b).area / a.union(b).area


def word_page(scale=1.0):
    """White page with black words at known places, and those places."""
    page = np.full((400, 600, 3), 255, np.uint8)
    boxes = []
    for text, (x, y), size in [("HELLO", (40, 80), 1.5), ("WORLD", (350, 200), 1.5), ("SMALL", (60, 330), 0.8)]:
        (w, h), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 3)
        cv2.putText(page, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), 3, cv2.LINE_AA)
        boxes.append(np.array([[x, y - h], [x + w, y - h], [x + w, y], [x, y]]) * scale)
    page = cv2.resize(page, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    return page, boxes


@pytest.mark.slow
def test_loads_only_the_detector_and_nothing_from_the_network(offline, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("more than the detector was loaded")

    monkeypatch.setattr("rapidocr.main.TextRecognizer", refuse)
    monkeypatch.setattr("rapidocr.main.TextClassifier", refuse)
    page, boxes = word_page()
    assert len(detector()([page])[0]) == len(boxes)


@pytest.mark.slow
def test_polygons_are_in_pixels_of_the_page(detect):
    for scale in (1, 5):
        page, boxes = word_page(scale)
        (found,) = detect([page])
        assert found.granularity == "line"
        assert len(found) == len(boxes)
        for box in boxes:
            assert max(overlap(box, polygon) for polygon in found.polygons) > 0.4
        assert all((polygon >= 0).all() and (polygon <= page.shape[1::-1]).all() for polygon in found.polygons)


@pytest.mark.slow
def test_agrees_with_rapidocr_itself(detect):
    page = photo("printed_page.png")
    (found,) = detect([page])
    theirs = rapidocr.RapidOCR(params=QUIET)(np.ascontiguousarray(page[..., ::-1]), use_rec=False)
    rectangles = [cv2.boxPoints(cv2.minAreaRect(polygon)) for polygon in found.polygons]
    matched = [max(overlap(box, rectangle) for rectangle in rectangles) for box in theirs.boxes]
    assert np.median(matched) > 0.8


@pytest.mark.parametrize("options", [{}, {"score_mode": "slow", "use_dilation": False, "unclip_ratio": 2.2}])
def test_boxes_and_scores_of_straight_lines_are_those_of_rapidocr(detect, options, monkeypatch):
    from rapidocr.ch_ppocr_det.utils import DBPostProcess

    monkeypatch.setattr(rapidocr_boxes, "_BEND", np.inf)  # those of the page are bent by a fifth of their height
    settings = replace(detect.network.settings, **options)
    theirs = DBPostProcess(**asdict(settings))
    text_map = detect.see(photo("printed_page.png")).padded
    boxes, scores = find_boxes(text_map[0, 0], settings)
    fine = 8  # they round to whole pixels
    rows, columns = text_map.shape[2:]
    their_boxes, their_scores = theirs(text_map, (rows * fine, columns * fine))
    assert len(boxes) == len(their_boxes) > 5
    assert sorted(scores) == pytest.approx(sorted(their_scores))
    their_centres = np.array([box.mean(axis=0) / fine for box in their_boxes])
    for box, score in zip(np.clip(boxes, 0, (columns, rows)), scores):
        away = np.abs(their_centres - box.mean(axis=0)).max(axis=1)
        assert away.min() < 0.2
        assert score == pytest.approx(their_scores[away.argmin()])


def test_specks_do_not_cost_a_page_its_text():
    text_map = np.zeros((400, 600), np.float32)
    text_map[100::4, ::4] = 0.9  # 11,250 specks below two words
    text_map[20:40, 50:150] = text_map[60:80, 50:150] = 0.9
    boxes, _ = find_boxes(text_map, BoxSettings())
    assert sorted(round(box[:, 1].mean()) for box in boxes) == [30, 70]


@pytest.mark.parametrize("turned", [False, True])
def test_a_bent_line_gets_an_outline_that_follows_it(turned):
    text_map = np.zeros((120, 420), np.float32)
    columns = np.arange(20, 400)
    middle = 90 - 60 * np.sin(np.pi * (columns - 20) / 380)
    for row in range(-6, 7):
        text_map[np.round(middle + row).astype(int), columns] = 0.9
    boxes, scores = find_boxes(text_map.T if turned else text_map, BoxSettings())
    (outline,) = [box[:, ::-1] if turned else box for box in boxes]
    assert len(outline) == 14
    assert scores[0] > 0.8  # the mean of the rectangle around it would be far under the limit
    grown = 13 + 2 * 1.6 * 380 * 13 / (2 * (380 + 13))  # as RapidOCR grows a straight line
    way = np.hypot(1, np.gradient(middle)).sum() + grown - 13
    assert cv2.contourArea(outline) == pytest.approx(way * grown, rel=0.1)
    for x, y in zip(columns.tolist(), middle.tolist()):
        assert cv2.pointPolygonTest(outline, (x, y), True) > grown / 4


@pytest.mark.slow
def test_a_bent_page_is_read_like_a_flat_one(detect):
    page = photo("printed_page.png")
    rows, columns = np.mgrid[: page.shape[0], : page.shape[1]].astype(np.float32)
    bend = 20 * np.sin(np.pi * columns / page.shape[1]) - 10
    bent = cv2.remap(page, columns, rows + bend, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    reader = PageReader(detect)
    flat_words, words = (Counter(word.text for word in reader.read(shown)[0].words) for shown in (page, bent))
    assert flat_words.total() > 40
    assert (words & flat_words).total() > 0.9 * flat_words.total()


def test_a_page_and_the_same_turned_get_a_graph_each_and_all_other_sizes_one(detect, monkeypatch):
    page, boxes = word_page()
    turned, small = np.ascontiguousarray(np.rot90(page)), cv2.resize(page, None, fx=0.9, fy=0.7)
    sequence = page, page, turned, turned, small, page, turned
    known = [detect([shown])[0] for shown in sequence]
    of_one_size = []
    make = _page_network._InOpenVino._compile

    def counted(network):
        of_one_size.append(network._graph.input(0).get_partial_shape().is_static)
        return make(network)

    monkeypatch.setattr(_page_network._InOpenVino, "_compile", counted)
    fresh = detector(threads=1)
    for shown, expected in zip(sequence, known, strict=True):
        (found,) = fresh([shown])
        assert len(found) == len(boxes)
        np.testing.assert_allclose(found.polygons, expected.polygons, atol=0.1)
    assert of_one_size == [True, True, False]


def test_without_openvino_it_finds_the_same(detect, monkeypatch):
    monkeypatch.setattr(_page_network, "find_spec", lambda name: None)
    page = photo("printed_page.png")
    (found,), (known,) = detector(threads=1)([page]), detect([page])
    for polygon, other in zip(found.polygons, known.polygons, strict=True):
        np.testing.assert_allclose(polygon, other, atol=0.5)


def test_the_bundled_network_needs_no_import_of_rapidocr():
    code = "import sys; from clip4str_adapters.rapidocr import detector; detector(); print('rapidocr' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_networks_that_rapidocr_loads_find_the_same(detect):
    page, _ = word_page()
    (found,) = detector(engine_type=rapidocr.EngineType.ONNXRUNTIME)([page])
    np.testing.assert_allclose(found.polygons, detect([page])[0].polygons, atol=0.5)


def test_first_corner_is_the_top_left_of_the_text(detect):
    page, boxes = word_page()
    turned = np.ascontiguousarray(np.rot90(page, -1))
    (found,) = detect([turned])
    assert len(found) == len(boxes)
    for polygon in found.polygons:
        assert np.hypot(*(polygon[1] - polygon[0])) > 1.5 * np.hypot(*(polygon[3] - polygon[0]))
        crop = rectify(turned, polygon, start="top-left")
        assert real_reader().read(crop) in {"HELLO", "WORLD", "SMALL"}


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 2), (31, 900), (7, 7)])
def test_odd_pages_give_no_text_and_no_error(detect, shape):
    (found,) = detect([np.full((*shape, 3), 200, np.uint8)])
    assert len(found) == 0
    assert found.scores.shape == (0,)


@pytest.mark.slow
def test_a_tight_line_is_found(detect):
    page = photo("printed_page.png")
    (found,) = detect([page])
    line = max(found.polygons, key=lambda polygon: np.ptp(polygon[:, 0]))
    (again,) = detect([rectify(page, line)])
    assert sum(Polygon(polygon).area for polygon in again.polygons) > 0.5 * Polygon(line).area


@pytest.mark.slow
def test_pages_keep_their_order_and_may_differ_in_size(detect):
    page, _ = word_page()
    blank = np.full((300, 200, 3), 255, np.uint8)
    assert [len(found) for found in detect([blank, page, blank])] == [0, 3, 0]
    assert detect([]) == []


@pytest.mark.slow
def test_threads_get_what_a_single_caller_gets(detect):
    pages = [word_page()[0], photo("railroad_crossing.png"), word_page(1.5)[0]]
    alone = [detect([page])[0] for page in pages]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda page: detect([page])[0], pages))
    for a, b in zip(alone, together):
        np.testing.assert_array_equal(a.polygons, b.polygons)


@pytest.mark.slow
def test_options_reach_rapidocr():
    strict = detector(box_thresh=0.99)
    assert len(strict([word_page()[0]])[0]) == 0
    assert detector(unclip_ratio=2.5).network.settings.unclip_ratio == 2.5


@pytest.mark.slow
def test_max_side_bounds_what_the_network_sees():
    small = detector(min_side=320, max_side=640)
    seen = []
    run = small.network.run
    small.network = replace(small.network, run=lambda batch: seen.append(batch.shape) or run(batch))
    page, boxes = word_page(4)
    (found,) = small([page])
    assert max(seen[0]) <= 640
    for box in boxes[:2]:
        assert max(overlap(box, polygon) for polygon in found.polygons) > 0.35


@pytest.mark.slow
def test_another_network_by_path():
    from pathlib import Path

    (bundled,) = (Path(rapidocr.__file__).parent / "models").glob("*det*.onnx")
    assert len(load_detector(f"rapidocr:{bundled}")([word_page()[0]])[0]) == 3


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ("nothing.onnx", "there is no detection network 'nothing.onnx'"),
        ("PP-OCRv5", r"VERSION_SIZE with a version of \[.*PP-OCRv5.*mobile"),
        ("fast_base", "no detection network 'fast_base'"),
    ],
)
def test_unknown_networks(arch, message):
    with pytest.raises(DetectorError, match=message):
        detector(arch)


def test_a_network_that_cannot_be_downloaded_is_a_clear_error(monkeypatch, tmp_path):
    import requests

    def refuse(*args, **kwargs):
        raise requests.ConnectionError("no route")

    monkeypatch.setattr(requests, "get", refuse)
    # A server network is not in the wheel.
    with pytest.raises(DetectorError, match="PP-OCRv5_server: Failed to download"):
        detector("PP-OCRv5_server")


@pytest.mark.slow
def test_bad_pages_and_sizes(detect):
    with pytest.raises(ImageError, match="uint8 RGB"):
        detect([np.zeros((10, 10), np.uint8)])
    with pytest.raises(DetectorError, match="min_side"):
        detector(min_side=900, max_side=800)


@pytest.mark.slow
def test_rapidocrs_log_level_is_left_alone():
    from rapidocr.utils.log import logger

    before = logger.level
    detector()
    assert logger.level == before


# CLIP4STR as RapidOCR's recognizer


def engine_with(reader, **params):
    engine = rapidocr.RapidOCR(params={**QUIET, **params})
    engine.text_rec = text_recognizer(reader)
    return engine


@pytest.mark.slow
def test_rapidocrs_own_recognizer_is_never_loaded(offline, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("RapidOCR's recognizer was loaded")

    monkeypatch.setattr("rapidocr.main.TextRecognizer", refuse)
    result = engine_with(colour_reader())(np.ascontiguousarray(word_page()[0][..., ::-1]))
    assert len(result.txts) == 3


@pytest.mark.slow
def test_reads_a_real_photo_with_blanks_between_words():
    result = engine_with(real_reader())(str(PHOTOS / "printed_page.png"))
    lines = dict(zip(result.txts, result.boxes))
    for expected in ("background. These markers are pixels that we can label", "histogram of grey values:"):
        likeness = [SequenceMatcher(None, expected.replace(" ", ""), text.replace(" ", "")).ratio() for text in lines]
        assert max(likeness) > 0.85
    assert sum(text.count(" ") for text in lines) > 15
    # Lines stay aligned with their boxes.
    heights = {text: box[:, 1].mean() for text, box in lines.items()}
    assert "segmentation" in min(heights, key=heights.__getitem__)


def test_crops_are_bgr():
    page = np.full((200, 400, 3), 255, np.uint8)
    cv2.putText(page, "HELLO", (40, 120), cv2.FONT_HERSHEY_SIMPLEX, 2.5, (0, 0, 255), 9)  # red, as BGR
    assert engine_with(colour_reader())(page).txts == ("red",)


def test_the_score_is_the_mean_over_characters_so_that_the_filter_keeps_its_meaning():
    page = np.ascontiguousarray(word_page()[0][..., ::-1])
    # A product over the characters, here 0.25, would lose every line to the filter of 0.5.
    result = engine_with(colour_reader(confidence=0.25, char_confidence=0.9))(page)
    assert len(result.txts) == 3
    assert result.scores == pytest.approx((0.9,) * 3)
    assert engine_with(colour_reader(char_confidence=0.4))(page).txts is None


@pytest.mark.slow
def test_lines_read_as_nothing_are_dropped_with_their_boxes():
    # Three lines, of which the reader reads the tall ones only.
    reader = Reader(lambda crop: "tall" if crop.shape[0] > 40 else "")
    result = engine_with(reader)(np.ascontiguousarray(word_page(1.5)[0][..., ::-1]))
    assert result.txts == ("tall", "tall")
    assert len(result.boxes) == 2
    assert engine_with(Reader(lambda crop: ""))(np.ascontiguousarray(word_page()[0][..., ::-1])).txts is None


def test_page_without_text():
    assert engine_with(colour_reader())(np.full((100, 100, 3), 255, np.uint8)).txts is None


@pytest.mark.slow
def test_word_boxes_lie_on_the_words():
    page = np.full((400, 700, 3), 255, np.uint8)
    places = {}
    for text, x in [("ONE", 20), ("THREE", 220), ("TWO", 520)]:
        cv2.putText(page, text, (x, 80), cv2.FONT_HERSHEY_SIMPLEX, 2, (0, 0, 0), 4)
        places[text] = (x, x + cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 2, 4)[0][0])
    engine = engine_with(real_reader(), **{"Global.return_word_box": True, "Global.text_score": 0.1})
    result = engine(page)
    words = [word for line in result.word_results for word in line]
    assert [text for text, _, _ in sorted(words, key=lambda word: word[2][0][0])] == ["ONE", "THREE", "TWO"]
    for text, score, box in words:
        assert score == pytest.approx(0.6)
        xs = np.array(box)[:, 0]
        assert abs(xs.min() - places[text][0]) < 25
        assert abs(xs.max() - places[text][1]) < 25
    single = engine(page, return_single_char_box=True)
    assert "".join(char for line in single.word_results for char, _, _ in line) == "ONETHREETWO"


@pytest.mark.slow
def test_recognition_alone_and_output_formats():
    page = np.full((60, 300, 3), 255, np.uint8)
    cv2.putText(page, "HELLO", (10, 45), cv2.FONT_HERSHEY_SIMPLEX, 1.5, (0, 0, 0), 4)
    engine = engine_with(real_reader())
    assert engine(page, use_det=False, use_rec=True).txts == ("HELLO",)
    result = engine(np.ascontiguousarray(word_page()[0][..., ::-1]), use_det=True)
    assert {entry["txt"] for entry in result.to_json()} == {"HELLO", "WORLD", "SMALL"}
    assert "HELLO" in result.to_markdown()


@pytest.mark.slow
def test_long_lines_and_many_crops_are_streamed():
    from rapidocr.ch_ppocr_rec import TextRecInput

    reader = colour_reader(char_confidence=0.97)
    crops = [np.full((20, 100, 3), (255, 0, 0), np.uint8) for _ in range(200)]
    output = text_recognizer(reader)(TextRecInput(img=crops))
    assert output.txts == ("blue",) * 200
    assert output.word_results == (None,) * 200
    assert text_recognizer(reader)(TextRecInput(img=[])).txts == ()


@pytest.mark.slow
def test_attached_it_reads_what_our_reader_reads():
    page = photo("printed_page.png")
    engine = attach(rapidocr.RapidOCR(params={**QUIET, "Global.use_cls": False, "Global.text_score": 0.0}), "tiny")
    result = engine(np.ascontiguousarray(page[..., ::-1]))
    found = orient_detections(list(result.boxes), [1.0] * len(result.boxes), "line")
    (read,) = PageReader(lambda pages: [found], engine.text_rec.recognizer, min_confidence=0).stream([page])
    assert len(read.words) > 30
    assert sorted(" ".join(result.txts).split()) == sorted(word.text for word in read.words)


def test_attached_it_says_where_the_words_are():
    page, boxes = word_page()
    engine = attach(rapidocr.RapidOCR(params={**QUIET, "Global.use_cls": False}), real_reader())
    result = engine(np.ascontiguousarray(page[..., ::-1]), return_word_box=True)
    words = {text: np.array(box) for line in result.word_results for text, _, box in line}
    assert set(words) == {"HELLO", "WORLD", "SMALL"}
    for text, box in zip(("HELLO", "WORLD", "SMALL"), boxes):
        assert abs(words[text][:, 0].min() - box[:, 0].min()) < 25
        assert abs(words[text][:, 0].max() - box[:, 0].max()) < 25


def test_a_line_that_was_turned_over_is_read_all_the_same():
    from rapidocr.ch_ppocr_rec import TextRecInput

    line = np.full((60, 420, 3), 255, np.uint8)
    cv2.putText(line, "ONE THREE", (20, 45), cv2.FONT_HERSHEY_SIMPLEX, 1.4, (0, 0, 0), 3)
    for crop in (line, line[::-1, ::-1].copy()):
        assert text_recognizer("tiny")(TextRecInput(img=[crop])).txts == ("ONE THREE",)


def test_what_is_no_rapidocr_is_refused():
    with pytest.raises(TypeError, match="object is no RapidOCR"):
        attach(object())
