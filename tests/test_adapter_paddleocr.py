"""The PaddleOCR adapter against the installed PaddleOCR, of version 2 or 3, with the networks of RapidOCR's wheel."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from clip4str_plugin.errors import DetectorError, ImageError
from tests.host_helpers import (
    PHOTOS,
    Reader,
    colour_reader,
    network_refused,
    paddle_detector,
    photo,
    put_text,
    real_reader,
)

# PaddleX looks for its model hosts when it is imported.
os.environ["PADDLE_PDX_DISABLE_MODEL_SOURCE_CHECK"] = "True"
paddleocr = pytest.importorskip("paddleocr")

from clip4str_adapters.paddleocr import attach, detector, register, text_rec_model, text_recognizer  # noqa: E402

VERSION_3 = hasattr(paddleocr, "TextDetection")
NETWORKS = Path(pytest.importorskip("rapidocr").__file__).parent / "models"


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    network_refused(monkeypatch)


@pytest.fixture(scope="session")
def det_folder(tmp_path_factory):
    return paddle_detector(tmp_path_factory.mktemp("det"))


@pytest.fixture(scope="session")
def detect(det_folder):
    if VERSION_3:
        return detector("PP-OCRv6_small_det", model_dir=str(det_folder), engine="onnxruntime")
    return detector(str(next(NETWORKS.glob("*det*.onnx"))), det_limit_side_len=736, det_limit_type="min")


@pytest.fixture
def build(det_folder):
    """Build a PaddleOCR object that reads with the given reader."""

    def version_2(reader, **options):
        ocr = paddleocr.PaddleOCR(
            use_onnx=True,
            use_angle_cls=False,
            det_model_dir=str(next(NETWORKS.glob("*det*.onnx"))),
            rec_model_dir=str(next(NETWORKS.glob("*rec*.onnx"))),
            show_log=False,
            **options,
        )
        return attach(ocr, reader)

    def version_3(reader, **options):
        registered = register(reader)
        submodules = {
            "TextDetection": {
                "model_name": "PP-OCRv6_small_det",
                "model_dir": str(det_folder),
                "engine": "onnxruntime",
                "limit_side_len": 736,
                "limit_type": "min",
                "box_thresh": 0.5,
                "unclip_ratio": 1.6,
            },
            "TextRecognition": {
                "model_name": registered["text_recognition_model_name"],
                "model_dir": registered["text_recognition_model_dir"],
                **options,
            },
        }
        config = {
            "pipeline_name": "OCR",
            "text_type": "general",
            "use_doc_preprocessor": False,
            "use_textline_orientation": False,
            "SubModules": submodules,
        }
        from paddlex import create_pipeline

        return create_pipeline(config=config)

    return version_3 if VERSION_3 else version_2


def read(ocr, image):
    """Read a BGR array or a file with either version: texts, scores and boxes."""
    if VERSION_3:
        (result,) = ocr.predict(image)
        return list(result["rec_texts"]), list(result["rec_scores"]), list(result["rec_polys"])
    (lines,) = ocr.ocr(image, cls=False)
    lines = lines or []
    return [text for _, (text, _) in lines], [score for _, (_, score) in lines], [box for box, _ in lines]


def three_words():
    page = np.full((400, 700, 3), 255, np.uint8)
    boxes = {
        "HELLO": put_text(page, "HELLO", (40, 80)),
        "WORLD": put_text(page, "WORLD", (350, 200)),
        "AGAIN": put_text(page, "AGAIN", (60, 330)),
    }
    return page, boxes


def test_detector_gives_pixels_of_the_page(detect):
    page, boxes = three_words()
    (found, blank) = detect([page, np.full((90, 70, 3), 255, np.uint8)])
    assert len(blank) == 0
    assert found.granularity == "line"
    assert len(found) == 3
    centres = np.array([polygon.mean(axis=0) for polygon in found.polygons])
    for box in boxes.values():
        assert np.abs(centres - box.mean(axis=0)).max(axis=1).min() < 8
    assert all(0.5 <= score <= 1 for score in found.scores)
    assert detect([]) == []


def test_detector_wants_rgb_pages(detect):
    with pytest.raises(ImageError, match="uint8 RGB"):
        detect([np.zeros((9, 9), np.uint8)])


def test_unknown_detectors_and_options():
    with pytest.raises(DetectorError, match="PaddleOCR cannot load its detector nonsense"):
        detector("nonsense")
    with pytest.raises(DetectorError, match="no_such_option"):
        detector(str(next(NETWORKS.glob("*det*.onnx"))), no_such_option=1)


def test_reads_a_real_photo(build):
    texts, scores, boxes = read(build(real_reader()), str(PHOTOS / "printed_page.png"))
    assert len(texts) == len(scores) == len(boxes) > 5
    assert "Region-based segmentation" in texts
    assert scores == pytest.approx([0.97] * len(texts))
    top = min(range(len(boxes)), key=lambda index: np.array(boxes[index])[:, 1].mean())
    assert texts[top] == "Region-based segmentation"


def test_texts_stay_with_their_boxes(build):
    page, expected = three_words()
    texts, _, boxes = read(build(real_reader()), np.ascontiguousarray(page[..., ::-1]))
    for text, box in zip(texts, boxes):
        np.testing.assert_allclose(np.mean(box, axis=0), expected[text].mean(axis=0), atol=8)
    assert set(texts) == set(expected)


def test_crops_are_bgr(build):
    page = np.full((200, 400, 3), 255, np.uint8)
    cv2.putText(page, "HELLO", (40, 120), cv2.FONT_HERSHEY_SIMPLEX, 2.5, (0, 0, 255), 9)  # red, as BGR
    assert read(build(colour_reader()), page)[0] == ["red"]


def test_the_score_filter_sees_the_mean_over_characters(build):
    page = np.ascontiguousarray(three_words()[0][..., ::-1])
    threshold = {"score_thresh": 0.5} if VERSION_3 else {"drop_score": 0.5}
    assert len(read(build(colour_reader(confidence=0.1, char_confidence=0.9), **threshold), page)[0]) == 3
    assert read(build(colour_reader(char_confidence=0.4), **threshold), page)[0] == []


def test_page_without_text(build):
    assert read(build(colour_reader()), np.full((200, 200, 3), 255, np.uint8))[0] == []


def test_attach_refuses_what_has_no_recognizer():
    with pytest.raises(TypeError, match="object has no text recognizer"):
        attach(object(), colour_reader())


@pytest.mark.skipif(VERSION_3, reason="PaddleOCR 3 has another seam")
def test_version_2_contract(build):
    texts, seconds = text_recognizer(colour_reader())([np.full((20, 90, 3), (255, 0, 0), np.uint8)] * 2)
    assert texts == [("blue", pytest.approx(0.9))] * 2
    assert seconds >= 0
    assert text_recognizer(colour_reader())([])[0] == []
    ocr = build(real_reader())
    crop = np.full((60, 300, 3), 255, np.uint8)
    put_text(crop, "HELLO", (10, 45))
    assert ocr.ocr(crop, det=False, cls=False) == [[("HELLO", pytest.approx(0.97))]]


@pytest.mark.skipif(not VERSION_3, reason="PaddleOCR 2 has another seam")
def test_version_3_contract_and_attach(build):
    crops = [np.full((20, 90, 3), (255, 0, 0), np.uint8)] * 2
    for result in text_rec_model(colour_reader())(crops, return_word_box=False):
        assert result["rec_text"] == "blue"
        assert result["rec_score"] == pytest.approx(0.9)
    pipeline = build(Reader(lambda crop: "before"))
    page = np.ascontiguousarray(three_words()[0][..., ::-1])
    assert set(read(pipeline, page)[0]) == {"before"}
    assert set(read(attach(pipeline, Reader(lambda crop: "after")), page)[0]) == {"after"}


@pytest.mark.skipif(not VERSION_3, reason="PaddleOCR 2 cannot be told by name")
def test_version_3_by_name_in_paddleocr_itself(det_folder, tmp_path):
    import yaml

    config = {
        "pipeline_name": "OCR",
        "text_type": "general",
        "use_doc_preprocessor": False,
        "use_textline_orientation": False,
        "SubModules": {"TextDetection": {"engine": "onnxruntime"}, "TextRecognition": {}},
    }
    path = tmp_path / "ocr.yaml"
    path.write_text(yaml.safe_dump(config))
    ocr = paddleocr.PaddleOCR(
        paddlex_config=str(path),
        text_detection_model_name="PP-OCRv6_small_det",
        text_detection_model_dir=str(det_folder),
        **register(real_reader(), "CLIP4STR-test"),
    )
    page = np.ascontiguousarray(three_words()[0][..., ::-1])
    assert set(read(ocr, page)[0]) == {"HELLO", "WORLD", "AGAIN"}
    assert set(read(attach(ocr, Reader(lambda crop: "x")), page)[0]) == {"x"}


@pytest.mark.skipif(not VERSION_3, reason="PaddleOCR 2 has no word boxes")
def test_version_3_word_boxes_lie_on_the_words(build):
    page = np.full((400, 700, 3), 255, np.uint8)
    places = {text: put_text(page, text, (x, 80), 2, 4) for text, x in [("ONE", 20), ("THREE", 220), ("TWO", 520)]}
    (result,) = build(real_reader()).predict(page, return_word_box=True)
    words = [word for line in result["text_word"] for word in line]
    regions = [region for line in result["text_word_region"] for region in line]
    assert sorted(words) == sorted(places)
    for word, region in zip(words, regions):
        xs = np.array(region)[:, 0]
        assert abs(xs.min() - places[word][0, 0]) < 25
        assert abs(xs.max() - places[word][1, 0]) < 25


def test_photo_helper_agrees_with_paddles_reading_of_files(build):
    page = photo("printed_page.png")
    reader = Reader(lambda crop: f"{crop.mean():.3f}")  # any other pixel gives another text
    from_array = read(build(reader), np.ascontiguousarray(page[..., ::-1]))[0]
    from_file = read(build(reader), str(PHOTOS / "printed_page.png"))[0]
    assert from_array == from_file
