"""RapidOCR: CLIP4STR as its recognizer, its bundled text detector for our Reader.

>>> from rapidocr import RapidOCR
>>> from clip4str_adapters.rapidocr import attach
>>> ocr = attach(RapidOCR(params={"Global.use_cls": False}))  # RapidOCR's own recognizer is then never loaded
>>> result = ocr("photo.jpg")  # doctest: +SKIP

Facts about RapidOCR 3 that shaped this module: arrays are BGR; `word_results` must hold one entry a crop; boxes are
sorted after detection but their scores are not; crops come from a page shrunk to `Global.max_side_len` (2000 pixels),
so raise that for large photos with small text; lines whose score is under `Global.text_score` (0.5) are dropped.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from clip4str_adapters._common import mark_lines, read_marked_lines
from clip4str_adapters.rapidocr_detector import RapidOCRDetector, TextMap
from clip4str_adapters.rapidocr_network import load_detection_network

if TYPE_CHECKING:
    from rapidocr.ch_ppocr_rec import TextRecInput, TextRecOutput

    from clip4str_plugin.model import CLIP4STR
    from clip4str_plugin.reading.line_reading import LineReading
    from clip4str_plugin.reading.recognizer import Recognizer

__all__ = ["HOST", "RapidOCRDetector", "TextMap", "attach", "detector", "text_recognizer"]

HOST = "rapidocr"


def detector(
    arch: str | None = None,
    *,
    min_side: int = 736,
    max_side: int = 2048,
    threads: int | None = None,
    precision: Literal["fp32", "bf16"] = "fp32",
    **options: Any,
) -> RapidOCRDetector:
    """Build RapidOCR's text detector; neither its classifier nor its recognizer is loaded.

    The default network lies inside RapidOCR's wheel. Pages are scaled for it alone: polygons come back in pixels of the
    page as given, so that crops keep its full resolution. Where OpenVINO is installed it computes the network, several
    times as fast as ONNX Runtime and with differences of about 1e-5.

    >>> import numpy as np
    >>> from clip4str_adapters.rapidocr import detector
    >>> detect = detector()
    >>> len(detect([np.zeros((480, 640, 3), np.uint8)])[0])
    0

    Args:
        arch: None for the bundled network; the path of another DB network as an ONNX file; or version and size of a
            network RapidOCR knows, e.g. ``"PP-OCRv5_mobile"``, which RapidOCR downloads once.
        min_side: pages whose shorter side is under this are enlarged to it.
        max_side: pages whose longer side would be over this are shrunk to it; the time taken grows with its square.
        threads: CPU threads of the network, None for one a core.
        precision: of the arithmetic in OpenVINO. "bf16" is faster still and moves polygons by fractions of a pixel.
        **options: RapidOCR's settings below ``Det``: ``thresh``, ``box_thresh``, ``unclip_ratio``, ``max_candidates``,
            ``use_dilation``, ``score_mode``, ``engine_type`` (which engine RapidOCR itself is to use) ...

    Returns:
        a detector of lines, safe to call from several threads.

    Raises:
        DetectorError: RapidOCR does not know the arch or an option, or cannot get the network; or bf16 without
            OpenVINO.
        HostError: RapidOCR is not installed.
    """
    return RapidOCRDetector(load_detection_network(arch, precision, threads, options), min_side, max_side)


def attach(ocr: Any, recognizer: Recognizer | CLIP4STR | str | Path = "tiny", **options: Any) -> Any:
    """Make CLIP4STR the recognizer of a ``RapidOCR``, reading words as `clip4str_plugin.Reader` does.

    Lines are cut into words on the page itself and every word is straightened alone, which reads better than cutting
    the line's crop. Lines that RapidOCR's classifier has turned over are read from the crop, as by
    `text_recognizer`.

    Args:
        ocr: a ``RapidOCR``.
        recognizer: a recognizer, a model, or the name or path of one as in `clip4str_plugin.load_model`.
        **options: the fields of `clip4str_plugin.RecognizerOptions`.

    Returns:
        the same object.

    Raises:
        TypeError: it is no ``RapidOCR`` of a version that is understood.
    """
    if not callable(getattr(ocr, "crop_text_regions", None)) or not hasattr(ocr, "text_rec"):
        raise TypeError(f"{type(ocr).__name__} is no RapidOCR object of version 3.4 or later")
    own = ocr.crop_text_regions

    def crop_text_regions(img: np.ndarray, det_boxes: np.ndarray) -> list[np.ndarray]:
        return mark_lines(own(img, det_boxes), img, det_boxes)

    ocr.crop_text_regions = crop_text_regions
    ocr.text_rec = text_recognizer(recognizer, **options)
    return ocr


def text_recognizer(recognizer: Recognizer | CLIP4STR | str | Path = "tiny", **options: Any) -> _TextRecognizer:
    """Make CLIP4STR the recognizer of a ``RapidOCR``, as its attribute ``text_rec``.

    RapidOCR hands over whole lines. They are cut into words at their blanks, the words are read, and the line is put
    together again. Its score is the mean over its characters whatever the recognizer's own kind of confidence is: that
    is what RapidOCR's recognizers report and what its filter ``Global.text_score`` is meant for. With
    ``return_word_box=True`` RapidOCR computes its word (or character) boxes from the words found.

    Args:
        recognizer: a recognizer, a model, or the name or path of one as in `clip4str_plugin.load_model`.
        **options: the fields of `clip4str_plugin.RecognizerOptions`.
    """
    from clip4str_plugin.reading.recognizer import as_recognizer

    return _TextRecognizer(as_recognizer(recognizer, **options))


class _TextRecognizer:
    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer

    def __call__(self, args: TextRecInput) -> TextRecOutput:
        from rapidocr.ch_ppocr_rec import TextRecOutput

        begin = time.perf_counter()
        crops = [args.img] if isinstance(args.img, np.ndarray) else list(args.img or [])
        readings = read_marked_lines(self.recognizer, crops)
        # Not empty and not None-padded: RapidOCR indexes it by crop, and skips word boxes where an entry is None.
        word_results = tuple(
            _word_info(crop, reading) if args.return_word_box else None for crop, reading in zip(crops, readings)
        )
        return TextRecOutput(
            imgs=crops,
            txts=tuple(reading.text for reading in readings),
            scores=[reading.confidence for reading in readings],
            word_results=word_results,  # type: ignore[arg-type]
            elapse=time.perf_counter() - begin,
        )


def _word_info(crop: np.ndarray, reading: LineReading) -> Any:
    """Say in RapidOCR's terms where the characters stand: pixel columns of the crop in place of CTC time steps."""
    from rapidocr.ch_ppocr_rec.typings import WordInfo, WordType

    width = crop.shape[1]
    info = WordInfo(line_txt_len=width)
    for word in reading.words:
        text = word.recognition.text
        step = (word.right - word.left) * width / len(text)
        info.words.append(list(text))
        info.word_cols.append([int(word.left * width + (index + 0.5) * step) for index in range(len(text))])
        info.word_types.append(WordType.EN_NUM)
        info.confs.append(word.recognition.confidence)
    # One a character is needed for single-character boxes, where RapidOCR would else drop the boxes left over.
    info.confs += [value for word in reading.words for value in word.recognition.char_confidences][len(info.confs) :]
    return info
