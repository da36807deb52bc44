"""The programs in examples/ run as they are, each in its own process, without network; missing hosts are skipped."""

import importlib.util
import os
import subprocess
import sys
from difflib import SequenceMatcher
from pathlib import Path

import pytest
from PIL import Image

from tests.host_helpers import PHOTOS, install_layout_engine, paddle_detector, photo

EXAMPLES = Path(__file__).parent.parent / "examples"
PRINTED = str(PHOTOS / "printed_page.png")
# Long words of that page; the embedded model reads most of them.
WORDS = ("segmentation", "determine", "markers", "background", "histogram", "grey", "values")


def run(example, *args, **environment):
    """Run an example and return what it prints."""
    if importlib.util.find_spec(example.partition("_")[0]) is None:
        pytest.skip(f"{example.partition('_')[0]} is not installed")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment}
    command = [sys.executable, EXAMPLES / f"{example}.py", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def expect_printed_page(text):
    assert sum(word in text.lower() for word in WORDS) >= 4, text


@pytest.mark.slow
def test_doctr_predictor():
    assert len(run("doctr_predictor").splitlines()) >= 2


@pytest.mark.slow
def test_doctr_register():
    _, text = run("doctr_register").split()
    assert SequenceMatcher(None, text.upper(), "FIRE-RESCUE").ratio() > 0.7


@pytest.mark.slow
def test_rapidocr_text_rec():
    expect_printed_page(run("rapidocr_text_rec"))


@pytest.mark.slow
def test_onnxtr_predictor():
    expect_printed_page(run("onnxtr_predictor"))


def test_docling_convert(tmp_path):
    expect_printed_page(run("docling_convert", PRINTED, "whole_page", PYTHONPATH=str(install_layout_engine(tmp_path))))


def test_ocrmypdf_searchable(tmp_path):
    expect_printed_page(run("ocrmypdf_searchable", PRINTED, tmp_path / "out.pdf"))
    assert (tmp_path / "out.pdf").read_bytes().startswith(b"%PDF")


def test_easyocr_reader():
    expect_printed_page(run("easyocr_reader", PRINTED, "rapidocr"))
    if importlib.util.find_spec("torchfree_ocr") is not None:
        expect_printed_page(run("easyocr_reader", PRINTED, "easyocr:onnx"))


def test_paddleocr_pipeline(tmp_path):
    yaml = pytest.importorskip("yaml")
    if importlib.util.find_spec("paddlex") is None:
        pytest.skip("PaddleOCR 3 is not installed")
    detection = {
        "model_name": "PP-OCRv6_small_det",
        "model_dir": str(paddle_detector(tmp_path)),
        "engine": "onnxruntime",
        "limit_side_len": 736,
        "limit_type": "min",
    }
    config = {
        "pipeline_name": "OCR",
        "text_type": "general",
        "use_doc_preprocessor": False,
        "use_textline_orientation": False,
        "SubModules": {"TextDetection": detection, "TextRecognition": {}},
    }
    path = tmp_path / "ocr.yaml"
    path.write_text(yaml.safe_dump(config))
    no_check = {"PADDLE_PDX_DISABLE_MODEL_SOURCE_CHECK": "True"}
    expect_printed_page(run("paddleocr_pipeline", PRINTED, path, **no_check))


def test_deepdoctection_pipeline(tmp_path):
    Image.fromarray(photo("printed_page.png")).save(tmp_path / "page.png")
    expect_printed_page(run("deepdoctection_pipeline", tmp_path))


def test_ray_folder(tmp_path):
    (tmp_path / "scans").mkdir()
    Image.fromarray(photo("printed_page.png")).save(tmp_path / "scans" / "page.png")
    text = run("ray_folder", tmp_path / "scans", tmp_path / "out")
    assert "Totals(pages=1, errors=0, files_done=0)" in text
    expect_printed_page(text)


def test_every_example_is_run_here_or_elsewhere():
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    elsewhere = {"finetune_french"}
    assert {path.stem for path in EXAMPLES.glob("*.py")} <= tested | elsewhere
