"""CLIP4STR as the recognizer of an EasyOCR reader.

EasyOCR's detector, CRAFT, is downloaded once. With DETECTOR the regions come from one of ours instead, without network:
"rapidocr", or "easyocr:onnx", which is CRAFT in the package torchfree-ocr.

    python examples/easyocr_reader.py [PHOTO [DETECTOR]]
"""

import sys
from pathlib import Path

import cv2
import easyocr

from clip4str_adapters.easyocr import attach
from clip4str_plugin import load_detector

photo = sys.argv[1] if len(sys.argv) > 1 else str(Path(__file__).parent / "photos" / "printed_page.png")
detector = sys.argv[2] if len(sys.argv) > 2 else None

reader = attach(easyocr.Reader(["en"], gpu=False, detector=detector is None, recognizer=False, verbose=False), "tiny")
if detector is None:
    lines = reader.readtext(photo)
else:
    (found,) = load_detector(detector)([cv2.cvtColor(cv2.imread(photo), cv2.COLOR_BGR2RGB)])
    lines = reader.recognize(photo, horizontal_list=[], free_list=[quad.tolist() for quad in found.polygons])
for _, text, confidence in lines:
    print(f"{confidence:.2f}  {text}")
