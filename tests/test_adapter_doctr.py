"""The docTR adapter against the installed docTR."""

import copy
import inspect
import json
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from clip4str_plugin import Detections, Recognizer, load_detector
from clip4str_plugin.errors import CheckpointError, DetectorError, ImageError
from clip4str_plugin.model import save_pretrained
from tests.host_helpers import Reader, colour_reader, network_refused, photo, put_text, random_clip4str, real_reader

doctr = pytest.importorskip("doctr")

from doctr.models import detection_predictor as doctr_detection_predictor  # noqa: E402
from doctr.models import kie_predictor as doctr_kie_predictor  # noqa: E402
from doctr.models import ocr_predictor as doctr_ocr_predictor  # noqa: E402
from doctr.models.recognition import zoo  # noqa: E402

from clip4str_adapters.doctr import (  # noqa: E402
    detector,
    kie_predictor,
    ocr_predictor,
    recognition_predictor,
    register,
)
from clip4str_adapters.doctr_modules import (  # noqa: E402
    CLIP4STRPredictor,
    DetectorPredictor,
    KIEPredictor,
    OCRPredictor,
)

UNTRAINED = {"pretrained": False, "pretrained_backbone": False}


@pytest.fixture
def offline(monkeypatch):
    network_refused(monkeypatch)


@pytest.fixture(scope="module")
def model():
    return random_clip4str()


def scripted(*pages, granularity="word"):
    """A detector of ours that finds the given (polygon, score) pairs on the pages, in order."""

    def detect(images):
        assert len(images) == len(pages)
        return [Detections([p for p, _ in page], [s for _, s in page], granularity) for page in pages]

    return detect


def small(predictor):
    """A detection predictor of docTR's that looks at pages in a sixteenth of its pixels."""
    predictor.pre_processor.resize.size = (256, 256)
    return predictor


def words_of(document, page=0):
    return [word for block in document.pages[page].blocks for line in block.lines for word in line.words]


def warped_page(quad, text="PERSPECTIVE"):
    """A page with text drawn in perspective into a quad, (4, 2) from the text's top left."""
    patch = np.full((60, 360, 3), 255, np.uint8)
    put_text(patch, text, (12, 46), 1.5)
    page = np.full((600, 800, 3), 200, np.uint8)
    corners = np.array([[0, 0], [360, 0], [360, 60], [0, 60]], np.float32)
    matrix = cv2.getPerspectiveTransform(corners, np.asarray(quad, np.float32))
    return cv2.warpPerspective(patch, matrix, (800, 600), page, borderMode=cv2.BORDER_TRANSPARENT)


# The recognizer inside docTR


def test_recognition_predictor_keeps_length_and_order():
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 255, 0)]
    crops = [np.full((20, 40 + index, 3), colour, np.uint8) for index, colour in enumerate(colours)]
    result = recognition_predictor(colour_reader())(crops)
    assert [text for text, _ in result] == ["red", "green", "blue", "green"]
    assert all(type(text) is str and type(confidence) is float for text, confidence in result)
    assert recognition_predictor(colour_reader())([]) == []


def test_recognition_predictor_takes_views_and_empty_crops():
    crops = [np.rot90(np.full((20, 60, 3), (255, 0, 0), np.uint8)), np.zeros((0, 9, 3), np.uint8)]
    crops.append(np.zeros((0, 0, 3), np.uint8))
    crops.append(np.full((1, 1, 3), (0, 0, 255), np.uint8))
    assert recognition_predictor(colour_reader())(crops) == [("red", 0.6), ("", 0.0), ("", 0.0), ("blue", 0.6)]


@pytest.mark.slow
def test_reads_what_the_recognizer_reads_with_the_mean_as_confidence(model, tmp_path, pytorch_alone):
    crops = [np.random.default_rng(index).integers(0, 255, (20, 50, 3), np.uint8) for index in range(5)]
    expected = [(found.text, found.confidence) for found in Recognizer(model, confidence="mean")(crops)]
    assert recognition_predictor(model, split_wide_crops=False)(crops) == expected
    product = Recognizer(model, confidence="product")
    read = recognition_predictor(product, split_wide_crops=False)(crops)
    assert [value for _, value in read] == [found.confidence for found in product(crops)]
    save_pretrained(model, tmp_path)
    again = recognition_predictor(tmp_path, split_wide_crops=False, batch_size=2)(crops)
    assert [text for text, _ in again] == [text for text, _ in expected]
    assert [value for _, value in again] == pytest.approx([value for _, value in expected])


@pytest.mark.slow
def test_moves_and_converts_like_any_module(model):
    crops = [np.random.default_rng(0).integers(0, 255, (20, 50, 3), np.uint8)]
    predictor = recognition_predictor(copy.deepcopy(model), split_wide_crops=False)
    for convert, dtype in [("half", torch.float16), ("bfloat16", torch.bfloat16), ("float", torch.float32)]:
        assert getattr(predictor, convert)() is predictor
        assert predictor.recognizer.dtype == dtype
        expected = Recognizer(copy.deepcopy(predictor.model), confidence="mean")(crops)
        assert predictor(crops) == [(found.text, found.confidence) for found in expected]
    assert len(list(predictor.parameters())) > 0
    assert predictor.to("meta").recognizer.device.type == "meta"


def test_training_mode_does_not_reach_the_model(model):
    predictor = recognition_predictor(copy.deepcopy(model))
    assert predictor.train() is predictor
    assert predictor.training
    assert not any(module.training for module in predictor.model.modules())
    assert not predictor.eval().training
    whole = OCRPredictor(DetectorPredictor(scripted()), predictor).train()
    assert not any(module.training for module in whole.reco_predictor.model.modules())


def test_copies_are_independent(model):
    predictor = recognition_predictor(model)
    twin = copy.deepcopy(predictor)
    assert twin.recognizer.model is twin.model
    assert twin.model is not predictor.model


@pytest.mark.slow
def test_reading_leaves_no_graph(model):
    crops = [np.zeros((20, 40, 3), np.uint8)]
    with torch.enable_grad():
        recognition_predictor(model)(crops)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_words_of_any_readable_length_are_read_whole():
    reader = Reader(lambda crop: "w")
    crops = [np.full((20, width, 3), 255, np.uint8) for width in (20, 160, 240, 250)]
    assert recognition_predictor(reader)(crops) == [("w", 0.6)] * 4
    assert [shape[1] for shape in reader.shapes[:4]] == [20, 160, 240, 250]


def test_wide_crops_are_cut_at_blanks():
    line = np.full((40, 900, 3), 255, np.uint8)
    put_text(line, "ONE", (10, 32), 1)
    put_text(line, "THREE", (350, 32), 1)
    put_text(line, "TWO", (750, 32), 1)
    assert recognition_predictor(real_reader())([line])[0][0] == "ONE THREE TWO"
    whole = Reader(lambda crop: "whole")
    assert recognition_predictor(whole, split_wide_crops=False)([line]) == [("whole", 0.6)]
    assert whole.shapes == [(40, 900, 3)]


@pytest.mark.slow
def test_wide_words_are_read_in_parts_and_joined():
    long = np.full((30, 1, 3), 255, np.uint8)
    text = "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOP"
    canvas = np.full((44, 1700, 3), 255, np.uint8)
    box = put_text(canvas, text, (10, 36), 1.1, 3)
    crop = canvas[:, : int(box[1, 0])]
    reader = real_reader()
    ((read, confidence),) = recognition_predictor(reader)([crop])
    assert len(reader.shapes) > 2
    assert read[:12] == text[:12]
    assert read[-8:] == text[-8:]
    assert confidence == pytest.approx(0.6)
    assert recognition_predictor(reader)([crop, long])[1][0] == reader.read(long)


def test_unknown_model_names_are_refused():
    with pytest.raises(CheckpointError, match="crnn_vgg16_bn"):
        recognition_predictor("crnn_vgg16_bn")


# The whole predictor


def test_signatures_are_doctrs_own():
    for ours, theirs in [(ocr_predictor, doctr_ocr_predictor), (kie_predictor, doctr_kie_predictor)]:
        mine = inspect.signature(ours).parameters
        for name, parameter in inspect.signature(theirs).parameters.items():
            assert mine[name].kind == parameter.kind
            assert name == "reco_arch" or mine[name].default == parameter.default
        assert list(mine) == list(inspect.signature(theirs).parameters)


@pytest.mark.slow
@pytest.mark.parametrize("straight", [True, False])
def test_reads_a_real_photo_with_a_detector_of_ours(straight, offline):
    page = photo("printed_page.png")
    predictor = ocr_predictor("rapidocr", real_reader(), assume_straight_pages=straight)
    document = predictor([page])
    text = document.render().replace("\n", " ")
    for word in ("segmentation", "determine", "markers", "histogram"):
        assert word in text
    assert document.pages[0].dimensions == page.shape[:2]
    exported = json.loads(json.dumps(document.export()))
    words = [word for block in exported["pages"][0]["blocks"] for line in block["lines"] for word in line["words"]]
    assert len(words) > 25
    for word in words:
        geometry = np.array(word["geometry"])
        assert geometry.shape == ((2, 2) if straight else (4, 2))
        assert (geometry >= 0).all()
        assert (geometry <= 1).all()
        assert 0 < word["objectness_score"] <= 1
        assert word["confidence"] == pytest.approx(0.6)
    assert document.synthesize()[0].shape == page.shape
    if straight:
        ((xml, _),) = document.export_as_xml()
        assert b"segmentation" in xml
        assert type(doctr.io.Document.from_dict(exported)) is doctr.io.Document


@pytest.mark.slow
def test_words_at_45_degrees_are_read():
    document = ocr_predictor("rapidocr", real_reader(), assume_straight_pages=False)([photo("railroad_crossing.png")])
    assert {"RAIL", "ROAD"} <= set(document.render().split())


def test_perspective_crops_use_all_four_corners():
    quad = np.array([[100, 300], [600, 100], [600, 380], [100, 360]], np.float32)
    page = warped_page(quad)
    ours = OCRPredictor(
        DetectorPredictor(scripted([(quad, 0.9)]), assume_straight_pages=False),
        recognition_predictor(real_reader()),
        assume_straight_pages=False,
        disable_crop_orientation=True,
        disable_page_orientation=True,
    )([page])
    assert ours.render() == "PERSPECTIVE"


@pytest.mark.parametrize("angle", [0, 30, 60, 90, 135, 180, 270])
def test_reading_direction_of_a_detector_of_ours_is_kept(angle):
    flat = np.array([[-180, -30], [180, -30], [180, 30], [-180, 30]], np.float32)
    turn = np.deg2rad(angle)
    quad = flat @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]).astype(np.float32)
    quad += np.array([400, 300], np.float32)
    predictor = ocr_predictor(scripted([(quad, 0.9)]), real_reader(), assume_straight_pages=False)
    document = predictor([warped_page(quad)])
    assert document.render() == "PERSPECTIVE"
    (word,) = words_of(document)
    np.testing.assert_allclose(np.array(word.geometry) * (800, 600), quad, atol=0.5)


def test_curved_polygons_are_cropped_along_the_curve():
    angles = np.linspace(np.pi * 1.15, np.pi * 1.85, 9)
    arc = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    polygon = np.concatenate([arc * 260, arc[::-1] * 200]).astype(np.float32) + 400
    reader = Reader(lambda crop: "arc")
    document = ocr_predictor(scripted([(polygon, 0.5)]), reader, assume_straight_pages=False)(
        [np.full((600, 800, 3), 255, np.uint8)]
    )
    assert document.render() == "arc"
    height, width, _ = reader.shapes[0]  # other views follow
    # The arc is 230 radii-pixels long times 2.2 radians; the rectangle around it is far taller than 60 pixels.
    assert 50 <= height <= 75
    assert 430 <= width <= 620


def test_lines_are_cut_into_words_with_the_score_of_their_line():
    page = np.full((200, 900, 3), 255, np.uint8)
    first = put_text(page, "ONE", (20, 60))
    last = put_text(page, "TWO", (400, 60))
    line = np.array([first[0], last[1], last[2], first[3]])
    document = ocr_predictor(scripted([(line, 0.7)], granularity="line"), real_reader())([page])
    assert [(word.value, round(word.objectness_score, 4)) for word in words_of(document)] == [
        ("ONE", 0.7),
        ("TWO", 0.7),
    ]


# Objectness scores


def three_words():
    page = np.full((300, 400, 3), 255, np.uint8)
    colours = [("red", (255, 0, 0)), ("green", (0, 255, 0)), ("blue", (0, 0, 255))]
    found = []
    for index, (_, colour) in enumerate(colours):
        top = 20 + 90 * index
        page[top : top + 40, 50:150] = colour
        box = np.array([[50, top], [150, top], [150, top + 40], [50, top + 40]], np.float32)
        found.append((box, 0.91 + index / 100))
    return page, found


@pytest.mark.parametrize("straight", [True, False])
@pytest.mark.parametrize("build", [ocr_predictor, kie_predictor])
@pytest.mark.parametrize("change", ["drop", "reverse", "shift", "none"])
def test_scores_stay_with_their_words_whatever_a_hook_does(build, straight, change):
    page, found = three_words()
    predictor = build(scripted(found), colour_reader(), assume_straight_pages=straight)

    def modify(boxes):
        return {"drop": boxes[1:], "reverse": boxes[::-1], "shift": boxes + 0.01, "none": boxes}[change]

    if build is ocr_predictor:
        predictor.add_hook(lambda pages: [modify(boxes) for boxes in pages])
    else:
        predictor.add_hook(lambda classes: {name: [modify(b) for b in pages] for name, pages in classes.items()})
    document = predictor([page])
    words = words_of(document) if build is ocr_predictor else document.pages[0].predictions["words"]
    scores = {word.value: round(word.objectness_score, 4) for word in words}
    expected = {"red": 0.91, "green": 0.92, "blue": 0.93}
    if change == "drop":
        del expected["red"]
    assert scores == expected


class DoctrLike(nn.Module):
    """Gives the predictor boxes as docTR's detectors do."""

    def __init__(self, boxes):
        super().__init__()
        self.boxes = boxes

    def forward(self, pages, **kwargs):
        return [{"words": np.array(self.boxes, np.float32)} for _ in pages]


def test_scores_stay_when_a_box_without_area_is_dropped():
    page, found = three_words()
    flat = np.array([[10, 10], [90, 10], [90, 10], [10, 10]], np.float32)
    size = np.array([400, 300], np.float32)
    boxes = [np.concatenate([quad / size, [[score, score]]]) for quad, score in [(flat, 0.11), *found]]
    options = {"assume_straight_pages": False, "disable_crop_orientation": True, "disable_page_orientation": True}
    document = OCRPredictor(DoctrLike(boxes), recognition_predictor(colour_reader()), **options)([page])
    assert {word.value: round(word.objectness_score, 4) for word in words_of(document)} == {
        "red": 0.91,
        "green": 0.92,
        "blue": 0.93,
    }


def test_a_box_added_by_a_hook_has_no_objectness():
    page, found = three_words()
    predictor = ocr_predictor(scripted(found[:1]), colour_reader())
    predictor.add_hook(lambda pages: [np.concatenate([boxes, [[0.13, 0.7, 0.37, 0.8]]]) for boxes in pages])
    scores = {word.value: round(word.objectness_score, 4) for word in words_of(predictor([page]))}
    assert scores == {"red": 0.91, "blue": 0.0}


def test_doctrs_boxes_are_turned_upright_without_an_orientation_model():
    # docTR orders corners by where they lie on the page; text running downwards would arrive on its side.
    quad = np.array([[430, 120], [430, 480], [370, 480], [370, 120]], np.float32)
    page = warped_page(quad)
    by_place = np.array([[370, 120], [430, 120], [430, 480], [370, 480]]) / (800, 600)
    boxes = [np.concatenate([by_place, [[0.8, 0.8]]])]
    predictor = OCRPredictor(
        DoctrLike(boxes),
        recognition_predictor(real_reader()),
        assume_straight_pages=False,
        disable_crop_orientation=True,
        disable_page_orientation=True,
    )
    document = predictor([page])
    assert document.render() == "PERSPECTIVE"
    np.testing.assert_allclose(np.array(words_of(document)[0].geometry) * (800, 600), quad, atol=0.5)


class QuarterTurn(nn.Module):
    def forward(self, crops):
        return [[3] * len(crops), [90] * len(crops), [0.9] * len(crops)]


def test_with_an_orientation_model_its_verdict_decides():
    quad = np.array([[430, 120], [430, 480], [370, 480], [370, 120]], np.float32)
    page = warped_page(quad)
    by_place = np.array([[370, 120], [430, 120], [430, 480], [370, 480]]) / (800, 600)
    predictor = OCRPredictor(
        DoctrLike([np.concatenate([by_place, [[0.8, 0.8]]])]),
        recognition_predictor(real_reader()),
        assume_straight_pages=False,
        disable_crop_orientation=True,
        disable_page_orientation=True,
    )
    # Stand-in for the classifier, whose weights must be downloaded: class 3 stands for 90 degrees clockwise.
    predictor._crop_orientation_disabled = False
    predictor.crop_orientation_predictor = QuarterTurn()
    document = predictor([page])
    assert document.render() == "PERSPECTIVE"
    assert words_of(document)[0].crop_orientation == {"value": 90, "confidence": 0.9}


def test_pages_without_text_and_several_pages():
    page, found = three_words()
    blank = np.full((50, 60, 3), 255, np.uint8)
    for straight in (True, False):
        predictor = ocr_predictor(scripted([], found, []), colour_reader(), assume_straight_pages=straight)
        document = predictor([blank, page, blank])
        assert [len(words_of(document, index)) for index in range(3)] == [0, 3, 0]
        kie = kie_predictor(scripted([], found), colour_reader(), assume_straight_pages=straight)([blank, page])
        assert [len(item.predictions["words"]) for item in kie.pages] == [0, 3]


def test_a_predictor_shared_between_threads():
    page, found = three_words()
    tops = list(range(0, 60, 3))

    def detect(pages):
        (first,) = pages
        shift = int(first[0, 0, 0])
        return [Detections([polygon + np.array([0, shift]) for polygon, _ in found], [0.5 + shift / 200] * 3)]

    predictor = ocr_predictor(detect, colour_reader(), assume_straight_pages=False)

    def read(top):
        shifted = np.roll(page, top, axis=0)
        shifted[0, 0] = top
        return {(word.value, round(word.objectness_score, 3)) for word in words_of(predictor([shifted]))}

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(read, tops))
    assert results == [{(name, round(0.5 + top / 200, 3)) for name in ("red", "green", "blue")} for top in tops]


@pytest.mark.slow
def test_nothing_is_downloaded_and_no_other_recognizer_is_built(offline, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("docTR's recognizer was built")

    monkeypatch.setattr(zoo, "_predictor", refuse)
    page, _ = three_words()
    for build in (ocr_predictor, kie_predictor):
        for straight in (True, False):
            predictor = build("fast_tiny", colour_reader(), assume_straight_pages=straight, **UNTRAINED)
            assert type(predictor.det_predictor).__name__ == "DetectionPredictor"
            small(predictor.det_predictor)
            predictor([page])


@pytest.mark.slow
def test_any_doctr_detector_in_any_form(offline):
    model = doctr.models.detection.db_mobilenet_v3_large(pretrained=False, pretrained_backbone=False)
    finished = doctr_detection_predictor("linknet_resnet18", **UNTRAINED)
    reco = colour_reader()
    assert ocr_predictor(model, reco).det_predictor.model is model
    assert ocr_predictor(finished, reco).det_predictor is finished
    assert isinstance(ocr_predictor("rapidocr", reco).det_predictor, DetectorPredictor)
    with pytest.raises(DetectorError, match="no detector is called 'fast_giant'"):
        ocr_predictor("fast_giant", reco)


@pytest.mark.slow
def test_batch_sizes_reach_their_predictors(model):
    predictor = ocr_predictor("fast_tiny", model, det_bs=3, reco_bs=5, **UNTRAINED)
    assert predictor.det_predictor.pre_processor.batch_size == 3
    assert predictor.reco_predictor.recognizer.batch_size == 5


def test_builder_options_reach_doctr():
    page, found = three_words()
    document = ocr_predictor(scripted(found), colour_reader(), resolve_lines=False, assume_straight_pages=True)([page])
    assert len(document.pages[0].blocks[0].lines) == 1
    straight = ocr_predictor(
        scripted(found), colour_reader(), assume_straight_pages=False, export_as_straight_boxes=True
    )([page])
    assert all(len(word.geometry) == 2 for word in words_of(straight))


def test_orientation_is_estimated_from_the_polygons_of_any_detector():
    # A line of words sloping by 10 degrees.
    turn = np.deg2rad(10)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    flat = np.array([[-60, -15], [60, -15], [60, 15], [-60, 15]])
    found = [
        ((flat + np.array([200 * column, 60 * row])) @ rotation + (400, 300), 0.9)
        for column in (-1, 0, 1)
        for row in (-2, 0, 2)
    ]
    predictor = ocr_predictor(scripted(found), colour_reader(), detect_orientation=True, disable_page_orientation=True)
    document = predictor([np.full((600, 800, 3), 255, np.uint8)])
    assert abs(document.pages[0].orientation["value"]) == 10


def test_language_is_detected():
    page, found = three_words()
    document = ocr_predictor(scripted(found), colour_reader(), detect_language=True)([page])
    assert set(document.pages[0].language) == {"value", "confidence"}


def test_a_detector_that_loses_pages_is_an_error():
    with pytest.raises(DetectorError, match="returned 0 results for 1 pages"):
        ocr_predictor(lambda pages: [], colour_reader())([np.zeros((9, 9, 3), np.uint8)])


def test_unreadable_polygons_of_a_detector_are_left_out():
    page, found = three_words()
    flat = np.array([[5, 5], [90, 5], [90, 5], [5, 5]])
    for granularity in ("word", "line"):
        predictor = ocr_predictor(scripted([(flat, 0.3), found[0]], granularity=granularity), colour_reader())
        assert [word.value for word in words_of(predictor([page]))] == ["red"]


def test_keyword_arguments_for_the_detector_do_not_disturb_the_recognizer():
    page, found = three_words()
    assert len(words_of(ocr_predictor(scripted(found), colour_reader())([page], bin_thresh=0.2))) == 3


# register()


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(zoo, "_predictor", zoo._predictor)
    monkeypatch.setattr(zoo, "ARCHS", list(zoo.ARCHS))
    return register()


@pytest.mark.slow
def test_register_teaches_doctrs_own_factories(registered, model, monkeypatch):
    assert {"clip4str_tiny", "clip4str_base16"} <= set(registered) <= set(zoo.ARCHS)
    asked = []
    loading = "clip4str_plugin.reading.torch_backend.load_model"
    monkeypatch.setattr(loading, lambda name, **_: asked.append(name) or model)
    predictor = doctr_ocr_predictor("fast_tiny", reco_arch="clip4str_base16", reco_bs=7, **UNTRAINED)
    assert asked == ["base16"]
    assert isinstance(predictor.reco_predictor, CLIP4STRPredictor)
    assert predictor.reco_predictor.recognizer.batch_size == 7
    small(predictor.det_predictor)
    predictor([three_words()[0]])
    kie = doctr_kie_predictor("fast_tiny", reco_arch="clip4str_tiny", **UNTRAINED)
    assert isinstance(kie.reco_predictor, CLIP4STRPredictor)
    alone = doctr.models.recognition_predictor("clip4str_tiny", pretrained=True)
    assert alone([np.zeros((20, 60, 3), np.uint8)])[0][1] >= 0


def test_register_takes_models_and_recognizers(registered, model):
    for arch in (model, Recognizer(model)):
        assert doctr.models.recognition_predictor(arch).model is model


def test_register_again_changes_nothing(registered):
    before, archs = zoo._predictor, list(zoo.ARCHS)
    assert register() == registered
    assert zoo._predictor is before
    assert archs == zoo.ARCHS


def test_register_leaves_doctrs_architectures_alone(registered):
    predictor = doctr.models.recognition_predictor("crnn_mobilenet_v3_small", **UNTRAINED)
    assert type(predictor).__name__ == "RecognitionPredictor"
    with pytest.raises(ValueError, match="unknown architecture 'nonsense'"):
        doctr.models.recognition_predictor("nonsense")


# docTR's detectors for us


# One of each family; the others differ in their backbones alone.
@pytest.mark.slow
@pytest.mark.parametrize("arch", ["fast_tiny", "db_mobilenet_v3_large", "linknet_resnet18"])
def test_every_family_of_doctrs_architectures_is_a_detector(arch, offline):
    detect = load_detector(f"doctr:{arch}", **UNTRAINED)
    small(detect.predictor)
    (found,) = detect([np.random.default_rng(0).integers(0, 255, (100, 150, 3), np.uint8)])
    assert found.granularity == "word"
    assert detect([]) == []


@cache
def fast_tiny(**options):
    return detector("fast_tiny", **options, **UNTRAINED)


class Located(nn.Module):
    """Stands for the network: gives relative boxes on the square canvas that docTR pads pages to."""

    def __init__(self, boxes, straight):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.boxes = boxes
        self.assume_straight_pages = straight

    def forward(self, batch, **kwargs):
        return {"preds": [{"words": np.array(self.boxes, np.float32)} for _ in batch]}


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(300, 600, 3), (600, 300, 3), (400, 400, 3)])
@pytest.mark.parametrize("symmetric", [True, False])
def test_boxes_come_back_in_pixels_of_the_page(shape, symmetric):
    height, width = shape[:2]
    side = max(height, width)
    offset = np.array([(side - width) / 2, (side - height) / 2]) if symmetric else np.zeros(2)
    quad = np.array([[40, 30], [140, 50], [135, 75], [35, 55]])
    relative = np.concatenate([(quad + offset) / side, [[0.6, 0.6]]])
    detect = fast_tiny(symmetric_pad=symmetric)
    detect.predictor.model = Located([relative], straight=False)
    (found,) = detect([np.zeros(shape, np.uint8)])
    np.testing.assert_allclose(found.polygons[0], quad, atol=0.01)
    np.testing.assert_allclose(found.scores, [0.6])

    straight = fast_tiny(symmetric_pad=symmetric, assume_straight_pages=True)
    straight.predictor.model = Located([[*relative[:4].min(0), *relative[:4].max(0), 0.6]], straight=True)
    (found,) = straight([np.zeros(shape, np.uint8)])
    np.testing.assert_allclose(found.polygons[0], [[35, 30], [140, 30], [140, 75], [35, 75]], atol=0.01)


@pytest.mark.slow
def test_detector_errors(monkeypatch):
    with pytest.raises(DetectorError, match=r"no detection architecture 'fast_giant'; it has .*fast_base"):
        detector("fast_giant")
    with pytest.raises(ImageError, match="uint8 RGB"):
        fast_tiny(symmetric_pad=True)([np.zeros((5, 5), np.uint8)])

    import urllib.error
    import urllib.request

    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(DetectorError, match=r"cannot get the weights of db_resnet34.*no route"):
        detector("db_resnet34")


def test_kie_classes_stay_apart():
    page, found = three_words()
    size = np.array([400, 300], np.float32)

    class TwoClasses(nn.Module):
        def forward(self, pages, **kwargs):
            rows = [np.concatenate([quad.min(0) / size, quad.max(0) / size, [score]]) for quad, score in found]
            return [{"name": np.array(rows[:1], np.float32), "sum": np.array(rows[1:], np.float32)} for _ in pages]

    predictor = KIEPredictor(TwoClasses(), recognition_predictor(colour_reader()))
    predictor.add_hook(lambda classes: {**classes, "sum": [boxes[1:] for boxes in classes["sum"]]})
    predictions = predictor([page]).pages[0].predictions
    assert {
        name: [(word.value, round(word.objectness_score, 4)) for word in words] for name, words in predictions.items()
    } == {"name": [("red", 0.91)], "sum": [("blue", 0.93)]}
