"""The engine behind `clip4str_adapters.docling`; importing this loads docling."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from docling.datamodel.accelerator_options import AcceleratorOptions
from docling.datamodel.base_models import Page
from docling.datamodel.document import ConversionResult
from docling.datamodel.pipeline_options import OcrOptions
from docling.datamodel.settings import settings
from docling.models.base_ocr_model import BaseOcrModel
from docling.utils.accelerator_utils import decide_device
from docling.utils.profiling import TimeRecorder
from docling_core.types.doc import BoundingBox, CoordOrigin
from docling_core.types.doc.page import BoundingRectangle, TextCell
from pydantic import Field

from clip4str_adapters._common import shared_reader
from clip4str_adapters._settings import Settings
from clip4str_plugin.reading.line_reading import mean_confidence

__all__ = ["ClipOcrModel", "ClipOcrOptions"]

logger = logging.getLogger(__name__)


class ClipOcrOptions(OcrOptions, Settings):
    """Options of the engine ``clip4str``.

    Those of docling hold too: ``mode`` (which parts of a page are read) and ``scale`` (3.0: 216 dpi). The device is
    docling's unless one is named.
    """

    kind: ClassVar[Literal["clip4str"]] = "clip4str"
    # CLIP4STR reads the characters it was trained on, whatever the language.
    canonicalize_lang: ClassVar[bool] = False

    lang: Annotated[
        list[str], Field(default_factory=list, description="Not used: the model decides which characters are read.")
    ]


class ClipOcrModel(BaseOcrModel):
    """docling's OCR stage with CLIP4STR: one text cell per line, in reading order.

    Model and detector are loaded once a process for each set of options, however many converters there are.
    """

    multiple_languages: ClassVar[bool] = True
    options: ClipOcrOptions

    def __init__(
        self,
        *,
        enabled: bool,
        artifacts_path: Path | None,
        options: ClipOcrOptions,
        accelerator_options: AcceleratorOptions,
    ) -> None:
        super().__init__(
            enabled=enabled, artifacts_path=artifacts_path, options=options, accelerator_options=accelerator_options
        )
        if enabled:
            chosen = options.options()
            if options.device == "auto":
                chosen["device"] = decide_device(accelerator_options.device)
            self.reader = shared_reader(options.detector, options.model, **chosen)

    def __call__(self, conv_res: ConversionResult, page_batch: Iterable[Page]) -> Iterable[Page]:
        """Add what is read to each page."""
        for page in page_batch:
            if self.enabled and page._backend is not None and page._backend.is_valid():
                with TimeRecorder(conv_res, "ocr"):
                    rects = self.get_ocr_rects(page)
                    cells = [cell for rect in rects if rect.area() > 0 for cell in self._read(page, rect)]
                    for index, cell in enumerate(cells):
                        cell.index = index
                    self.post_process_cells(cells, page, conv_res)
                if settings.debug.visualize_ocr:
                    self.draw_ocr_rects_and_cells(conv_res, page, rects)
            yield page

    def _read(self, page: Page, rect: BoundingBox) -> Iterator[TextCell]:
        """Read a part of a page into cells, in points of the page with the origin at its top left."""
        assert page._backend is not None
        scale = self.options.scale
        image = page._backend.get_page_image(scale=scale, cropbox=rect)
        (result,) = self.reader.stream([np.asarray(image.convert("RGB"))])
        if result.error is not None:
            logger.error("page %s cannot be read: %s", page.page_no, result.error)
            return
        for line in result.lines:
            corners = np.concatenate([word.polygon for word in line]) / scale + (rect.l, rect.t)
            box = BoundingBox.from_tuple((*corners.min(axis=0), *corners.max(axis=0)), origin=CoordOrigin.TOPLEFT)
            text = " ".join(word.text for word in line)
            yield TextCell(
                index=0,
                text=text,
                orig=text,
                # What docling reports as the confidence of a cell is a mean over its parts.
                confidence=mean_confidence(line),
                from_ocr=True,
                rect=BoundingRectangle.from_bounding_box(box),
            )

    @classmethod
    def get_options_type(cls) -> type[OcrOptions]:
        """Say which options select this engine."""
        return ClipOcrOptions

    def resolve_ocr_languages(self) -> list[Any]:
        """CLIP4STR needs no languages."""
        return []
