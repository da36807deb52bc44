"""A scan to a searchable PDF with OCRmyPDF, read by CLIP4STR; on the command line ``--ocr-engine clip4str``.

python examples/ocrmypdf_searchable.py [PDF_OR_PHOTO [TARGET]]
"""

import sys
from pathlib import Path

import ocrmypdf

source = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "photos" / "printed_page.png"
target = Path(sys.argv[2] if len(sys.argv) > 2 else "searchable.pdf")

if __name__ == "__main__":  # OCRmyPDF starts processes
    text = target.with_suffix(".txt")
    ocrmypdf.ocr(source, target, ocr_engine="clip4str", clip4str_model="tiny", sidecar=text, image_dpi=100)
    print(text.read_text())
