"""docling: CLIP4STR as an OCR engine, found through docling's plugin system.

>>> from docling.datamodel.pipeline_options import PdfPipelineOptions  # doctest: +SKIP
>>> from clip4str_adapters.docling import ClipOcrOptions  # doctest: +SKIP
>>> options = PdfPipelineOptions(allow_external_plugins=True, ocr_options=ClipOcrOptions())  # doctest: +SKIP

On the command line: ``docling --allow-external-plugins --ocr-engine clip4str scan.pdf``.

docling imports this module whenever it starts, so it must not load anything: the engine is in
`clip4str_adapters.docling_engine`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clip4str_adapters.docling_engine import ClipOcrModel, ClipOcrOptions

__all__ = ["HOST", "ClipOcrModel", "ClipOcrOptions", "ocr_engines"]

HOST = "docling"


def ocr_engines() -> dict[str, list[type]]:
    """Tell docling which OCR engines this plugin brings."""
    from clip4str_adapters.docling_engine import ClipOcrModel

    return {"ocr_engines": [ClipOcrModel]}


def __getattr__(name: str) -> Any:
    if name in ("ClipOcrModel", "ClipOcrOptions"):
        from clip4str_adapters import docling_engine

        return getattr(docling_engine, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
