"""The deepdoctection adapter against the installed deepdoctection: its pipelines, its analyzer, its docTR wrappers."""

import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from clip4str_plugin import Detections, Reader
from tests.host_helpers import colour_reader, network_refused, photo, put_text, real_reader

dd = pytest.importorskip("deepdoctection")

from clip4str_adapters.deepdoctection import attach, ocr_detector, text_recognizer, word_detector  # noqa: E402

PLACES = {"HELLO": (60, 120), "WORLD": (300, 120), "AGAIN": (60, 400)}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    network_refused(monkeypatch)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A folder with one page, and where its words are, in pixels."""
    page = np.full((500, 700, 3), 255, np.uint8)
    boxes = {text: put_text(page, text, place) for text, place in PLACES.items()}
    folder = tmp_path_factory.mktemp("scans")
    Image.fromarray(page).save(folder / "page.png")
    return folder, boxes


def two_stages(recognizer, detector="rapidocr", **options):
    """Find words in one component and read them in another."""
    return [
        dd.ImageLayoutService(word_detector(detector), to_image=True, crop_image=True),
        dd.TextExtractionService(text_recognizer(recognizer, **options), extract_from_roi="word"),
    ]


def one_stage(recognizer, detector="rapidocr"):
    return [dd.TextExtractionService(ocr_detector(detector, recognizer))]


def analyze(components, path):
    order = dd.TextOrderService(text_container="word", include_residual_text_container=True)
    flow = dd.DoctectionPipe([*components, order]).analyze(path=path)
    flow.reset_state()
    return list(flow)


@pytest.mark.parametrize("stages", [one_stage, two_stages])
def test_words_are_found_and_read_in_their_places(stages, scans):
    folder, boxes = scans
    (page,) = analyze(stages(real_reader(char_confidence=0.8)), folder)
    words = {word.characters: word for word in page.words}
    assert set(words) == set(PLACES)
    for text, word in words.items():
        np.testing.assert_allclose(word.bbox, [*boxes[text][0], *boxes[text][2]], atol=8)
        assert word.get_sub_category(dd.WordKey.CHARACTERS).score == pytest.approx(0.8)
    assert page.text.split() == ["HELLO", "WORLD", "AGAIN"]


@pytest.mark.parametrize("stages", [one_stage, two_stages])
@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_colours_reach_the_recognizer_in_their_order(stages, suffix, tmp_path):
    page = np.full((200, 400, 3), 255, np.uint8)
    page[60:120, 50:350] = (255, 0, 0)  # red, as RGB
    box = np.array([[50, 60], [350, 60], [350, 120], [50, 120]], np.float32)

    def detect(pages):
        assert tuple(pages[0][0, 0]) == (255, 255, 255)
        return [Detections([box * (page.shape[1] / 400)], [0.9]) for page in pages]

    path = tmp_path / f"page.{suffix}"
    Image.fromarray(page).save(path, resolution=72)
    (read,) = analyze(stages(colour_reader(), detect), path if suffix == "pdf" else tmp_path)
    assert [word.characters for word in read.words] == ["red"]


def test_a_real_printed_page(tmp_path):
    Image.fromarray(photo("printed_page.png")).save(tmp_path / "page.png")
    (page,) = analyze(one_stage(real_reader()), tmp_path)
    assert {"segmentation", "determine", "markers", "histogram"} <= set(page.text.split())


def test_the_whole_reader_reads_turned_words_as_we_do(tmp_path):
    page = photo("railroad_crossing.png")
    Image.fromarray(page).save(tmp_path / "page.png")
    reader = real_reader()
    (expected,) = Reader("rapidocr", reader).stream([page])
    (read,) = analyze(one_stage(reader), tmp_path)
    assert sorted(word.characters for word in read.words) == sorted(word.text for word in expected.words)


def test_lines_can_be_regions(scans):
    line = np.full((60, 420, 3), 255, np.uint8)
    put_text(line, "HELLO", (10, 45))
    put_text(line, "WORLD", (220, 45))
    results = text_recognizer(real_reader(), granularity="line").predict([("a", line), ("b", line[:, :200])])
    assert [(result.uuid, result.text) for result in results] == [("a", "HELLO WORLD"), ("b", "HELLO")]
    assert text_recognizer(real_reader()).predict([]) == []


def test_regions_that_lie_beside_the_page_are_left_out():
    boxes = [np.array([[x, 10], [x + 40, 10], [x + 40, 30], [x, 30]], np.float32) for x in (10, 60, 500)]
    page = np.full((50, 120, 3), 255, np.uint8)
    for build in (lambda detect: word_detector(detect), lambda detect: ocr_detector(detect, colour_reader())):
        found = build(lambda pages: [Detections(boxes, [0.9] * 3)]).predict(page)
        assert [result.box[0] for result in found] == [10, 60]
        assert all(0 <= value <= 120 for result in found for value in result.box)


def test_an_unreadable_page_has_no_words(scans):
    def fail(pages):
        raise RuntimeError("out of order")

    (page,) = analyze(one_stage(colour_reader(), fail), scans[0])
    assert page.words == []


def test_copies_share_the_model(scans):
    recognizer = real_reader()
    components = two_stages(recognizer)
    copies = [component.clone() for component in components]
    assert copies[1].predictor is not components[1].predictor
    assert copies[1].predictor.recognizer is recognizer
    (page,) = analyze(copies, scans[0])
    assert {word.characters for word in page.words} == set(PLACES)
    whole = ocr_detector("rapidocr", recognizer)
    assert whole.clone().reader is whole.reader
    assert whole.clone().model_id == whole.model_id


# attach


@pytest.fixture(scope="module")
def doctr_weights(tmp_path_factory):
    """Random weights of docTR's recognizer, as deepdoctection wants them: in a file."""
    import torch
    from doctr.models import recognition

    path = tmp_path_factory.mktemp("weights") / "crnn.pt"
    model = recognition.crnn_mobilenet_v3_small(pretrained=False, pretrained_backbone=False)
    torch.save(model.state_dict(), path)
    return path


def test_attach_replaces_docTRs_recognizer(scans, doctr_weights, monkeypatch):  # noqa: N802
    from deepdoctection.extern.doctrocr import DoctrTextRecognizer
    from doctr.models import recognition

    # deepdoctection asks for a backbone to be downloaded, only to load other weights afterwards.
    build = recognition.crnn_mobilenet_v3_small
    monkeypatch.setitem(
        recognition.__dict__, "crnn_mobilenet_v3_small", lambda **options: build(pretrained_backbone=False)
    )
    doctr = DoctrTextRecognizer("crnn_mobilenet_v3_small", doctr_weights, "cpu")
    own = dd.TextExtractionService(doctr, extract_from_roi="word")
    finder = dd.ImageLayoutService(word_detector(), to_image=True, crop_image=True)
    analyzer = dd.DoctectionPipe([finder, own])
    assert attach(analyzer, real_reader()) is analyzer
    assert analyzer.pipe_component_list[0] is finder
    (page,) = analyze(analyzer.pipe_component_list, scans[0])
    assert {word.characters for word in page.words} == set(PLACES)


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="deepdoctection builds this analyzer only with Tesseract")
def test_attach_to_deepdoctections_own_analyzer(scans):
    off = ["USE_LAYOUT", "USE_TABLE_SEGMENTATION", "USE_TABLE_REFINEMENT", "USE_PDF_MINER", "USE_ROTATOR"]
    settings = [f"{name}=False" for name in off] + ["USE_OCR=True", "OCR.USE_TESSERACT=True", "OCR.USE_DOCTR=False"]
    analyzer = attach(dd.get_dd_analyzer(config_overwrite=settings), real_reader())
    flow = analyzer.analyze(path=scans[0])
    flow.reset_state()
    (page,) = flow
    assert page.text.split() == ["HELLO", "WORLD", "AGAIN"]


def test_attach_keeps_filters_and_wants_something_to_replace(scans):
    service = dd.TextExtractionService(ocr_detector("rapidocr", colour_reader()))
    service.set_inbound_filter(lambda dp: True)
    analyzer = attach(dd.DoctectionPipe([service]), real_reader())
    (page,) = analyze(analyzer.pipe_component_list, scans[0])
    assert page.words == []
    with pytest.raises(TypeError, match="built with USE_OCR=True"):
        attach(dd.DoctectionPipe([]), real_reader())
    with pytest.raises(TypeError, match="object has no component that reads"):
        attach(object(), real_reader())


def test_crops_are_the_pixels_of_the_page(scans):
    reader = real_reader()
    analyze(two_stages(reader), scans[0])
    heights = [shape[0] for shape in reader.shapes]
    size = cv2.getTextSize("HELLO", cv2.FONT_HERSHEY_SIMPLEX, 1.5, 3)[0]
    assert all(size[1] <= height <= 2 * size[1] for height in heights)
