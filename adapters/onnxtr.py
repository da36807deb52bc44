"""OnnxTR: CLIP4STR as its recognizer, its detectors for our Reader, and our detectors inside it.

>>> from clip4str_adapters.onnxtr import ocr_predictor
>>> predictor = ocr_predictor("fast_base", "tiny")  # doctest: +SKIP
>>> predictor(pages).render()  # doctest: +SKIP

An ``OCRPredictor`` that exists already takes it too: ``predictor.reco_predictor = recognition_predictor("tiny")``.
The predictors built here make the same corrections as those of `clip4str_adapters.doctr`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clip4str_adapters.doctr_family import AlignedScores, DetectorBoxes, HostDetector, PerspectiveCrops, WordReader
from clip4str_plugin.plugins import import_host
from clip4str_plugin.reading.detectors import Detector, load_detector

if TYPE_CHECKING:
    from clip4str_plugin.model import CLIP4STR
    from clip4str_plugin.options import Orientation
    from clip4str_plugin.reading.recognizer import Recognizer

__all__ = ["HOST", "detector", "ocr_predictor", "recognition_predictor"]

HOST = "onnxtr"


def detector(arch: Any = None, **options: Any) -> Detector:
    """Build one of OnnxTR's text detectors.

    Args:
        arch: name of a detection architecture of OnnxTR, None for ``"fast_base"``, downloaded once; or a model of
            OnnxTR's, e.g. ``fast_base("file.onnx")``.
        **options: keyword arguments of OnnxTR's ``detection_predictor``: ``batch_size``, ``engine_cfg``,
            ``load_in_8_bit`` ... Boxes may be rotated, unless ``assume_straight_pages=True``.

    Returns:
        a detector of words.

    Raises:
        DetectorError: OnnxTR does not know the architecture or cannot get its weights.
        HostError: OnnxTR is not installed.
    """
    return HostDetector.of_zoo(import_host("onnxtr.models.detection.zoo", "onnxtr"), "OnnxTR", arch, options)


def recognition_predictor(
    arch: Recognizer | CLIP4STR | str | Path = "tiny",
    *,
    split_wide_crops: bool = True,
    orientation: Orientation = "auto",
    **options: Any,
) -> WordReader:
    """Build what OnnxTR calls a recognition predictor, to be used as ``OCRPredictor.reco_predictor`` or alone.

    Args:
        arch: name or path of a model, a model, or a recognizer.
        split_wide_crops: read crops that are wider than words can be in pieces, see
            `clip4str_adapters.doctr_family.WordReader`.
        orientation: which crops are tried in other directions, likewise.
        **options: for the recognizer, as in `clip4str_plugin.Recognizer`. Here the confidence of a word is the
            ``"mean"`` of its characters' unless said otherwise, as OnnxTR's own transformers report it.
    """
    import_host("onnxtr", "onnxtr")
    from clip4str_plugin.reading.recognizer import as_recognizer

    if not callable(getattr(arch, "stream", None)):
        options.setdefault("confidence", "mean")
    return WordReader(as_recognizer(arch, **options), split_wide_crops, orientation)


def ocr_predictor(
    det_arch: Any = "fast_base",
    reco_arch: Any = "tiny",
    *,
    assume_straight_pages: bool = True,
    det_bs: int = 2,
    det_engine_cfg: Any = None,
    load_in_8_bit: bool = False,
    **options: Any,
) -> Any:
    """Build OnnxTR's OCR predictor around CLIP4STR.

    Args:
        det_arch: besides what OnnxTR takes, a detector of ours: the name of an entry point of the group
            ``clip4str.detectors`` or a callable as in `clip4str_plugin.reading.detectors`. Lines are cut
            into words.
        reco_arch: as ``arch`` in `recognition_predictor`.
        assume_straight_pages: as in OnnxTR. With False, boxes may be rotated; they are cropped in perspective.
        det_bs: pages the detector takes at a time.
        det_engine_cfg: OnnxTR's ``EngineConfig`` for the detector.
        load_in_8_bit: whether to take the detector's quantised weights.
        **options: those of OnnxTR's ``OCRPredictor`` and ``DocumentBuilder``. ``disable_crop_orientation`` is True by
            default, since the shape of a box already tells upright from sideways, and ``disable_page_orientation``
            unless the page's orientation is asked for, so that no classifier is downloaded.

    Returns:
        an ``OCRPredictor`` of OnnxTR's, a subclass with perspective crops and aligned scores.
    """
    detection = import_host("onnxtr.models.detection.zoo", "onnxtr")
    if isinstance(det_arch, str) and det_arch not in detection.ARCHS:
        det_arch = load_detector(det_arch)
    if isinstance(det_arch, str) or not callable(det_arch) or hasattr(det_arch, "postprocessor"):
        det_arch = detection.detection_predictor(
            det_arch,
            batch_size=det_bs,
            assume_straight_pages=assume_straight_pages,
            engine_cfg=det_engine_cfg,
            load_in_8_bit=load_in_8_bit,
        )
    elif not hasattr(det_arch, "pre_processor"):
        det_arch = DetectorBoxes(det_arch, assume_straight_pages)
    oriented = options.get("detect_orientation") or options.get("straighten_pages")
    options = {"disable_crop_orientation": True, "disable_page_orientation": not oriented} | options
    reco_arch = reco_arch if isinstance(reco_arch, WordReader) else recognition_predictor(reco_arch)
    return _predictor_class()(det_arch, reco_arch, assume_straight_pages=assume_straight_pages, **options)


@cache
def _predictor_class() -> Any:
    from onnxtr.models.builder import DocumentBuilder
    from onnxtr.models.predictor import OCRPredictor

    class Builder(AlignedScores, DocumentBuilder):
        pass

    class Predictor(PerspectiveCrops, OCRPredictor):
        doc_builder: Any
        det_predictor: Any

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.doc_builder = Builder(**vars(self.doc_builder))
            self.det_predictor = _Noted(self.det_predictor)

        def __call__(self, pages: list[np.ndarray], **kwargs: Any) -> Any:
            with self.noting():
                return super().__call__(pages, **kwargs)

    return Predictor


class _Noted:
    """A detection predictor whose answers are noted for `AlignedScores`; else it is what it wraps."""

    def __init__(self, boxes: Any) -> None:
        self.boxes = boxes

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        output = self.boxes(*args, **kwargs)
        PerspectiveCrops.note(output)
        return output

    def __getattr__(self, name: str) -> Any:
        return getattr(self.boxes, name)
