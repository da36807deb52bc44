"""docTR: CLIP4STR as its recognizer, its detectors for our Reader, and our detectors inside it.

>>> from clip4str_adapters.doctr import ocr_predictor
>>> predictor = ocr_predictor("fast_base", "clip4str_tiny", pretrained=True)  # doctest: +SKIP
>>> predictor(pages).render()  # doctest: +SKIP

The predictors built here are subclasses of docTR's with three corrections, which also help without CLIP4STR:

- Crops of rotated boxes are cut with all four corners; docTR leaves the fourth out, or loses the reading direction.
- Objectness scores stay with their words; in docTR they slip when a box is dropped by a hook or for having no area.
- No recognizer that is replaced at once, and no orientation model that is not used, is loaded.

After `register`, docTR's own ``ocr_predictor(reco_arch="clip4str_base16")`` works as well, with docTR's crops.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from clip4str_adapters.doctr_family import HostDetector
from clip4str_plugin.plugins import import_host
from clip4str_plugin.reading.detectors import Detector, load_detector

if TYPE_CHECKING:
    from clip4str_adapters.doctr_modules import CLIP4STRPredictor, KIEPredictor, OCRPredictor
    from clip4str_plugin.model import CLIP4STR
    from clip4str_plugin.options import Orientation
    from clip4str_plugin.reading.recognizer import Recognizer

__all__ = ["HOST", "detector", "kie_predictor", "ocr_predictor", "recognition_predictor", "register"]

HOST = "doctr"


def detector(arch: Any = None, *, pretrained: bool = True, device: Any = None, **options: Any) -> Detector:
    """Build one of docTR's text detectors.

    >>> from clip4str_adapters.doctr import detector
    >>> detect = detector("db_resnet50")  # doctest: +SKIP

    Args:
        arch: name of a detection architecture of docTR, None for ``"fast_base"``; or a model of docTR's.
        pretrained: use docTR's weights, downloaded once into docTR's cache.
        device: where to run, e.g. ``"cuda"``.
        **options: keyword arguments of docTR's ``detection_predictor``: ``batch_size``, ``preserve_aspect_ratio``,
            ``symmetric_pad``, ``pretrained_backbone`` ... Boxes may be rotated, unless ``assume_straight_pages=True``.

    Returns:
        a detector of words.

    Raises:
        DetectorError: docTR does not know the architecture or cannot get its weights.
        HostError: docTR is not installed.
    """
    zoo = import_host("doctr.models.detection.zoo", "doctr")
    found = HostDetector.of_zoo(zoo, "docTR", arch, {"pretrained": pretrained, **options})
    if device is not None:
        found.predictor.to(device)
    return found


def recognition_predictor(
    arch: Recognizer | CLIP4STR | str | Path = "clip4str_tiny",
    *,
    split_wide_crops: bool = True,
    orientation: Orientation = "auto",
    **options: Any,
) -> CLIP4STRPredictor:
    """Build what docTR calls a recognition predictor, to be used as ``OCRPredictor.reco_predictor`` or alone.

    >>> import numpy as np
    >>> from clip4str_adapters.doctr import recognition_predictor
    >>> predictor = recognition_predictor("clip4str_tiny")
    >>> len(predictor([np.zeros((32, 100, 3), np.uint8)] * 2))
    2

    Args:
        arch: ``"clip4str_"`` and the name of a model, the path of one, a model, or a recognizer.
        split_wide_crops: read crops that are wider than words can be in pieces, see
            `clip4str_adapters.doctr_family.WordReader`.
        orientation: which crops are tried in other directions, likewise.
        **options: for the recognizer, as in `clip4str_plugin.Recognizer`. Here the confidence of a word is the
            ``"mean"`` of its characters' unless said otherwise, as docTR's own transformers report it.
    """
    import_host("doctr", "doctr")
    from torch import nn

    from clip4str_adapters.doctr_modules import CLIP4STRPredictor
    from clip4str_plugin.reading.recognizer import as_recognizer

    if isinstance(arch, (str, Path, nn.Module)):
        options.setdefault("confidence", "mean")
    return CLIP4STRPredictor(as_recognizer(arch, **options), split_wide_crops, orientation)


def ocr_predictor(
    det_arch: Any = "fast_base",
    reco_arch: Any = "clip4str_tiny",
    pretrained: bool = False,
    pretrained_backbone: bool = True,
    assume_straight_pages: bool = True,
    preserve_aspect_ratio: bool = True,
    symmetric_pad: bool = True,
    export_as_straight_boxes: bool = False,
    detect_orientation: bool = False,
    straighten_pages: bool = False,
    detect_language: bool = False,
    detect_layout: bool = False,
    layout_arch: Any = "lw_detr_s",
    ignore_regions: list[str] | None = None,
    detect_tables: bool = False,
    **kwargs: Any,
) -> OCRPredictor:
    """Build docTR's OCR predictor around CLIP4STR; arguments as in ``doctr.models.ocr_predictor``, and:

    Args:
        det_arch: besides what docTR takes, a detector of ours: the name of an entry point of the group
            ``clip4str.detectors`` or a callable as in `clip4str_plugin.reading.detectors`. Lines are cut
            into words.
        reco_arch: as ``arch`` in `recognition_predictor`, or any recognition predictor.
        pretrained: whether *docTR's* models get their weights; CLIP4STR always has its own.
        pretrained_backbone: as in docTR.
        assume_straight_pages: as in docTR. With False, boxes may be rotated; they are cropped in perspective.
        preserve_aspect_ratio: as in docTR.
        symmetric_pad: as in docTR.
        export_as_straight_boxes: as in docTR.
        detect_orientation: as in docTR.
        straighten_pages: as in docTR.
        detect_language: as in docTR.
        detect_layout: as in docTR.
        layout_arch: as in docTR.
        ignore_regions: as in docTR.
        detect_tables: as in docTR.
        **kwargs: as in docTR: ``det_bs``, ``reco_bs``, those of ``OCRPredictor`` and of ``DocumentBuilder``. Unlike in
            docTR, ``disable_crop_orientation`` is True by default, since the shape of a box already tells upright from
            sideways, and ``disable_page_orientation`` unless the page's orientation is asked for.

    Returns:
        an ``OCRPredictor`` of docTR's, a subclass with perspective crops and aligned scores.

    Raises:
        DetectorError: the detector is unknown.
        CheckpointError: the recognition model is unknown or unusable.
    """  # noqa: D415
    import_host("doctr", "doctr")
    from doctr.models.zoo import table_predictor

    from clip4str_adapters.doctr_modules import OCRPredictor

    if detect_tables:
        kwargs["table_predictor"] = table_predictor(
            "tablecenternet",
            pretrained=pretrained,
            assume_straight_pages=assume_straight_pages,
            preserve_aspect_ratio=preserve_aspect_ratio,
            symmetric_pad=symmetric_pad,
            batch_size=kwargs.get("det_bs", 2),
        )
    return _assemble(
        OCRPredictor,
        det_arch,
        reco_arch,
        layout_arch if detect_layout or detect_tables else None,
        pretrained=pretrained,
        pretrained_backbone=pretrained_backbone,
        assume_straight_pages=assume_straight_pages,
        preserve_aspect_ratio=preserve_aspect_ratio,
        symmetric_pad=symmetric_pad,
        export_as_straight_boxes=export_as_straight_boxes,
        detect_orientation=detect_orientation,
        straighten_pages=straighten_pages,
        detect_language=detect_language,
        ignore_regions=ignore_regions,
        **kwargs,
    )


def kie_predictor(
    det_arch: Any = "fast_base",
    reco_arch: Any = "clip4str_tiny",
    pretrained: bool = False,
    pretrained_backbone: bool = True,
    assume_straight_pages: bool = True,
    preserve_aspect_ratio: bool = True,
    symmetric_pad: bool = True,
    export_as_straight_boxes: bool = False,
    detect_orientation: bool = False,
    straighten_pages: bool = False,
    detect_language: bool = False,
    detect_layout: bool = False,
    layout_arch: Any = "lw_detr_s",
    ignore_regions: list[str] | None = None,
    **kwargs: Any,
) -> KIEPredictor:
    """Build docTR's KIE predictor around CLIP4STR; arguments as in ``doctr.models.kie_predictor``.

    What is said of `ocr_predictor` holds here too. A detector of ours has one class, ``"words"``.
    """
    import_host("doctr", "doctr")
    from clip4str_adapters.doctr_modules import KIEPredictor

    return _assemble(
        KIEPredictor,
        det_arch,
        reco_arch,
        layout_arch if detect_layout else None,
        pretrained=pretrained,
        pretrained_backbone=pretrained_backbone,
        assume_straight_pages=assume_straight_pages,
        preserve_aspect_ratio=preserve_aspect_ratio,
        symmetric_pad=symmetric_pad,
        export_as_straight_boxes=export_as_straight_boxes,
        detect_orientation=detect_orientation,
        straighten_pages=straighten_pages,
        detect_language=detect_language,
        ignore_regions=ignore_regions,
        **kwargs,
    )


def _assemble(
    predictor: Any,
    det_arch: Any,
    reco_arch: Any,
    layout_arch: Any,
    *,
    pretrained: bool,
    pretrained_backbone: bool,
    det_bs: int = 2,
    reco_bs: int | None = None,
    **kwargs: Any,
) -> Any:
    from doctr.models.zoo import layout_predictor

    from clip4str_adapters.doctr_modules import CLIP4STRPredictor

    page_options = {name: kwargs[name] for name in ("assume_straight_pages", "preserve_aspect_ratio", "symmetric_pad")}
    kwargs.setdefault("disable_crop_orientation", True)
    kwargs.setdefault("disable_page_orientation", not (kwargs["detect_orientation"] or kwargs["straighten_pages"]))
    if layout_arch is not None:
        kwargs["layout_predictor"] = layout_predictor(
            layout_arch, pretrained=pretrained, batch_size=det_bs, **page_options
        )
    if not _is_predictor(reco_arch):
        options: dict[str, Any] = {} if reco_bs is None else {"batch_size": reco_bs}
        reco_arch = recognition_predictor(reco_arch, **options)
    elif reco_bs is not None and isinstance(reco_arch, CLIP4STRPredictor):
        reco_arch.recognizer.batch_size = reco_bs
    detection = _detection_predictor(
        det_arch,
        pretrained=pretrained,
        pretrained_backbone=pretrained_backbone,
        batch_size=det_bs,
        **page_options,
    )
    return predictor(detection, reco_arch, **kwargs)


def _is_predictor(module: Any) -> bool:
    """Whether this is a finished predictor of docTR's kind, and not the model or the detector inside one."""
    from doctr.models.detection.predictor import DetectionPredictor
    from doctr.models.recognition.predictor import RecognitionPredictor

    from clip4str_adapters.doctr_modules import CLIP4STRPredictor, DetectorPredictor

    return isinstance(module, (DetectionPredictor, RecognitionPredictor, CLIP4STRPredictor, DetectorPredictor))


def _detection_predictor(arch: Any, *, assume_straight_pages: bool, **options: Any) -> Any:
    from doctr.models.detection import zoo
    from torch import nn

    from clip4str_adapters.doctr_modules import DetectorPredictor

    if _is_predictor(arch):
        return arch
    # A module is one of docTR's models, which take tensors, unless it says that it is a detector of ours.
    if arch in zoo.ARCHS if isinstance(arch, str) else isinstance(arch, nn.Module):
        return zoo.detection_predictor(arch, assume_straight_pages=assume_straight_pages, **options)
    return DetectorPredictor(load_detector(arch), assume_straight_pages=assume_straight_pages)


def register() -> list[str]:
    """Teach docTR's own ``recognition_predictor``, ``ocr_predictor`` and ``kie_predictor`` the CLIP4STR models.

    Afterwards they take ``reco_arch="clip4str_tiny"`` and the other names returned, as well as models and recognizers
    of this package. Calling it again changes nothing. The crops are those of docTR; for perspective crops and aligned
    scores use `ocr_predictor` of this module. With ``pretrained=False`` CLIP4STR has its weights nevertheless.

    >>> from clip4str_adapters.doctr import register
    >>> "clip4str_base16" in register()
    True

    Returns:
        the architecture names that docTR understands from now on.
    """
    zoo = import_host("doctr.models.recognition.zoo", "doctr")
    from clip4str_plugin import CLIP4STR, Recognizer, available_models

    names = [f"clip4str_{name}" for name in available_models()]
    original = zoo._predictor
    if not hasattr(original, "without_clip4str"):

        def predictor(arch: Any, pretrained: bool, **kwargs: Any) -> Any:
            if isinstance(arch, (CLIP4STR, Recognizer)) or (isinstance(arch, str) and arch.startswith("clip4str_")):
                # docTR's own path would letterbox the crops, whereas CLIP4STR was trained on squashed ones.
                given = "batch_size" in kwargs and not isinstance(arch, Recognizer)
                return recognition_predictor(arch, **({"batch_size": kwargs["batch_size"]} if given else {}))
            return original(arch, pretrained, **kwargs)

        predictor.without_clip4str = original  # type: ignore[attr-defined]
        zoo._predictor = predictor
    zoo.ARCHS.extend(name for name in names if name not in zoo.ARCHS)
    return names
