"""What docTR and OnnxTR, its offspring without torch, have in common: how they pass pages, boxes and words around.

Both detect relative boxes with the score behind the corners, take the scores off, let hooks change the boxes, cut
crops, read them, and build a document from what came out of each step. Nothing here imports either of them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from clip4str_adapters._common import MarkedCrop
from clip4str_plugin.errors import DetectorError, PolygonError
from clip4str_plugin.geometry.polygons import checked_polygon, order_quad
from clip4str_plugin.reading.detectors import Detections, Detector, check_page, orient_detections

if TYPE_CHECKING:
    from clip4str_plugin.options import Orientation
    from clip4str_plugin.reading.recognizer import Recognizer

__all__ = ["AlignedScores", "DetectorBoxes", "HostDetector", "PerspectiveCrops", "WordReader", "to_detections"]


class WordReader:
    """Reads word crops the way both hosts want them read: ``reader(crops) -> [(text, confidence), ...]``.

    Crops are read as our own reader does: in other directions where they read badly, long words in parts. CLIP4STR
    reads up to ``max_label_length`` characters (25 as published) and a character is about half as wide as the crop is
    high, so a crop whose aspect ratio is over half that length holds more than one word: it is cut at its blanks, which
    come back as blanks in the text.

    Args:
        recognizer: reads the crops; its ``confidence`` is what the words carry.
        split_wide_crops: whether to do all this, or to read each crop as one upright word.
        orientation: which crops are tried in other directions: ``"off"``, ``"auto"`` or ``"on"``, see
            `clip4str_plugin.Reader`.
    """

    def __init__(
        self, recognizer: Recognizer, split_wide_crops: bool = True, orientation: Orientation = "auto"
    ) -> None:
        from clip4str_plugin.reading.long_words import longest_text

        self.recognizer = recognizer
        self.split_wide_crops = split_wide_crops
        self.orientation: Orientation = orientation
        self._widest = longest_text(recognizer) / 2

    def __call__(self, crops: Sequence[np.ndarray], **kwargs: Any) -> list[tuple[str, float]]:
        """Read word crops.

        Args:
            crops: uint8 RGB arrays (h, w, 3), views welcome; a crop without pixels reads as ``("", 0.0)``.
            **kwargs: ignored; the hosts pass the same ones to the detector.

        Returns:
            text and confidence of each crop, in their order.
        """
        from clip4str_plugin.reading.words import read_words

        pieces = [self._cut_at_blanks(crop) if crop.size else [] for crop in crops]
        words = [piece for crop in pieces for piece in crop]
        if self.split_wide_crops:
            origins = [getattr(word, "origin", None) or _Origin(index) for index, word in enumerate(words)]
            oriented = read_words(
                words,
                self.recognizer,
                orientation=self.orientation,
                on_end=[origin.on_end for origin in origins],
                lines=[origin.line for origin in origins],
            )
            found = [item.reading for item in oriented]
        else:
            found = self.recognizer(words)
        pairs = iter([(reading.text, float(reading.confidence)) for reading in found])
        return [_join([next(pairs) for _ in crop]) for crop in pieces]

    def _cut_at_blanks(self, crop: np.ndarray) -> list[np.ndarray]:
        from clip4str_plugin.reading.line_splitting import find_words

        height, width = crop.shape[:2]
        if not self.split_wide_crops or width <= self._widest * height:
            return [crop]
        columns = [(int(left * width), round(right * width)) for left, right in find_words(crop)]
        return [crop[:, start : max(start + 1, end)] for start, end in columns]


@dataclass(frozen=True)
class _Origin:
    """What `PerspectiveCrops` knows of a crop: the line it is a word of, and whether it stood on end."""

    line: Hashable
    on_end: bool = False


def _join(words: list[tuple[str, float]]) -> tuple[str, float]:
    if len(words) == 1:
        return words[0]
    words = [(text, confidence) for text, confidence in words if text]
    return " ".join(text for text, _ in words), float(np.mean([value for _, value in words])) if words else 0.0


def to_detections(page: np.ndarray, boxes: np.ndarray) -> Detections:
    """Turn a host's boxes of words into ours, in pixels and with the text's top left corner first.

    Args:
        page: uint8 (H, W, 3).
        boxes: relative; (N, 5, 2) with the score as fifth point, or straight (N, 5) with the score last.
    """
    if boxes.ndim == 2:
        quads, scores = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2), boxes[:, 4]
    else:
        quads, scores = boxes[:, :4], boxes[:, 4, -1]
    return orient_detections(list(quads * page.shape[1::-1]), scores, "word")


class HostDetector:
    """A detection predictor of one of the hosts as a detector of words of ours.

    Args:
        predictor: the host's; docTR's answers a dictionary of classes a page, OnnxTR's the boxes themselves.
    """

    def __init__(self, predictor: Any) -> None:
        self.predictor = predictor

    @classmethod
    def of_zoo(cls, zoo: Any, host: str, arch: Any, options: dict[str, Any]) -> HostDetector:
        """Build one of the host's detectors, with rotated boxes unless its options say otherwise.

        Args:
            zoo: the host's module ``models.detection.zoo``.
            host: its name, for errors.
            arch: name of an architecture, None for ``"fast_base"``, or a model of the host's.
            options: keyword arguments of the host's ``detection_predictor``.

        Raises:
            DetectorError: the host does not know the architecture or cannot get its weights.
        """
        arch = "fast_base" if arch is None else arch
        if isinstance(arch, str) and arch not in zoo.ARCHS:
            raise DetectorError(f"{host} has no detection architecture {arch!r}; it has {', '.join(zoo.ARCHS)}")
        try:
            return cls(zoo.detection_predictor(arch, **{"assume_straight_pages": False, **options}))
        except OSError as error:
            raise DetectorError(
                f"{host} cannot get the weights of {arch}: {error}; connect to the network once, or choose another "
                "detector"
            ) from error

    def __call__(self, pages: Sequence[np.ndarray]) -> list[Detections]:
        """Find words on pages, uint8 RGB (H, W, 3)."""
        for page in pages:
            check_page(page)
        found = self.predictor(list(pages)) if len(pages) else []
        boxes = (np.concatenate(list(one.values())) if isinstance(one, dict) else one for one in found)
        return [to_detections(page, one) for page, one in zip(pages, boxes)]


class DetectorBoxes:
    """Any detector of ours or of third parties, answering as the hosts' detection predictors do.

    The hosts work with quadrilaterals of words. Lines are cut into words, each with the score of its line. A word with
    more than four points stands in the document as the rectangle around it; `PerspectiveCrops` still crops it
    along its curve.

    Args:
        detector: see `clip4str_plugin.reading.detectors`.
        assume_straight_pages: give upright boxes around the polygons instead of the polygons.
    """

    def __init__(self, detector: Detector, assume_straight_pages: bool = True) -> None:
        self.detector = detector
        self.assume_straight_pages = assume_straight_pages
        # Where the hosts look up how to read the maps of `return_maps`.
        self.model = SimpleNamespace(postprocessor=SimpleNamespace(bin_thresh=0.5))

    def __call__(self, pages: list[np.ndarray], return_maps: bool = False, **kwargs: Any) -> Any:
        """Detect words.

        Args:
            pages: uint8 RGB arrays (H, W, 3).
            return_maps: also return float32 maps (H, W, 1), 1 inside the polygons; the hosts estimate angles from them.
            **kwargs: ignored; the hosts pass the same ones to the recognizer.

        Returns:
            relative boxes for each page: (N, 5) with the score last if pages are straight, else (N, 5, 2) with the
            score in the fifth point. With ``return_maps``, a pair of these and the maps.
        """
        found = self.detector(pages)
        if len(found) != len(pages):
            raise DetectorError(f"the detector {self.detector!r} returned {len(found)} results for {len(pages)} pages")
        words = [_words(page, detections) for page, detections in zip(pages, found)]
        notes = _notes.get()
        if notes is not None:
            notes.polygons = [polygons for polygons, _, _ in words]
            notes.lines = [lines for _, _, lines in words]
        boxes = [self._relative(page, polygons, scores) for page, (polygons, scores, _) in zip(pages, words)]
        return (
            (boxes, [_fill(page, polygons) for page, (polygons, _, _) in zip(pages, words)]) if return_maps else boxes
        )

    def _relative(self, page: np.ndarray, polygons: list[np.ndarray], scores: np.ndarray) -> np.ndarray:
        quads = np.asarray([_quad_of(polygon) for polygon in polygons], np.float32).reshape(-1, 4, 2)
        quads = np.clip(quads / np.asarray(page.shape[1::-1], np.float32), 0, 1)
        if self.assume_straight_pages:
            return np.concatenate([quads.min(axis=1), quads.max(axis=1), scores[:, None]], axis=1)
        return np.concatenate([quads, np.broadcast_to(scores[:, None, None], (len(scores), 1, 2))], axis=1)


def _words(page: np.ndarray, detections: Detections) -> tuple[list[np.ndarray], np.ndarray, list[int]]:
    """Polygons of words, (K, 2) float32 pixels, their scores, (N,), and lines; unreadable ones are left out."""
    if detections.granularity == "line":
        from clip4str_plugin.reading.regions import split_each

        words = split_each(page, detections.polygons)
    else:
        words = [_checked(polygon) for polygon in detections.polygons]
    polygons = [word for line in words for word in line]
    lines = np.repeat(np.arange(len(words)), [len(line) for line in words])
    return polygons, detections.scores[lines].astype(np.float32), lines.tolist()


def _checked(polygon: np.ndarray) -> list[np.ndarray]:
    from clip4str_plugin.geometry.text_strip import TextStrip

    try:
        return [TextStrip.of(polygon, "top-left").polygon(0, 1)]
    except PolygonError:
        return []


def _quad_of(polygon: np.ndarray) -> np.ndarray:
    """Four corners, the text's top left first: the polygon itself or the rectangle around a curved one."""
    return polygon if len(polygon) == 4 else order_quad(polygon, polygon[0])


def _fill(page: np.ndarray, polygons: list[np.ndarray]) -> np.ndarray:
    import cv2

    mask = np.zeros((*page.shape[:2], 1), np.float32)
    for polygon in polygons:
        cv2.fillPoly(mask, [np.round(polygon).astype(np.int32)], 1.0)
    return mask


@dataclass
class _Notes:
    """What the detector found, kept aside while the host passes on no more than the boxes.

    Attributes:
        boxes: the detector's own output, scores included: for each page an array, or one for each class.
        polygons: for each page the polygons behind the boxes, in pixels, where a detector of ours gave them.
        lines: for each page and polygon the line it is a word of.
    """

    boxes: list[Any] = field(default_factory=list)
    polygons: list[list[np.ndarray]] = field(default_factory=list)
    lines: list[list[int]] = field(default_factory=list)


# Those of the call under way in this thread: predictors may be shared between threads.
_notes: ContextVar[_Notes | None] = ContextVar("clip4str_notes", default=None)


class PerspectiveCrops:
    """Mixin for the hosts' predictors: perspective crops, and notes for `AlignedScores`.

    A subclass reads its pages within `noting` and hands what its detector answers to `note`.
    """

    det_predictor: Any
    _crop_orientation_disabled: bool

    @staticmethod
    @contextmanager
    def noting() -> Iterator[None]:
        """Keep the detector's answers while the host reads pages."""
        token = _notes.set(_Notes())
        try:
            yield
        finally:
            _notes.reset(token)

    @staticmethod
    def note(output: Any) -> None:
        """Keep an answer of the detector: boxes, or a pair of boxes and maps."""
        notes = _notes.get()
        if notes is not None:
            notes.boxes = output[0] if isinstance(output, tuple) else output

    def _prepare_crops(
        self, pages: list[np.ndarray], loc_preds: list[np.ndarray], assume_straight_pages: bool = False, **kwargs: Any
    ) -> tuple[list[list[np.ndarray]], list[np.ndarray]]:
        if assume_straight_pages:
            return super()._prepare_crops(pages, loc_preds, assume_straight_pages=True, **kwargs)  # type: ignore[misc]
        from clip4str_plugin.geometry.rectification import rectify
        from clip4str_plugin.reading.orientation import stands_on_end

        notes = _notes.get()
        nothing: list[list[Any]] = [[]] * len(pages)
        polygons, lines = (notes.polygons or nothing, notes.lines or nothing) if notes else (nothing, nothing)
        crops: list[list[np.ndarray]] = []
        kept = []
        for number, (page, quads, given) in enumerate(zip(pages, loc_preds, polygons)):
            page_crops: list[np.ndarray] = []
            page_quads = []
            given_quads = np.asarray([_quad_of(polygon) for polygon in given], np.float32).reshape(-1, 4, 2)
            size = np.asarray(page.shape[1::-1], np.float32)
            for quad in quads:
                try:
                    corners = self._oriented(quad[:4] * size)
                    behind = _behind(corners, given_quads)
                    polygon = corners if behind is None else given[behind]
                    crop = rectify(page, polygon, start="top-left")
                except PolygonError:
                    continue
                line = ("alone", len(page_crops)) if behind is None else lines[number][behind]
                page_crops.append(MarkedCrop.of(crop, _Origin((number, line), stands_on_end(polygon))))
                page_quads.append(corners / size)
            crops.append(page_crops)
            kept.append(np.asarray(page_quads, dtype=quads.dtype).reshape(-1, 4, 2))
        return crops, kept

    def _oriented(self, quad: np.ndarray) -> np.ndarray:
        """Put the text's own top left corner first, unless the detector did or the host's classifier is about to."""
        told = isinstance(getattr(self.det_predictor, "boxes", self.det_predictor), DetectorBoxes)
        return quad if told or not self._crop_orientation_disabled else order_quad(checked_polygon(quad))


def _behind(quad: np.ndarray, quads: np.ndarray) -> int | None:
    """Which polygon of our detector a quadrilateral, in pixels, stands for, given those that stand for the polygons.

    The quadrilateral has lost a curve, and by rounding as much as makes a crop a pixel wider or narrower.
    """
    if not len(quads):
        return None
    distances = np.abs(quads - quad).max(axis=(1, 2))
    nearest = int(distances.argmin())
    return nearest if distances[nearest] < 0.5 else None


class AlignedScores:
    """Mixin for the hosts' document builders: each word gets the objectness score of its own box.

    The hosts take the scores off before hooks and crops remove or reorder boxes, and do not follow with the scores.
    """

    def __call__(self, pages: Any, boxes: Any, objectness_scores: Any, *args: Any, **kwargs: Any) -> Any:
        """Build the document; arguments as in the host's builder."""
        notes = _notes.get()
        if notes and notes.boxes:
            objectness_scores = [_page_scores(final, found) for final, found in zip(boxes, notes.boxes)]
        return super().__call__(pages, boxes, objectness_scores, *args, **kwargs)  # type: ignore[misc]


def _page_scores(boxes: Any, detected: Any) -> Any:
    if isinstance(boxes, dict):
        return {name: _scores_of(boxes[name], detected.get(name, np.zeros((0, 5)))) for name in boxes}
    return _scores_of(boxes, next(iter(detected.values())) if isinstance(detected, dict) else detected)


def _scores_of(boxes: np.ndarray, detected: np.ndarray) -> np.ndarray:
    """Find the score of each box of a page again.

    Args:
        boxes: (N, 4) or (N, 4, 2), relative.
        detected: (M, 5) or (M, 5, 2), the detector's boxes with their scores last.

    Returns:
        (N,) the scores of the detected boxes with the nearest centres; 0.0 for a box that no centre lies in, which is
        one that a hook has added.
    """
    from scipy.spatial import KDTree

    scores = detected[:, -1] if detected.ndim == 2 else detected[:, -1, -1]
    if not len(boxes) or not len(detected):
        return np.zeros(len(boxes), np.float32)
    corners, found = (array.reshape(len(array), -1, 2) for array in (boxes, detected[:, :4]))
    centres = found.mean(axis=1)
    _, nearest = KDTree(centres).query(corners.mean(axis=1))
    inside = (centres[nearest] >= corners.min(axis=1)) & (centres[nearest] <= corners.max(axis=1))
    return np.where(inside.all(axis=1), scores[nearest], 0.0).astype(np.float32)
