"""CLIP4STR in a pipeline of deepdoctection's: words found and read, then put into order.

An analyzer that exists already takes it too: ``attach(dd.get_dd_analyzer(...), "tiny")`` from the same module.

    python examples/deepdoctection_pipeline.py [PDF_OR_FOLDER [DETECTOR]]
"""

import sys
from pathlib import Path

import deepdoctection as dd

from clip4str_adapters.deepdoctection import ocr_detector

source = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "photos"
detector = sys.argv[2] if len(sys.argv) > 2 else "rapidocr"

pipeline = dd.DoctectionPipe(
    [
        dd.TextExtractionService(ocr_detector(detector, "tiny")),
        dd.TextOrderService(text_container="word", include_residual_text_container=True),
    ]
)
pages = pipeline.analyze(path=source)
pages.reset_state()
for page in pages:
    print(f"--- {page.file_name}")
    print(page.text)
