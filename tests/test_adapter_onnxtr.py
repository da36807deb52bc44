"""The OnnxTR adapter against the installed OnnxTR, its detector being a real ONNX network that finds ink."""

import cv2
import numpy as np
import pytest

from clip4str_plugin import Detections, Recognizer
from clip4str_plugin.errors import DetectorError
from tests.host_helpers import (
    Reader,
    colour_reader,
    ink_network,
    network_refused,
    photo,
    put_text,
    random_clip4str,
    real_reader,
)

onnxtr = pytest.importorskip("onnxtr")

from onnxtr.models import fast_base  # noqa: E402
from onnxtr.models.predictor import OCRPredictor  # noqa: E402

from clip4str_adapters.onnxtr import detector, ocr_predictor, recognition_predictor  # noqa: E402


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return ink_network(tmp_path_factory.mktemp("network") / "ink.onnx")


@pytest.fixture
def offline(monkeypatch):
    network_refused(monkeypatch)


def printed():
    # Square, since the padding of other pages is black, and that is ink.
    page = np.full((900, 900, 3), 255, np.uint8)
    boxes = {
        text: put_text(page, text, place)
        for text, place in [("HELLO", (50, 100)), ("WORLD", (500, 250)), ("AGAIN", (200, 420))]
    }
    return page, boxes


def words_of(document):
    return [word for block in document.pages[0].blocks for line in block.lines for word in line.words]


@pytest.mark.parametrize("straight", [True, False])
def test_detector_gives_pixels_of_the_page(network, straight, offline):
    page, boxes = printed()
    (found,) = detector(fast_base(network), assume_straight_pages=straight)([page])
    assert found.granularity == "word"
    assert len(found) == 3
    centres = np.array([polygon.mean(axis=0) for polygon in found.polygons])
    for box in boxes.values():
        assert np.abs(centres - box.mean(axis=0)).max(axis=1).min() < 6
    assert all(0 < score <= 1 for score in found.scores)
    assert detector(fast_base(network))([]) == []


@pytest.mark.parametrize("straight", [True, False])
def test_reads_a_page_with_onnxtrs_own_detector_and_downloads_nothing(network, straight, offline):
    page, _ = printed()
    document = ocr_predictor(fast_base(network), real_reader(), assume_straight_pages=straight)([page])
    assert set(document.render().split()) == {"HELLO", "WORLD", "AGAIN"}
    exported = document.export()["pages"][0]
    assert exported["dimensions"] == page.shape[:2]
    assert document.synthesize()[0].shape == page.shape
    if straight:
        assert b"HELLO" in document.export_as_xml()[0][0]


def test_in_a_predictor_that_exists_already(network, offline):
    from onnxtr.models.detection.zoo import detection_predictor

    page, _ = printed()
    predictor = OCRPredictor(detection_predictor(fast_base(network)), None)
    predictor.reco_predictor = recognition_predictor(real_reader())
    assert set(predictor([page]).render().split()) == {"HELLO", "WORLD", "AGAIN"}


@pytest.mark.slow
def test_a_detector_of_ours_on_a_real_photo(offline):
    predictor = ocr_predictor("rapidocr", real_reader(), assume_straight_pages=False)
    document = predictor([photo("printed_page.png")])
    for word in ("segmentation", "determine", "markers"):
        assert word in document.render()


def test_perspective_crops_and_reading_direction():
    quad = np.array([[600, 100], [100, 300], [100, 360], [600, 380]], np.float32)[[1, 0, 3, 2]]
    patch = np.full((60, 360, 3), 255, np.uint8)
    put_text(patch, "PERSPECTIVE", (12, 46))
    corners = np.array([[0, 0], [360, 0], [360, 60], [0, 60]], np.float32)
    page = cv2.warpPerspective(patch, cv2.getPerspectiveTransform(corners, quad), (800, 600), borderValue=(200,) * 3)
    for polygon, image in [(quad, page), (800 - 200 * np.array([0, 1]) - quad, page[::-1, ::-1])]:
        predictor = ocr_predictor(
            lambda pages, found=polygon: [Detections([found], [0.9])], real_reader(), assume_straight_pages=False
        )
        assert predictor([np.ascontiguousarray(image)]).render() == "PERSPECTIVE"


@pytest.mark.parametrize("straight", [True, False])
@pytest.mark.parametrize("change", ["drop", "reverse"])
def test_scores_stay_with_their_words(straight, change):
    page = np.full((300, 400, 3), 255, np.uint8)
    found = []
    for index, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255)]):
        top = 20 + 90 * index
        page[top : top + 40, 50:150] = colour
        found.append(np.array([[50, top], [150, top], [150, top + 40], [50, top + 40]]))
    predictor = ocr_predictor(
        lambda pages: [Detections(found, [0.91, 0.92, 0.93])], colour_reader(), assume_straight_pages=straight
    )
    predictor.add_hook(lambda pages: [boxes[1:] if change == "drop" else boxes[::-1] for boxes in pages])
    scores = {word.value: round(word.objectness_score, 4) for word in words_of(predictor([page]))}
    expected = {"red": 0.91, "green": 0.92, "blue": 0.93}
    if change == "drop":
        del expected["red"]
    assert scores == expected


def test_wide_crops_are_cut_at_blanks_and_in_windows():
    line = np.full((40, 900, 3), 255, np.uint8)
    put_text(line, "ONE", (10, 32), 1)
    put_text(line, "THREE", (350, 32), 1)
    put_text(line, "TWO", (750, 32), 1)
    assert recognition_predictor(real_reader())([line])[0][0] == "ONE THREE TWO"
    reader = Reader(lambda crop: "x")
    solid = np.full((40, 900, 3), 255, np.uint8)
    put_text(solid, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGHIJ", (0, 32), 1)
    assert len(recognition_predictor(reader)([solid, solid[:, :50], solid[:0]])) == 3
    assert len(reader.shapes) > 3
    assert recognition_predictor(reader)([]) == []


@pytest.mark.slow
def test_the_confidence_is_the_mean_unless_the_recognizer_says_otherwise():
    model = random_clip4str()
    crops = [np.random.default_rng(0).integers(0, 255, (20, 50, 3), np.uint8)]
    (mean,) = Recognizer(model, confidence="mean")(crops)
    product = Recognizer(model)
    assert recognition_predictor(model, split_wide_crops=False)(crops) == [(mean.text, mean.confidence)]
    assert recognition_predictor(product, split_wide_crops=False)(crops)[0][1] == product(crops)[0].confidence


def test_errors(monkeypatch):
    with pytest.raises(DetectorError, match=r"no detection architecture 'fast_giant'; it has .*fast_base"):
        detector("fast_giant")
    with pytest.raises(DetectorError, match="no detector is called 'fast_giant'"):
        ocr_predictor("fast_giant", colour_reader())

    import urllib.error
    import urllib.request

    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(DetectorError, match=r"cannot get the weights of db_resnet34.*no route"):
        detector("db_resnet34")


def test_orientation_is_estimated_from_the_polygons_of_any_detector():
    turn = np.deg2rad(10)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    flat = np.array([[-60, -15], [60, -15], [60, 15], [-60, 15]])
    places = [np.array([200 * column, 60 * row]) for column in (-1, 0, 1) for row in (-2, 0, 2)]
    found = [(flat + place) @ rotation + (400, 300) for place in places]
    predictor = ocr_predictor(
        lambda pages: [Detections(found, [0.9] * len(found))],
        colour_reader(),
        detect_orientation=True,
        disable_page_orientation=True,
    )
    document = predictor([np.full((600, 800, 3), 255, np.uint8)])
    assert abs(document.pages[0].orientation["value"]) == 10
