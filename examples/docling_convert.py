"""A scan to Markdown with docling, read by CLIP4STR.

docling's layout model is downloaded once. LAYOUT names another layout engine of docling's or of a plugin.

    python examples/docling_convert.py [PDF_OR_PHOTO [LAYOUT]]
"""

import sys
from pathlib import Path

from docling.datamodel.base_models import InputFormat
from docling.datamodel.pipeline_options import OcrMode, PdfPipelineOptions
from docling.document_converter import DocumentConverter, ImageFormatOption, PdfFormatOption
from docling.models.factories import get_layout_factory

from clip4str_adapters.docling import ClipOcrOptions

source = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "photos" / "printed_page.png"

options = PdfPipelineOptions(
    allow_external_plugins=True,
    ocr_options=ClipOcrOptions(model="tiny", mode=OcrMode.FULL_PAGE),
    do_table_structure=False,
)
if len(sys.argv) > 2:
    options.layout_options = get_layout_factory(allow_external_plugins=True).create_options(sys.argv[2])
formats = {
    InputFormat.PDF: PdfFormatOption(pipeline_options=options),
    InputFormat.IMAGE: ImageFormatOption(pipeline_options=options),
}
print(DocumentConverter(format_options=formats).convert(source).document.export_to_markdown())
