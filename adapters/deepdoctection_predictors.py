"""The predictors behind `clip4str_adapters.deepdoctection`; importing this loads deepdoctection."""

from __future__ import annotations

import logging
from typing import Any, Literal

import numpy as np
from dd_core.utils.object_types import LayoutLabel
from deepdoctection.extern.base import DetectionResult, ModelCategories, ObjectDetector, TextRecognizer

from clip4str_plugin.reading.detectors import Detector
from clip4str_plugin.reading.line_reading import mean_confidence, read_lines
from clip4str_plugin.reading.long_words import longest_text
from clip4str_plugin.reading.reader import Reader
from clip4str_plugin.reading.recognizer import Recognizer
from clip4str_plugin.reading.regions import split_each
from clip4str_plugin.reading.words import read_words

__all__ = ["ClipOcrDetector", "ClipTextRecognizer", "ClipWordDetector"]

logger = logging.getLogger(__name__)


class _Predictor:
    """What deepdoctection wants of each predictor. Copies share the model, which several threads may use."""

    name: str

    @classmethod
    def get_requirements(cls) -> list[Any]:
        """Nothing but this package is needed."""
        return []

    def clear_model(self) -> None:
        """Nothing is trained here that would have to be loaded anew."""


class ClipTextRecognizer(_Predictor, TextRecognizer):
    """CLIP4STR as a text recognizer; the score of a text is the mean over its characters.

    Args:
        recognizer: reads the words.
        granularity: what a region holds.
    """

    def __init__(self, recognizer: Recognizer, granularity: Literal["word", "line"] = "word") -> None:
        self.recognizer = recognizer
        self.granularity = granularity
        self.name = "clip4str_recognizer"
        self.model_id = self.get_model_id()

    def predict(self, images: list[tuple[str, np.ndarray]]) -> list[DetectionResult]:
        """Read regions.

        Args:
            images: annotation ids with uint8 BGR arrays (h, w, 3).

        Returns:
            one result an image, with its annotation id.
        """
        crops = [np.ascontiguousarray(crop, dtype=np.uint8) for _, crop in images]
        if self.granularity == "line":
            read = [(line.text, line.confidence) for line in read_lines(self.recognizer, crops, color="bgr")]
        else:
            found = read_words(
                crops, lambda views: self.recognizer(views, color="bgr"), max_length=longest_text(self.recognizer)
            )
            read = [(word.reading.text, mean_confidence([word.reading])) for word in found]
        return [DetectionResult(text=text, score=score, uuid=uuid) for (uuid, _), (text, score) in zip(images, read)]

    def clone(self) -> ClipTextRecognizer:
        """Return a recognizer with the same model."""
        return type(self)(self.recognizer, self.granularity)


class _WordFinder(_Predictor, ObjectDetector):
    def __init__(self, name: str) -> None:
        self.name = name
        self.model_id = self.get_model_id()
        self.categories = ModelCategories(init_categories={1: LayoutLabel.WORD})

    def get_category_names(self) -> tuple[Any, ...]:
        """All that is found are words."""
        return self.categories.get_categories(as_dict=False)


class ClipWordDetector(_WordFinder):
    """A detector of ours as an object detector of words.

    Args:
        detector: see `clip4str_plugin.reading.detectors`.
        name: for deepdoctection's ids of models.
    """

    def __init__(self, detector: Detector, name: str) -> None:
        super().__init__(f"clip4str_detector_{name}")
        self.detector = detector
        self._detector_name = name

    def predict(self, np_img: np.ndarray) -> list[DetectionResult]:
        """Find words on a page, uint8 BGR (H, W, 3)."""
        page = _to_rgb(np_img)
        (found,) = self.detector([page])
        polygons = found.polygons
        lines = split_each(page, polygons) if found.granularity == "line" else [[polygon] for polygon in polygons]
        results = [_word(word, page, score) for words, score in zip(lines, found.scores.tolist()) for word in words]
        return [result for result in results if result is not None]

    def clone(self) -> ClipWordDetector:
        """Return a detector with the same network."""
        return type(self)(self.detector, self._detector_name)


class ClipOcrDetector(_WordFinder):
    """Our reader as an object detector that reads what it finds.

    Args:
        reader: finds and reads the words.
    """

    def __init__(self, reader: Reader) -> None:
        super().__init__("clip4str_reader")
        self.reader = reader

    def predict(self, np_img: np.ndarray) -> list[DetectionResult]:
        """Find and read the words of a page, uint8 BGR (H, W, 3), in reading order."""
        page = _to_rgb(np_img)
        (read,) = self.reader.stream([page])
        if read.error is not None:
            logger.error("a page cannot be read: %s", read.error)
        results = []
        for word in read.words:
            score = mean_confidence([word])
            result = _word(word.polygon, page, score)
            if result is not None:
                result.text, result.block, result.line = word.text, str(word.block), str(word.line)
                results.append(result)
        return results

    def clone(self) -> ClipOcrDetector:
        """Return a detector with the same reader."""
        return type(self)(self.reader)


def _to_rgb(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image[..., ::-1], dtype=np.uint8)


def _word(polygon: np.ndarray, page: np.ndarray, score: float) -> DetectionResult | None:
    """The upright box around a word, None where it lies beside the page."""
    height, width = page.shape[:2]
    corners = np.clip(polygon, 0, (width, height))
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    if right - left < 1 or bottom - top < 1:
        return None
    return DetectionResult(
        box=[left, top, right, bottom], class_id=1, class_name=LayoutLabel.WORD, score=score, absolute_coords=True
    )
