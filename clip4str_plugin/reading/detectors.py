"""Text detectors: what they are, and how they are found by name.

A detector is any callable ``detect(pages) -> list[Detections]``: uint8 RGB pages in, one `Detections` for each
out.
Installed packages offer theirs through the entry-point group ``clip4str.detectors``, whose values are factories
``factory(arch: str | None = None, **options) -> detector``.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from clip4str_plugin.errors import Clip4StrError, DetectorError
from clip4str_plugin.plugins import find_plugins

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "DETECTOR_GROUP",
    "Detections",
    "Detector",
    "available_detectors",
    "check_page",
    "load_detector",
    "orient_detections",
]

DETECTOR_GROUP = "clip4str.detectors"


@dataclass(frozen=True, eq=False)
class Detections:
    """The text regions of one page.

    Attributes:
        polygons: one (K, 2) float32 array a region, K >= 4, in pixels of the page with (0, 0) at the top left corner of
            the top left pixel, clockwise from the top left corner *of the text*.
        scores: (N,) float32, how sure the detector is of each region, in [0, 1].
        granularity: whether a region holds one ``"word"`` or a whole ``"line"``.
        detector: the name of the detector, if it was chosen from several, else "".
        rivals: what another detector found on the same page, or None. `clip4str_plugin.Reader` reads both and
            keeps the better result where they overlap; other readers may ignore them.
    """

    polygons: list[np.ndarray]
    scores: np.ndarray
    granularity: Literal["word", "line"] = "word"
    detector: str = ""
    rivals: Detections | None = None

    def __post_init__(self) -> None:
        import numpy as np

        polygons = [np.asarray(polygon, dtype=np.float32) for polygon in self.polygons]
        scores = np.asarray(self.scores, dtype=np.float32).reshape(-1)
        for index, polygon in enumerate(polygons):
            if polygon.ndim != 2 or polygon.shape[1] != 2 or len(polygon) < 4:
                raise DetectorError(f"polygon {index} has shape {polygon.shape}; (K, 2) with K >= 4 is expected")
        if len(polygons) != len(scores):
            raise DetectorError(f"{len(polygons)} polygons come with {len(scores)} scores; one a polygon is expected")
        if self.granularity not in ("word", "line"):
            raise DetectorError(f"granularity is {self.granularity!r}; 'word' or 'line' is expected")
        object.__setattr__(self, "polygons", polygons)
        object.__setattr__(self, "scores", scores)

    def __len__(self) -> int:
        return len(self.polygons)


class Detector(Protocol):
    """A function that finds the text of pages; see the module's docstring.

    Two attributes are optional: ``max_side``, the longest side in pixels that it looks at without shrinking the page
    (2048 is assumed), and ``named(name) -> Detector``, which returns the detector that ``Detections.detector`` names.
    """

    def __call__(self, pages: Sequence[np.ndarray]) -> list[Detections]:
        """Return one `Detections` a page, in the order of the pages.

        Args:
            pages: uint8 RGB arrays of shape (H, W, 3), of any sizes.
        """
        ...


def available_detectors() -> list[str]:
    """Return the sorted names of all installed detectors, without importing them.

    >>> from clip4str_plugin import available_detectors
    >>> "rapidocr" in available_detectors()
    True
    """
    return sorted({plugin.name for plugin in find_plugins(DETECTOR_GROUP)})


def load_detector(detector: str | Detector, **options: Any) -> Detector:
    """Build a detector from its name.

    >>> from clip4str_plugin import load_detector
    >>> detect = load_detector("rapidocr")
    >>> detect = load_detector("doctr:fast_tiny", pretrained=False, pretrained_backbone=False)

    Args:
        detector: ``"name"`` or ``"name:arch"`` of an entry point of the group ``clip4str.detectors``; ``arch`` goes to
            the factory as it is. A detector that is built already is returned unchanged.
        **options: keyword arguments of the factory.

    Raises:
        DetectorError: no package offers the name, two packages do, or its factory fails.
    """
    if not isinstance(detector, str):
        if options:
            raise DetectorError(f"options {sorted(options)} are for a detector's name; {detector!r} is built already")
        if not callable(detector):
            raise DetectorError(f"a detector is a name or a callable, not {type(detector).__name__}")
        return detector
    name, _, arch = detector.partition(":")
    plugins = find_plugins(DETECTOR_GROUP, name)
    if not plugins:
        raise DetectorError(f"no detector is called {name!r}; installed: {', '.join(available_detectors()) or 'none'}")
    if len({plugin.value for plugin in plugins}) > 1:
        owners = ", ".join(f"{plugin.distribution} ({plugin.value})" for plugin in plugins)
        raise DetectorError(f"the detector name {name!r} is taken by several packages: {owners}; uninstall all but one")
    plugin = plugins[0]
    try:
        return plugin.load()(arch=arch or None, **options)
    except Clip4StrError:
        raise
    except Exception as error:
        raise DetectorError(
            f"the detector {detector!r} of {plugin.distribution} {plugin.version} cannot be loaded: "
            f"{type(error).__name__}: {error}"
        ) from error


def check_page(page: Any) -> None:
    """Check that a page is a uint8 RGB array with at least one pixel.

    Raises:
        ImageError: it is something else; the message says what.
    """
    import numpy as np

    from clip4str_plugin.errors import ImageError

    if not isinstance(page, np.ndarray) or page.dtype != np.uint8 or page.ndim != 3 or page.shape[2] != 3:
        came = f"{page.dtype} array {page.shape}" if isinstance(page, np.ndarray) else type(page).__name__
        raise ImageError(f"a page is a uint8 RGB array of shape (H, W, 3), not {came}")
    if page.size == 0:
        raise ImageError(f"a page of shape {page.shape} holds no pixel")


def orient_detections(
    quads: Sequence[np.ndarray], scores: Sequence[float] | np.ndarray, granularity: Literal["word", "line"]
) -> Detections:
    """Build `Detections` from a host's boxes whose first corner says nothing about the text.

    The corners are put in the likeliest reading order (see
    `clip4str_plugin.geometry.polygons.order_quad`), longer outlines likewise; boxes that no pixel fits in are
    left out together with their scores.

    Args:
        quads: (4, 2) corners in pixels each, in any winding, or (K, 2) outlines.
        scores: one a quad.
        granularity: as in `Detections`.
    """
    import numpy as np

    from clip4str_plugin.errors import PolygonError
    from clip4str_plugin.geometry.polygons import checked_polygon, order_quad
    from clip4str_plugin.geometry.text_strip import TextStrip

    kept: list[np.ndarray] = []
    kept_scores: list[float] = []
    for quad, score in zip(quads, scores):
        try:
            points = checked_polygon(quad)
            corners = order_quad(points) if len(points) <= 4 else TextStrip.of(points).polygon(0, 1)
        except PolygonError:
            continue
        sides = np.linalg.norm(np.diff(corners[:3], axis=0), axis=1)
        if len(corners) > 4 or sides.min() >= 1:
            kept.append(corners)
            kept_scores.append(float(score))
    return Detections(kept, np.asarray(kept_scores, dtype=np.float32), granularity)


class OneAtATime:
    """Makes a detector safe to call from several threads: calls run one after the other.

    Args:
        detector: is never entered by two threads at once.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._lock = threading.Lock()

    def __call__(self, pages: Sequence[np.ndarray]) -> list[Detections]:
        """Find the text of pages when it is the caller's turn."""
        with self._lock:
            return self._detector(pages)
