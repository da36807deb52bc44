"""CLIP4STR inside OnnxTR's OCR predictor.

OnnxTR's detectors ("fast_base", "db_resnet50", ...) download their weights once; RapidOCR's needs no network.

    python examples/onnxtr_predictor.py [PHOTO [DETECTOR]]
"""

import sys
from pathlib import Path

from onnxtr.io import DocumentFile

from clip4str_adapters.onnxtr import ocr_predictor

photo = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "photos" / "printed_page.png"
detector = sys.argv[2] if len(sys.argv) > 2 else "rapidocr"

predictor = ocr_predictor(detector, "tiny")
print(predictor(DocumentFile.from_images(photo)).render())
