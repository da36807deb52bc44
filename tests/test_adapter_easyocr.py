"""The EasyOCR adapter against the installed EasyOCR: CRAFT's real weights as ONNX, random ones in EasyOCR's network.

EasyOCR downloads its weights. The same network's weights lie in the package torchfree-ocr, version 1.0.
"""

import cv2
import numpy as np
import pytest
import torch

from clip4str_plugin import load_detector
from clip4str_plugin.errors import DetectorError, ImageError
from tests.host_helpers import PHOTOS, colour_reader, network_refused, photo, put_text, real_reader

easyocr = pytest.importorskip("easyocr")
craft_module = pytest.importorskip("easyocr.detection")

from clip4str_adapters.easyocr import attach, detector  # noqa: E402


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    network_refused(monkeypatch)


@pytest.fixture(scope="module")
def craft():
    pytest.importorskip("torchfree_ocr")
    return load_detector("easyocr:onnx")


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("craft") / "craft.pth"
    torch.save(craft_module.CRAFT(pretrained=False).state_dict(), path)
    return path


def two_words():
    page = np.full((240, 600, 3), 255, np.uint8)
    return page, {"HELLO": put_text(page, "HELLO", (40, 80)), "WORLD": put_text(page, "WORLD", (250, 80))}


def test_craft_finds_words_where_they_are(craft):
    page, boxes = two_words()
    (found, blank) = craft([page, np.full((64, 50, 3), 255, np.uint8)])
    assert len(blank) == 0
    assert found.granularity == "word"
    assert len(found) == 2
    assert all(0.7 <= score <= 1 for score in found.scores)
    centres = np.array([polygon.mean(axis=0) for polygon in found.polygons])
    for box in boxes.values():
        assert np.abs(centres - box.mean(axis=0)).max(axis=1).min() < 10


def test_craft_splits_a_printed_page_into_words_that_are_read(craft):
    from clip4str_plugin import Reader

    document = Reader(craft, real_reader())([photo("printed_page.png")])
    words = document.render().split()
    assert len(words) > 30
    assert len({"determine", "markers", "background.", "segmentation", "histogram"} & set(words)) >= 3


def test_craft_on_text_at_45_degrees(craft):
    (found,) = craft([photo("railroad_crossing.png")])
    slopes = [abs((polygon[1] - polygon[0])[1] / (polygon[1] - polygon[0])[0]) for polygon in found.polygons]
    assert sum(0.5 < slope < 2 for slope in slopes) >= 2


def test_pages_are_shrunk_for_the_network_only(craft):
    page, boxes = two_words()
    large = cv2.resize(page, None, fx=4, fy=4)
    (found,) = load_detector("easyocr:onnx", canvas_size=1024)([large])
    centres = np.array([polygon.mean(axis=0) for polygon in found.polygons])
    for box in boxes.values():
        assert np.abs(centres - 4 * box.mean(axis=0)).max(axis=1).min() < 40


def test_easyocrs_own_network(random_weights):
    # Untrained, it finds what it finds; its maps must become polygons on the page.
    detect = detector(str(random_weights), text_threshold=0.0, low_text=0.0, link_threshold=-1.0)
    (found,) = detect([np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)])
    for polygon in found.polygons:
        assert (polygon >= 0).all()
        assert (polygon <= (128, 96)).all()
    maps = detect.network(np.zeros((1, 3, 64, 96), np.float32))
    assert maps.shape == (32, 48, 2)


def test_errors(tmp_path):
    with pytest.raises(DetectorError, match=r"no CRAFT weights 'nothing\.pth'"):
        detector("nothing.pth")
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"nothing")
    with pytest.raises(DetectorError, match="EasyOCR cannot load CRAFT"):
        detector(str(broken))
    with pytest.raises(ImageError, match="uint8 RGB"):
        load_detector("easyocr:onnx")([np.zeros((5, 5), np.uint8)])


# CLIP4STR inside EasyOCR


@pytest.fixture
def reader(craft, tmp_path):
    """An EasyOCR reader without downloads: its detector answers with CRAFT's ONNX network."""

    def build(recognizer):
        reader = easyocr.Reader(
            ["en"],
            gpu=False,
            detector=False,
            recognizer=False,
            verbose=False,
            model_storage_directory=str(tmp_path),
            user_network_directory=str(tmp_path),
            download_enabled=False,
        )

        class Network(torch.nn.Module):
            def forward(self, batch):
                return torch.from_numpy(craft.network(batch.numpy()))[None], None

        reader.detector = Network()
        reader.get_textbox = craft_module.get_textbox
        return attach(reader, recognizer)

    return build


def test_readtext_of_a_file(reader):
    lines = [text for _, text, _ in reader(real_reader()).readtext(str(PHOTOS / "printed_page.png"))]
    letters = "".join(lines).replace(" ", "")
    for word in ("segmentation", "determine", "markers", "histogram"):
        assert word in letters


def test_readtext_of_an_array_keeps_boxes_and_order(reader):
    page, boxes = two_words()
    result = reader(real_reader()).readtext(page, width_ths=0.01)
    assert [text for _, text, _ in result] == ["HELLO", "WORLD"]
    for quad, text, confidence in result:
        np.testing.assert_allclose(np.mean(quad, axis=0), boxes[text].mean(axis=0), atol=10)
        assert confidence == pytest.approx(0.97)
    assert reader(real_reader()).readtext(page, detail=0, width_ths=0.01) == ["HELLO", "WORLD"]
    assert reader(real_reader()).readtext(page, output_format="dict")[0]["confident"] == pytest.approx(0.97)
    assert reader(real_reader()).readtext(page, paragraph=True, x_ths=4.0)[0][1] == "HELLO WORLD"


def test_colours_survive(reader, tmp_path):
    page = np.full((200, 400, 3), 255, np.uint8)
    cv2.putText(page, "HELLO", (40, 120), cv2.FONT_HERSHEY_SIMPLEX, 2.5, (0, 0, 255), 9)  # red, as BGR
    assert [text for _, text, _ in reader(colour_reader()).readtext(page)] == ["red"]
    path = tmp_path / "red.png"
    cv2.imwrite(str(path), page)
    assert [text for _, text, _ in reader(colour_reader()).readtext(str(path))] == ["red"]


def test_recognize_alone(reader):
    crop = np.full((60, 300, 3), 255, np.uint8)
    put_text(crop, "HELLO", (10, 45))
    attached = reader(real_reader())
    assert [text for _, text, _ in attached.recognize(crop)] == ["HELLO"]
    grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
    assert attached.recognize(grey, [[0, 300, 0, 60]], [], reformat=False)[0][1] == "HELLO"
    assert attached.recognize(grey, [[5, 5, 5, 5]], [], reformat=False) == []
