"""CLIP4STR inside docTR's OCR predictor, reading words at any angle.

docTR's detectors ("fast_base", "db_resnet50", ...) download their weights once; RapidOCR's needs no network.

    python examples/doctr_predictor.py [PHOTO [DETECTOR]]
"""

import sys
from pathlib import Path

from doctr.io import DocumentFile

from clip4str_adapters.doctr import ocr_predictor

photo = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "photos" / "railroad_crossing.png"
detector = sys.argv[2] if len(sys.argv) > 2 else "rapidocr"

predictor = ocr_predictor(detector, "clip4str_tiny", pretrained=True, assume_straight_pages=False)
document = predictor(DocumentFile.from_images(photo))

for block in document.pages[0].blocks:
    for line in block.lines:
        for word in line.words:
            print(f"{word.confidence:.2f}  {word.value}")
