"""The docling adapter against the installed docling: a scanned PDF through docling's own converter to Markdown.

docling's layout network cannot be had offline. In its place stands a plugin that calls the whole page text, found
through the same entry points; all else is docling's.
"""

import os
import subprocess
import sys
import sysconfig
from dataclasses import fields
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.host_helpers import (
    colour_reader,
    install_layout_engine,
    network_refused,
    photo,
    put_text,
    real_reader,
)

pytest.importorskip("docling.pipeline.standard_pdf_pipeline")

from docling.backend.pypdfium2_backend import PyPdfiumDocumentBackend
from docling.datamodel.base_models import InputFormat
from docling.datamodel.pipeline_options import OcrMode, PdfPipelineOptions
from docling.document_converter import DocumentConverter, PdfFormatOption
from docling.models.factories import get_layout_factory, get_ocr_factory

from clip4str_adapters.docling import ClipOcrModel, ClipOcrOptions
from clip4str_plugin import Detections, Reader
from clip4str_plugin.options import ReadOptions, RecognizerOptions

PLACES = {"HELLO": (60, 120), "WORLD": (420, 120), "AGAIN": (200, 700)}


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """Install the layout plugin, as pip would."""
    folder = install_layout_engine(tmp_path_factory.mktemp("plugin"))
    sys.path.insert(0, str(folder))
    get_layout_factory.cache_clear()
    get_ocr_factory.cache_clear()
    import thirdparty_whole_page

    yield thirdparty_whole_page.WholePageOptions
    sys.path.remove(str(folder))
    get_layout_factory.cache_clear()
    get_ocr_factory.cache_clear()


@pytest.fixture
def reading(monkeypatch):
    """Let the engine read with the given recognizer, and note what was asked for."""
    asked = []

    def use(recognizer, detector="rapidocr"):
        def shared_reader(*named, **options):
            asked.append((*named, options))
            return Reader(detector, recognizer, min_confidence=options["min_confidence"])

        monkeypatch.setattr("clip4str_adapters.docling_engine.shared_reader", shared_reader)
        return asked

    return use


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A scanned letter page of 150 dpi as a PDF without text, and where its words are, in points."""
    page = np.full((1650, 1275, 3), 255, np.uint8)
    boxes = {text: put_text(page, text, place, 1.6, 3) * 72 / 150 for text, place in PLACES.items()}
    path = tmp_path_factory.mktemp("scan") / "scan.pdf"
    Image.fromarray(page).save(path, resolution=150)
    return path, boxes


def convert(path, layout, parts=1, **options):
    pipeline = PdfPipelineOptions(
        do_ocr=True,
        do_table_structure=False,
        allow_external_plugins=True,
        generate_parsed_pages=True,
        ocr_options=ClipOcrOptions(**options),
        layout_options=layout(parts=parts),
    )
    source = PdfFormatOption(pipeline_options=pipeline, backend=PyPdfiumDocumentBackend)
    return DocumentConverter(format_options={InputFormat.PDF: source}).convert(path)


@pytest.mark.parametrize(("mode", "parts"), [(OcrMode.FULL_PAGE, 1), (OcrMode.DEFAULT, 1), (OcrMode.LAYOUT_REGIONS, 2)])
def test_a_scanned_pdf_becomes_markdown_with_text_in_place(layout, reading, scan, mode, parts, monkeypatch):
    network_refused(monkeypatch)
    reading(real_reader(char_confidence=0.8))
    path, boxes = scan
    result = convert(path, layout, parts, mode=mode)
    assert result.document.export_to_markdown().split() == ["HELLO", "WORLD", "AGAIN"]
    # With several parts, each is read on its own, and its offset must come back.
    cells = {cell.text: cell.rect.to_bounding_box() for page in result.pages for cell in page.cells}
    np.testing.assert_allclose(cells["AGAIN"].as_tuple(), [*boxes["AGAIN"][0], *boxes["AGAIN"][2]], atol=5)


def test_cells_are_lines_in_reading_order_in_points_of_the_page(layout, reading, scan):
    path, boxes = scan
    regions = [boxes[text].copy() for text in PLACES]
    regions[0][1:3, 0] = boxes["WORLD"][0, 0] - 20  # near enough for one line

    def detect(pages):
        return [Detections([region * page.shape[0] / 792 for region in regions], [0.9] * 3) for page in pages]

    reading(real_reader(char_confidence=0.8), detect)
    result = convert(path, layout, mode=OcrMode.FULL_PAGE)
    cells = [cell for page in result.pages for cell in page.cells]
    assert [cell.text for cell in cells] == ["HELLO WORLD", "AGAIN"]
    assert [cell.index for cell in cells] == [0, 1]
    assert all(cell.from_ocr and cell.confidence == pytest.approx(0.8) for cell in cells)
    first = cells[0].rect.to_bounding_box()
    assert first.coord_origin.value == "TOPLEFT"
    np.testing.assert_allclose(first.as_tuple(), [*boxes["HELLO"][0], *boxes["WORLD"][2]], atol=5)


def test_a_real_printed_page(layout, reading, tmp_path):
    reading(real_reader())
    path = tmp_path / "page.pdf"
    Image.fromarray(photo("printed_page.png")).save(path, resolution=72)
    text = convert(path, layout, mode=OcrMode.FULL_PAGE, scale=2.0).document.export_to_markdown()
    expected = "Region-based segmentation Let us first determine markers of the coins and the background."
    assert SequenceMatcher(None, expected.replace(" ", ""), text.replace(" ", "")[: len(expected)]).ratio() > 0.8


def test_options_reach_the_reader(layout, reading, scan):
    asked = reading(colour_reader())
    convert(scan[0], layout, mode=OcrMode.FULL_PAGE, model="base16", detector="doctr", device="cpu", batch_size=7)
    ((detector, model, options),) = asked
    assert (detector, model, options["device"], options["batch_size"]) == ("doctr", "base16", "cpu", 7)
    assert set(options) == {f.name for f in (*fields(RecognizerOptions), *fields(ReadOptions))} - {"page_batch_size"}
    result = convert(scan[0], layout, mode=OcrMode.FULL_PAGE, min_confidence=0.7)
    assert result.document.export_to_markdown() == ""
    with pytest.raises(ValueError, match="extra"):
        ClipOcrOptions(nonsense=1)


def test_the_model_is_loaded_once_a_process(monkeypatch):
    from clip4str_adapters import _common
    from clip4str_plugin.reading import recognizer

    built = []
    monkeypatch.setattr(recognizer, "as_recognizer", lambda *args, **kwargs: built.append(args) or colour_reader())
    monkeypatch.setattr(_common, "_readers", {})
    readers = {id(_common.shared_reader("rapidocr", "tiny", batch_size=8)) for _ in range(3)}
    assert len(readers) == 1
    assert built.count(("tiny",)) == 1
    _common.shared_reader("rapidocr", "tiny", batch_size=9)
    assert built.count(("tiny",)) == 2


def test_disabled_ocr_loads_and_reads_nothing(layout, scan, monkeypatch):
    def refuse(*args, **options):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("clip4str_adapters.docling_engine.shared_reader", refuse)
    pipeline = PdfPipelineOptions(
        do_ocr=False,
        do_table_structure=False,
        allow_external_plugins=True,
        ocr_options=ClipOcrOptions(),
        layout_options=layout(),
    )
    source = PdfFormatOption(pipeline_options=pipeline, backend=PyPdfiumDocumentBackend)
    assert DocumentConverter(format_options={InputFormat.PDF: source}).convert(scan[0]).document.texts == []


def test_docling_finds_the_engine_by_name_but_only_if_plugins_are_allowed(layout):
    assert "clip4str" in get_ocr_factory(allow_external_plugins=True).registered_kind
    assert "clip4str" not in get_ocr_factory(allow_external_plugins=False).registered_kind
    options = get_ocr_factory(allow_external_plugins=True).create_options("clip4str")
    assert type(options) is ClipOcrOptions
    assert ClipOcrModel.get_options_type() is ClipOcrOptions


def test_plugin_module_is_light():
    code = "import sys, clip4str_adapters.docling; print(sorted({'torch', 'docling', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_doclings_command_line(layout, scan, tmp_path):
    command = [
        Path(sysconfig.get_path("scripts")) / "docling",
        "--allow-external-plugins",
        *("--ocr-engine", "clip4str", "--ocr-mode", "full_page"),
        *("--ocr-option", "model=tiny"),
        *("--layout-engine", "whole_page", "--no-tables", "--pdf-backend", "pypdfium2"),
        *("--to", "md", "--output", tmp_path),
        scan[0],
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(sys.modules[layout.__module__].__file__).parent)}
    shown = subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment)
    assert shown.returncode == 0, shown.stderr
    assert (tmp_path / "scan.md").read_text().split() == ["HELLO", "WORLD", "AGAIN"]
