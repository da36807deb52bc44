"""deepdoctection: CLIP4STR as its text recognizer, and our detectors and our whole reader in its pipelines.

>>> import deepdoctection as dd  # doctest: +SKIP
>>> from clip4str_adapters.deepdoctection import attach
>>> analyzer = attach(dd.get_dd_analyzer(config_overwrite=["USE_OCR=True"]), "tiny")  # doctest: +SKIP
>>> pages = analyzer.analyze(path="scans/")  # doctest: +SKIP

Facts about deepdoctection 1.4 that shaped this module: images are BGR; boxes are upright, so turned words are cropped
with their surroundings unless our own reader crops them (`ocr_detector`); a recognizer gets all words of a page
at once and answers by annotation id; analyzers are built by a closed factory, but keep their components in a list.

deepdoctection's word detectors are docTR's; for us they are the detectors ``doctr:...``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from clip4str_plugin.plugins import import_host
from clip4str_plugin.reading.detectors import Detector, load_detector

if TYPE_CHECKING:
    from clip4str_adapters.deepdoctection_predictors import ClipOcrDetector, ClipTextRecognizer, ClipWordDetector
    from clip4str_plugin.model import CLIP4STR
    from clip4str_plugin.reading.recognizer import Recognizer

__all__ = ["HOST", "attach", "ocr_detector", "text_recognizer", "word_detector"]

HOST = "deepdoctection"


def text_recognizer(
    recognizer: Recognizer | CLIP4STR | str | Path = "tiny", *, granularity: Literal["word", "line"] = "word"
) -> ClipTextRecognizer:
    """Build a ``TextRecognizer`` for ``TextExtractionService(..., extract_from_roi="word")``.

    Args:
        recognizer: a recognizer, a model, or the name or path of one as in `clip4str_plugin.load_model`.
        granularity: whether the regions hold one word each, or lines, which are then cut at their blanks.
    """
    import_host("deepdoctection", "deepdoctection")
    from clip4str_adapters.deepdoctection_predictors import ClipTextRecognizer
    from clip4str_plugin.reading.recognizer import as_recognizer

    return ClipTextRecognizer(as_recognizer(recognizer), granularity)


def word_detector(detector: str | Detector = "rapidocr", **options: Any) -> ClipWordDetector:
    """Build an ``ObjectDetector`` of words for ``ImageLayoutService(..., to_image=True, crop_image=True)``.

    Args:
        detector: as in `clip4str_plugin.load_detector`; lines are cut into words.
        **options: of the detector's factory.
    """
    import_host("deepdoctection", "deepdoctection")
    from clip4str_adapters.deepdoctection_predictors import ClipWordDetector

    name = detector if isinstance(detector, str) else type(detector).__name__
    return ClipWordDetector(load_detector(detector, **options), name)


def ocr_detector(
    detector: str | Detector = "rapidocr",
    recognizer: Recognizer | CLIP4STR | str | Path = "tiny",
    **options: Any,
) -> ClipOcrDetector:
    """Build an ``ObjectDetector`` that finds and reads words, for ``TextExtractionService(...)``, as Tesseract's does.

    Words are cropped in perspective and tried in several directions, as by ``clip4str read``; deepdoctection gets the
    upright boxes around them.

    Args:
        detector: as in `clip4str_plugin.load_detector`.
        recognizer: as in `text_recognizer`.
        **options: as in `clip4str_plugin.Reader`.
    """
    import_host("deepdoctection", "deepdoctection")
    from clip4str_adapters.deepdoctection_predictors import ClipOcrDetector
    from clip4str_plugin import Reader

    return ClipOcrDetector(Reader(detector, recognizer, **options))


def attach(
    analyzer: Any,
    recognizer: Recognizer | CLIP4STR | str | Path = "tiny",
    detector: str | Detector = "rapidocr",
    **options: Any,
) -> Any:
    """Let an analyzer (a ``DoctectionPipe``) read with CLIP4STR.

    Where a text recognizer reads the words that another component found, the recognizer is replaced. Where detector and
    recognizer are one, as in Tesseract, both are. Text that is taken from PDFs without reading stays so.

    Args:
        analyzer: what ``dd.get_dd_analyzer(...)`` gives, or a pipeline of your own.
        recognizer: as in `text_recognizer`.
        detector: as in `ocr_detector`; not used where deepdoctection has another component that finds words.
        **options: the fields of `clip4str_plugin.RecognizerOptions`.

    Returns:
        the same analyzer.

    Raises:
        TypeError: nothing in it reads text.
    """
    from clip4str_plugin.reading.recognizer import as_recognizer

    base = import_host("deepdoctection.extern.base", "deepdoctection")
    service_class = import_host("deepdoctection.pipe.text", "deepdoctection").TextExtractionService
    components = getattr(analyzer, "pipe_component_list", [])
    readers = [
        index
        for index, component in enumerate(components)
        if isinstance(component, service_class) and not isinstance(component.predictor, base.PdfMiner)
    ]
    if not readers:
        name = type(analyzer).__name__
        raise TypeError(f"{name} has no component that reads text; give an analyzer built with USE_OCR=True")
    words = as_recognizer(recognizer, **options)
    for index in readers:
        old = components[index]
        lines = any(category.value == "line" for category in old.extract_from_category)
        new = service_class(
            text_recognizer(words, granularity="line" if lines else "word")
            if isinstance(old.predictor, base.TextRecognizer)
            else ocr_detector(detector, words),
            extract_from_roi=old.extract_from_category or None,
        )
        new.set_inbound_filter(old.filter_func)
        new.timer_on = old.timer_on
        components[index] = new
    return analyzer
