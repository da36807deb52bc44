"""EasyOCR: CLIP4STR as its recognizer, its text detector CRAFT for our Reader.

>>> import easyocr  # doctest: +SKIP
>>> from clip4str_adapters.easyocr import attach
>>> reader = attach(easyocr.Reader(["en"], recognizer=False), "tiny")  # doctest: +SKIP
>>> reader.readtext("photo.jpg")  # doctest: +SKIP

CRAFT finds single words. EasyOCR itself merges them to lines afterwards; the detector here does not, so that crops are
what CLIP4STR was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from clip4str_plugin.errors import DetectorError, PolygonError
from clip4str_plugin.geometry.polygons import checked_polygon, order_quad
from clip4str_plugin.plugins import import_host
from clip4str_plugin.reading.detectors import Detections, Detector, check_page, orient_detections

if TYPE_CHECKING:
    from clip4str_plugin.model import CLIP4STR
    from clip4str_plugin.reading.recognizer import Recognizer

__all__ = ["HOST", "attach", "detector"]

HOST = "easyocr"


def detector(
    arch: str | None = None,
    *,
    text_threshold: float = 0.7,
    link_threshold: float = 0.4,
    low_text: float = 0.4,
    canvas_size: int = 2560,
    mag_ratio: float = 1.0,
    device: str = "cpu",
) -> Detector:
    """Build CRAFT, EasyOCR's text detector.

    Args:
        arch: None for EasyOCR's weights, downloaded once; ``"onnx"`` for the same network in the package
            ``torchfree-ocr`` 1.0, which needs no network; or the path of CRAFT weights as ``.pth`` or ``.onnx``.
        text_threshold: how sure CRAFT must be of at least one spot of a word.
        link_threshold: how strongly characters must belong together.
        low_text: where the border of a word is drawn.
        canvas_size: pages whose longer side is over this are shrunk to it.
        mag_ratio: factor by which pages are enlarged before that.
        device: where CRAFT runs, ``"cpu"``, ``"cuda"`` ...; ONNX networks run on the CPU.

    Returns:
        a detector of words.

    Raises:
        DetectorError: there are no such weights, or they cannot be had.
        HostError: EasyOCR is not installed.
    """
    import_host("easyocr", "easyocr")
    thresholds = (text_threshold, link_threshold, low_text)
    return _Detector(_load_craft(arch, device), thresholds, canvas_size, mag_ratio)


_Network = Callable[[np.ndarray], np.ndarray]


def _load_craft(arch: str | None, device: str) -> _Network:
    """Return CRAFT as a function from (1, 3, H, W) float32 to maps of text and links, (H / 2, W / 2, 2)."""
    if arch == "onnx":
        package = import_host("torchfree_ocr", "craft")
        arch = str(Path(package.__file__).parent / "onnx" / "detectionModel.onnx")
        if not Path(arch).is_file():
            raise DetectorError("torchfree-ocr holds no network since version 1.1; pip install 'torchfree-ocr==1.0.1'")
    if arch is not None and not Path(arch).is_file():
        raise DetectorError(
            f"there are no CRAFT weights {arch!r}; give None, 'onnx' or the path of a .pth or .onnx file"
        )
    if arch is not None and arch.endswith(".onnx"):
        from onnxruntime import InferenceSession

        session = InferenceSession(arch, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda batch: np.asarray(session.run(None, {name: batch})[0])[0]
    import torch
    from easyocr.detection import get_detector

    try:
        if arch is None:
            import easyocr

            model = easyocr.Reader(["en"], gpu=device, recognizer=False, verbose=False).detector
        else:
            model = get_detector(arch, device, quantize=False)
    except Exception as error:
        raise DetectorError(f"EasyOCR cannot load CRAFT {arch or ''}: {error}") from error

    def run(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            maps, _ = model(torch.from_numpy(batch).to(device))
        return maps[0].float().cpu().numpy()

    return run


class _Detector:
    """EasyOCR's steps around CRAFT up to single words, with a score for each, which EasyOCR does not keep."""

    def __init__(
        self, network: _Network, thresholds: tuple[float, float, float], canvas_size: int, mag_ratio: float
    ) -> None:
        self.network = network
        self.thresholds = thresholds
        self.canvas_size = canvas_size
        self.mag_ratio = mag_ratio

    def __call__(self, pages: Sequence[np.ndarray]) -> list[Detections]:
        return [self._detect(page) for page in pages]

    def _detect(self, page: np.ndarray) -> Detections:
        import cv2
        from easyocr.craft_utils import getDetBoxes
        from easyocr.imgproc import normalizeMeanVariance, resize_aspect_ratio

        check_page(page)
        resized, ratio, _ = resize_aspect_ratio(page, self.canvas_size, cv2.INTER_LINEAR, self.mag_ratio)
        batch = np.ascontiguousarray(normalizeMeanVariance(resized).transpose(2, 0, 1)[None], dtype=np.float32)
        maps = self.network(batch)
        boxes, _, _ = getDetBoxes(maps[..., 0], maps[..., 1], *self.thresholds)
        # The best spot of a word is what its threshold looked at. The maps have half the resolution of the canvas.
        scores = [_peak(maps[..., 0], box) for box in boxes]
        height, width = page.shape[:2]
        quads = [np.clip(np.asarray(box, np.float32) * (2 / ratio), 0, (width, height)) for box in boxes]
        return orient_detections(quads, scores, "word")


def _peak(text_map: np.ndarray, box: np.ndarray) -> float:
    left, top = np.maximum(np.floor(box.min(axis=0)).astype(int), 0)
    right, bottom = np.ceil(box.max(axis=0)).astype(int) + 1
    return float(np.clip(text_map[top:bottom, left:right].max(initial=0.0), 0, 1))


# The page that `readtext` is at work on in this thread, in colour, and the order of its channels.
_page: ContextVar[tuple[np.ndarray, Literal["rgb", "bgr"]] | None] = ContextVar("clip4str_easyocr_page", default=None)


def attach(reader: Any, recognizer: Recognizer | CLIP4STR | str | Path = "tiny", **options: Any) -> Any:
    """Make CLIP4STR the recognizer of an ``easyocr.Reader``, which is best built with ``recognizer=False``.

    EasyOCR recognizes in grey; with `readtext` CLIP4STR gets the colours. ``allowlist``,
    ``blocklist`` and the arguments of EasyOCR's own decoder are not used: choose characters with
    ``Recognizer(..., charset=...)``. Confidences are means over the characters of a line.

    Args:
        reader: an ``easyocr.Reader``; its methods ``recognize`` and ``readtext`` are replaced on this object.
        recognizer: a recognizer, a model, or the name or path of one as in `clip4str_plugin.load_model`.
        **options: the fields of `clip4str_plugin.RecognizerOptions`.

    Returns:
        the same reader.
    """
    utils = import_host("easyocr.utils", "easyocr")
    from clip4str_plugin.reading.line_reading import read_lines_of_page
    from clip4str_plugin.reading.recognizer import as_recognizer

    words = as_recognizer(recognizer, **options)
    own_readtext, own_recognize = reader.readtext, reader.recognize

    @wraps(own_recognize)
    def recognize(*args: Any, **kwargs: Any) -> list[Any]:
        given = signature(own_recognize).bind(*args, **kwargs)
        given.apply_defaults()
        options = given.arguments
        image = grey = options["img_cv_grey"]
        given_page = (grey, "rgb")
        if options["reformat"]:
            colours, grey = utils.reformat_input(image)
            given_page = colours, _order(image)
        page, color = _page.get() or given_page
        boxes, quads = options["horizontal_list"], list(options["free_list"] or [])
        if boxes is None and options["free_list"] is None:
            boxes = [[0, grey.shape[1], 0, grey.shape[0]]]
        quads = [[[x0, y0], [x1, y0], [x1, y1], [x0, y1]] for x0, x1, y0, y1 in boxes or []] + quads
        polygons, kept = [], []
        for quad in quads:
            try:
                polygons.append(order_quad(checked_polygon(np.asarray(quad, np.float32))))
                kept.append(quad)
            except PolygonError:
                continue
        rgb = np.repeat(page[..., None], 3, axis=2) if page.ndim == 2 else page
        if color == "bgr":
            rgb = np.ascontiguousarray(rgb[..., ::-1])
        readings = read_lines_of_page(words, rgb, Detections(polygons, np.ones(len(polygons)), "line"))
        result: list[Any] = [(quad, reading.text, reading.confidence) for quad, reading in zip(kept, readings)]
        if options["paragraph"]:
            result = utils.get_paragraph(result, x_ths=options["x_ths"], y_ths=options["y_ths"], mode="ltr")
        if options["detail"] == 0:
            return [item[1] for item in result]
        if options["output_format"] == "dict":
            return [dict(zip(("boxes", "text", "confident"), item)) for item in result]
        return result

    @wraps(own_readtext)
    def readtext(image: Any, *args: Any, **kwargs: Any) -> list[Any]:
        token = _page.set((utils.reformat_input(image)[0], _order(image)))
        try:
            return own_readtext(image, *args, **kwargs)
        finally:
            _page.reset(token)

    reader.recognize, reader.readtext = recognize, readtext
    return reader


def _order(image: Any) -> Literal["rgb", "bgr"]:
    # Files and bytes are decoded to RGB; arrays are BGR by EasyOCR's convention.
    return "rgb" if isinstance(image, (str, bytes)) else "bgr"
