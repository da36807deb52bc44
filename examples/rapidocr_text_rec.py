"""CLIP4STR as the recognizer of RapidOCR: three lines more than RapidOCR alone.

Run it with the path of a photo, or without one for a photo of this folder:

    python examples/rapidocr_text_rec.py [PHOTO]
"""

import sys
from pathlib import Path

from rapidocr import RapidOCR

from clip4str_adapters.rapidocr import text_recognizer

photo = sys.argv[1] if len(sys.argv) > 1 else str(Path(__file__).parent / "photos" / "printed_page.png")

engine = RapidOCR(params={"Global.use_cls": False, "Global.log_level": "warning"})
engine.text_rec = text_recognizer("tiny")

result = engine(photo)
for text, score in zip(result.txts or (), result.scores or ()):
    print(f"{score:.2f}  {text}")
