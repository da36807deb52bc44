"""The modules behind `clip4str_adapters.doctr`; importing this loads torch and docTR."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from doctr.models.builder import DocumentBuilder, KIEDocumentBuilder
from doctr.models.kie_predictor import KIEPredictor as DoctrKIEPredictor
from doctr.models.predictor import OCRPredictor as DoctrOCRPredictor
from torch import nn

from clip4str_adapters.doctr_family import AlignedScores, DetectorBoxes, PerspectiveCrops, WordReader
from clip4str_plugin.options import Orientation
from clip4str_plugin.reading.detectors import Detector
from clip4str_plugin.reading.recognizer import Recognizer

__all__ = ["CLIP4STRPredictor", "DetectorPredictor", "KIEPredictor", "OCRPredictor"]


class CLIP4STRPredictor(nn.Module):
    """CLIP4STR in the place of docTR's ``RecognitionPredictor``.

    Crops are squashed as CLIP4STR was trained, not letterboxed. The module moves and converts with ``to``, ``half``,
    ``bfloat16`` ...; the model inside stays in evaluation mode even when the predictor around it is trained.

    Args:
        recognizer: reads the crops; its ``confidence`` is what the words carry.
        split_wide_crops: as in `clip4str_adapters.doctr_family.WordReader`.
        orientation: likewise.
    """

    def __init__(
        self, recognizer: Recognizer, split_wide_crops: bool = True, orientation: Orientation = "auto"
    ) -> None:
        super().__init__()
        self.reader = WordReader(recognizer, split_wide_crops, orientation)
        # Exported graphs are no module; see _apply.
        self.model = recognizer.model.eval() if hasattr(recognizer, "model") else None

    @property
    def recognizer(self) -> Recognizer:
        """What reads the crops."""
        return self.reader.recognizer

    def train(self, mode: bool = True) -> CLIP4STRPredictor:
        """Set the mode of this module; the model inside is for inference only and stays as it is."""
        super().train(mode)
        if self.model is not None:
            self.model.eval()
        return self

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> CLIP4STRPredictor:
        """Move or convert; graphs, which compute in float32 on the CPU, then give way to their PyTorch model."""
        if self.model is None:
            probe = fn(torch.empty(0))
            if probe.device.type == "cpu" and probe.dtype == torch.float32:
                return self
            self.reader.recognizer = self.recognizer.with_pytorch()
            self.model = self.recognizer.model.eval()
        return super()._apply(fn, recurse)

    @torch.inference_mode()
    def forward(self, crops: Sequence[np.ndarray], **kwargs: Any) -> list[tuple[str, float]]:
        """Read word crops, see `clip4str_adapters.doctr_family.WordReader`."""
        return self.reader(crops)


class DetectorPredictor(nn.Module):
    """A detector of ours in the place of docTR's ``DetectionPredictor``.

    Arguments and results are those of `clip4str_adapters.doctr_family.DetectorBoxes`; the boxes of a page come
    as docTR's only class, ``"words"``.
    """

    def __init__(self, detector: Detector, assume_straight_pages: bool = True) -> None:
        super().__init__()
        self.boxes = DetectorBoxes(detector, assume_straight_pages)
        self.model = self.boxes.model

    def forward(self, pages: list[np.ndarray], return_maps: bool = False, **kwargs: Any) -> Any:
        """Detect words."""
        found = self.boxes(pages, return_maps)
        boxes = [{"words": page} for page in (found[0] if return_maps else found)]
        return (boxes, found[1]) if return_maps else boxes


class _DoctrPerspectiveCrops(PerspectiveCrops):
    doc_builder: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        builder = _KIEBuilder if isinstance(self.doc_builder, KIEDocumentBuilder) else _Builder
        self.doc_builder = builder(**vars(self.doc_builder))
        self.det_predictor.register_forward_hook(_note_boxes)

    def forward(self, pages: list[np.ndarray], **kwargs: Any) -> Any:
        """Read pages, uint8 RGB arrays (H, W, 3), into a document."""
        with self.noting():
            return super().forward(pages, **kwargs)


def _note_boxes(module: nn.Module, args: Any, output: Any) -> None:
    PerspectiveCrops.note(output)


class OCRPredictor(_DoctrPerspectiveCrops, DoctrOCRPredictor):
    """docTR's ``OCRPredictor`` with perspective crops and aligned objectness scores; arguments as there."""


class KIEPredictor(_DoctrPerspectiveCrops, DoctrKIEPredictor):
    """docTR's ``KIEPredictor`` with perspective crops and aligned objectness scores; arguments as there."""


class _Builder(AlignedScores, DocumentBuilder):
    pass


class _KIEBuilder(AlignedScores, KIEDocumentBuilder):
    pass
