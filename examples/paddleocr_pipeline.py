"""CLIP4STR as the recognizer of PaddleOCR 3, by name; PaddleOCR's own is not even downloaded.

Its detector is downloaded once, unless CONFIG, a PaddleX pipeline file, says where one lies. With PaddleOCR 2, and with
objects that exist already: ``attach(PaddleOCR(), "tiny")`` from the same module.

    python examples/paddleocr_pipeline.py [PHOTO [CONFIG]]
"""

import sys
from pathlib import Path

from paddleocr import PaddleOCR

from clip4str_adapters.paddleocr import register

photo = sys.argv[1] if len(sys.argv) > 1 else str(Path(__file__).parent / "photos" / "printed_page.png")
options = register("tiny")
if len(sys.argv) > 2:
    options["paddlex_config"] = sys.argv[2]

ocr = PaddleOCR(use_doc_orientation_classify=False, use_doc_unwarping=False, use_textline_orientation=False, **options)
for page in ocr.predict(photo):
    for text, score in zip(page["rec_texts"], page["rec_scores"]):
        print(f"{score:.2f}  {text}")
