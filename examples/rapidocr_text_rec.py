"""CLIP4STR as the recognizer of RapidOCR: two lines more than RapidOCR alone.

Run it with the path of a photo, or without one for a photo of this folder:

    python examples/rapidocr_text_rec.py [PHOTO]
"""

import sys
from pathlib import Path

from rapidocr import RapidOCR

from clip4str_adapters.rapidocr import attach

photo = sys.argv[1] if len(sys.argv) > 1 else str(Path(__file__).parent / "photos" / "printed_page.png")

ocr = attach(RapidOCR(params={"Global.use_cls": False, "Global.log_level": "warning"}), "tiny")

result = ocr(photo)
for text, score in zip(result.txts or (), result.scores or ()):
    print(f"{score:.2f}  {text}")
