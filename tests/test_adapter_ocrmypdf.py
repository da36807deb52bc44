"""The OCRmyPDF adapter against the installed OCRmyPDF: PDFium finds the text of a scan in its place."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pypdfium2
import pytest
from PIL import Image

from clip4str_plugin import Detections, Reader
from clip4str_plugin.reading.detectors import orient_detections
from clip4str_plugin.reading.line_reading import LineReading, WordReading
from tests.host_helpers import Reader as FakeRecognizer
from tests.host_helpers import put_text, real_reader
from tests.test_writers import pdfium_words, pdfminer_words, poppler_words, printed_page

ocrmypdf = pytest.importorskip("ocrmypdf")

from ocrmypdf._plugin_manager import get_plugin_manager  # noqa: E402

from clip4str_adapters.ocrmypdf import Clip4StrOptions  # noqa: E402
from clip4str_adapters.ocrmypdf_engine import ClipOcrEngine, page_orientation  # noqa: E402

PLACES = {"HELLO": (60, 200), "WORLD": (260, 200), "AGAIN": (150, 500)}


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A page of 100 dpi without text, and where its words are, in pixels."""
    page = np.full((800, 600, 3), 255, np.uint8)
    boxes = {text: put_text(page, text, place, 1.5, 3) for text, place in PLACES.items()}
    path = tmp_path_factory.mktemp("scan") / "scan.pdf"
    Image.fromarray(page).save(path, resolution=100)
    return path, page, boxes


@pytest.fixture
def reading(monkeypatch, scan):
    """Let the engine find the scan's words where they are and read them for real; note what was asked for."""
    asked = []
    boxes = list(scan[2].values())

    def detect(pages):
        return [Detections([box * (page.shape[0] / 800) for box in boxes], [0.9] * 3) for page in pages]

    reader = Reader(detect, real_reader(char_confidence=0.8))
    monkeypatch.setattr(
        "clip4str_adapters.ocrmypdf_engine.shared_reader", lambda *settings, **options: asked.append(settings) or reader
    )
    return asked


def words_in(path):
    """The words of a PDF's first page as PDFium finds them, with boxes in points from the top left."""
    page = pypdfium2.PdfDocument(path)[0]
    text_page, words, start = page.get_textpage(), {}, None
    text = text_page.get_text_range()
    for index, character in enumerate(text + " "):
        if not character.isspace():
            start = index if start is None else start
        elif start is not None:
            boxes = np.array([text_page.get_charbox(place) for place in range(start, index)])
            (left, bottom), (right, top) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
            words[text[start:index]] = (left, page.get_height() - top, right, page.get_height() - bottom)
            start = None
    return words


def test_a_scan_becomes_searchable_with_the_text_in_place(reading, scan, tmp_path):
    path, _, boxes = scan
    target, sidecar = tmp_path / "out.pdf", tmp_path / "out.txt"
    ocrmypdf.ocr(
        path,
        target,
        ocr_engine="clip4str",
        clip4str_model="base16",
        sidecar=sidecar,
        output_type="pdf",
        optimize=0,
        progress_bar=False,
        jobs=1,
        use_threads=True,
    )
    words = words_in(target)
    assert set(words) == set(PLACES)
    for text, box in boxes.items():
        left, top, right, bottom = words[text]
        assert (left, right) == pytest.approx((box[0, 0] * 0.72, box[1, 0] * 0.72), abs=4)
        assert (top + bottom) / 2 == pytest.approx(box[:, 1].mean() * 0.72, abs=10)
    assert sidecar.read_text().split() == ["HELLO", "WORLD", "AGAIN"]
    assert {settings[1] for settings in reading} == {"base16"}


@pytest.mark.parametrize("gap", [0, 8])
@pytest.mark.parametrize("angle", [0, 2, -2, 90])
def test_words_blanks_and_order_for_all_who_take_text_out(angle, gap, tmp_path, monkeypatch):
    page = printed_page(angle, gap)
    monkeypatch.setattr("clip4str_adapters.ocrmypdf_engine._read", lambda path, options: page)
    Image.fromarray(page.image).save(tmp_path / "scan.pdf", resolution=150)
    options = {"output_type": "pdf", "optimize": 0, "progress_bar": False, "jobs": 1, "use_threads": True}
    ocrmypdf.ocr(tmp_path / "scan.pdf", tmp_path / "out.pdf", ocr_engine="clip4str", **options)
    content, words = (tmp_path / "out.pdf").read_bytes(), [word.text for word in page.words]
    assert pdfium_words(content) == words
    assert pdfminer_words(content) == words
    if shutil.which("pdftotext"):
        assert poppler_words(content) == words, "no word is torn, none runs into the next"


@pytest.mark.parametrize("engine", ["clip4str", "auto"])
def test_tesseract_is_needed_only_where_it_reads(scan, tmp_path, engine):
    target = tmp_path / "out.pdf"
    (tmp_path / "bin").mkdir()
    command = [sys.executable, "-m", "ocrmypdf", "--ocr-engine", engine, "--clip4str-model", "tiny", scan[0], target]
    environment = {**os.environ, "PATH": str(tmp_path / "bin"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command], capture_output=True, text=True, timeout=500, env=environment)
    if engine == "auto":
        assert done.returncode != 0
        assert "tesseract" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert set(words_in(target)) == set(PLACES)


def test_the_tree_has_positions_and_confidences(reading, scan, tmp_path):
    class Options:
        clip4str = Clip4StrOptions()

    path = tmp_path / "page.png"
    Image.fromarray(scan[1]).save(path, dpi=(100, 100))
    tree, text = ClipOcrEngine.generate_ocr(path, Options(), page_number=3)
    assert tree.page_number == 3
    assert tree.dpi == pytest.approx(100, abs=0.1)
    assert (tree.bbox.right, tree.bbox.bottom) == (600, 800)
    assert [word.text for word in tree.words] == text.split() == ["HELLO", "WORLD", "AGAIN"]
    for word in tree.words:
        assert word.confidence == pytest.approx(0.8)
        box = scan[2][word.text]
        assert (word.bbox.left, word.bbox.top) == pytest.approx(tuple(box[0]), abs=1)
    ClipOcrEngine.generate_hocr(path, tmp_path / "page.hocr", tmp_path / "page.txt", Options())
    assert "HELLO" in (tmp_path / "page.hocr").read_text()
    assert (tmp_path / "page.txt").read_text() == text


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="asks Tesseract for its version")
def test_tesseract_still_reads_where_it_is_asked_to(scan, tmp_path):
    target = tmp_path / "out.pdf"
    ocrmypdf.ocr(scan[0], target, ocr_engine="tesseract", output_type="pdf", optimize=0, progress_bar=False, jobs=1)
    assert set(words_in(target)) == set(PLACES)


def test_tesseract_stays_the_default():
    manager = get_plugin_manager([])
    parser = ocrmypdf.cli.get_parser()
    manager.add_options(parser=parser)

    class Options:
        ocr_engine = "auto"

    assert type(manager.get_ocr_engine(options=Options())).__name__ == "TesseractOcrEngine"
    Options.ocr_engine = "clip4str"
    assert type(manager.get_ocr_engine(options=Options())).__name__ == "ClipOcrEngine"
    assert parser.parse_args(["a.pdf", "b.pdf"]).ocr_engine == "auto"
    assert parser.parse_args(["--ocr-engine", "clip4str", "--clip4str-batch-size", "8", "a.pdf", "b.pdf"])


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_orientation(turn, monkeypatch):
    # Upright crops of this page are dark at their left end; the reader is sure of those alone.
    page = np.full((300, 400, 3), 255, np.uint8)
    quads = []
    for top in (30, 90, 150, 210):
        page[top : top + 30, 40:340] = (200, 200, 200)
        page[top : top + 30, 40:100] = 0
        quads.append(np.array([[40, top], [340, top], [340, top + 30], [40, top + 30]], np.float32))
    turned = np.ascontiguousarray(np.rot90(page, -turn // 90))
    rotated = []
    for x, y in (quad.T for quad in quads):
        moved = {0: (x, y), 90: (300 - y, x), 180: (400 - x, 300 - y), 270: (y, 400 - x)}[turn]
        rotated.append(np.stack(moved, axis=1))

    class Sure(FakeRecognizer):
        def stream(self, crops, color="rgb"):
            for crop in crops:
                left = crop[:, : crop.shape[1] // 6].mean() < 50
                self.char_confidence = 0.95 if left else 0.3
                yield from super().stream([crop], color)

    reader = Reader(lambda pages: [orient_detections(rotated, [0.9] * 4, "line")], Sure(lambda crop: "x"))
    monkeypatch.setattr(
        "clip4str_adapters.ocrmypdf_engine.read_lines",
        lambda recognizer, crops, orientation: [
            LineReading((WordReading(read, 0.0, 1.0),)) for read in recognizer.stream(crops)
        ],
    )
    angle, evidence = page_orientation(reader, turned)
    assert angle == turn
    assert evidence > 14
