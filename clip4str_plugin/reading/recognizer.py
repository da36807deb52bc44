"""Word crops in, text and confidences out."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast, get_args

import numpy as np
from PIL import Image

from clip4str_plugin.errors import ImageError
from clip4str_plugin.model.preprocess import Color, as_array, is_empty
from clip4str_plugin.model.transparency import lay_on_ground
from clip4str_plugin.options import RecognizerOptions
from clip4str_plugin.prefetch import prefetch

if TYPE_CHECKING:
    import torch

    from clip4str_plugin.model.clip4str import CLIP4STR
    from clip4str_plugin.reading.backend import Backend, ScoredText

__all__ = ["TALL", "Recognition", "Recognizer", "as_recognizer"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recognition:
    """What was read in one crop.

    Attributes:
        text: the characters, possibly none.
        confidence: between 0 and 1; see `clip4str_plugin.RecognizerOptions`.
        char_confidences: the probability of each character of ``text``, between 0 and 1.
        turns: by how many quarter turns, anticlockwise, the crop was turned to be read so (``turn_tall``).
    """

    text: str
    confidence: float
    char_confidences: tuple[float, ...]
    turns: int = 0


_NOTHING = Recognition("", 0.0, ())

# So many batches of crops are sorted by shape.
_GROUPED = 8

# Crops so many times as high as wide may show a word on end.
TALL = 1.5
# A single character that is as likely as this is no word on end, but narrow: turned, a 1 may read as two dots.
_LETTER = 0.5


class Recognizer:
    """Reads word crops of any size, in batches, and gives one `Recognition` for each, in order.

    Crops are uint8 arrays (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), contiguous or not, or Pillow images. Transparent
    parts get a background on which the text is visible. A crop without pixels gives empty text with confidence 0. The
    result of a crop depends neither on the batch size nor on the other crops.

    A recognizer may be used from several threads at once.

    Args:
        model: a model, which is put in evaluation mode; or what `clip4str_plugin.load_model` takes. The options
            affect this recognizer only, not others with the same model.
        on_error: what to do with a crop of a wrong type or shape: "raise" an ImageError that names its index, or read
            it as "empty" (text "", confidence 0, a warning in the log).
        **options: the fields of `clip4str_plugin.RecognizerOptions`.

    Raises:
        TypeError: there is no such option.
        ValueError: an argument is out of range, or ``charset`` holds characters the model does not know.
        CheckpointError: the model cannot be loaded.
        EngineError: the precision is not available on this device.

    >>> import numpy as np
    >>> from clip4str_plugin import Recognizer, load_model
    >>> recognizer = Recognizer(load_model("tiny"), charset="0123456789")
    >>> len(recognizer([np.zeros((32, 100, 3), np.uint8)] * 3))
    3
    """

    def __init__(
        self,
        model: CLIP4STR | str | Path = "tiny",
        *,
        on_error: Literal["raise", "empty"] = "raise",
        **options: Any,
    ) -> None:
        if on_error not in ("raise", "empty"):
            raise ValueError(f"on_error must be 'raise' or 'empty', is {on_error!r}")
        self.options = chosen = RecognizerOptions(**options)
        self._backend = _backend(model, chosen)
        self._source = model
        self.batch_size = chosen.batch_size or self._backend.batch_size
        self.on_error = on_error
        # Models of others need not know it.
        self.turn_tall = getattr(self.config, "turn_tall", False) if chosen.turn_tall is None else chosen.turn_tall

    def __call__(self, crops: Iterable[Any], color: Color = "rgb") -> list[Recognition]:
        """Read all crops.

        Args:
            crops: the crops, as the class describes them.
            color: channel order of arrays with three or four channels.

        Returns:
            one result a crop, in the same order.

        Raises:
            ImageError: a crop is unusable and ``on_error`` is "raise".
        """
        return list(self.stream(crops, color))

    def stream(self, crops: Iterable[Any], color: Color = "rgb") -> Iterator[Recognition]:
        """Read crops one batch after the other, and give each batch's results before the next is read.

        Memory does not grow with the number of crops: two batches exist at a time, on a GPU three. While a batch is
        read, a background thread takes the next crops from ``crops`` and prepares them; on a GPU, another starts on a
        batch while the results of the one before are made. Where all crops are there already (a
        list), those of like shape, and so of about as many characters, share a batch, so that short words do not wait
        for long ones; results then come for 8 batches at a time.

        Args and errors are those of `__call__`.
        """
        if color not in get_args(Color):
            raise ValueError(f"color must be 'rgb' or 'bgr', is {color!r}")
        if isinstance(crops, (str, bytes, Image.Image)) or (isinstance(crops, np.ndarray) and crops.ndim != 4):
            raise ImageError(f"crops is a single {type(crops).__name__}: pass a list or another iterable of crops")
        batches = self._prepare(iter(crops), color, _GROUPED if isinstance(crops, Sequence) else 1)
        # One batch leaves nothing to overlap, and a thread would only add to the latency.
        small = isinstance(crops, Sized) and len(crops) <= self.batch_size
        decoded = self._decoded(batches if small else prefetch(batches))
        return self._read(decoded if small or not self._backend.runs_ahead else prefetch(decoded))

    @property
    def config(self) -> Any:
        """The configuration of the model, see `clip4str_plugin.model.config.CLIP4STRConfig`."""
        return self._backend.config

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self._backend.device

    @property
    def model(self) -> CLIP4STR:
        """The PyTorch model; AttributeError where exported graphs read."""
        return self._of_pytorch("model")

    @property
    def dtype(self) -> torch.dtype:
        """The floating point type of the PyTorch model."""
        return self._of_pytorch("dtype")

    @property
    def upright(self) -> Recognizer:
        """The same recognizer without ``turn_tall``: for crops whose shape does not tell their direction any more."""
        if not self.turn_tall:
            return self
        same = copy.copy(self)
        same.turn_tall = False
        return same

    def with_pytorch(self) -> Recognizer:
        """Return a recognizer of the same model and options that computes with PyTorch."""
        if hasattr(self._backend, "model"):
            return self
        from clip4str_plugin.model.checkpoint import load_model

        # What computes without PyTorch was named.
        return Recognizer(load_model(cast(Path, self._source)), on_error=self.on_error, **asdict(self.options))

    def _of_pytorch(self, name: str) -> Any:
        if not hasattr(self._backend, name):
            raise AttributeError(
                f"no {name}: this recognizer reads with exported graphs; one around load_model(...) uses PyTorch"
            )
        return getattr(self._backend, name)

    def _prepare(self, crops: Iterator[Any], color: Color, grouped: int) -> Iterator[_Batch]:
        start = 0
        while chunk := [lay_on_ground(crop) for crop in islice(crops, self.batch_size * grouped)]:
            results = _Results([_NOTHING] * len(chunk), [-1.0] * len(chunk))
            views = [view for i, crop in enumerate(chunk) for view in self._views(i, crop)]
            if grouped > 1:
                views.sort(key=lambda view: view.elongation)
            size = self.batch_size  # halved by the reading thread when memory runs out
            for first in range(0, len(views), size):
                staged, shown = self._stage(chunk, views[first : first + size], start, color)
                yield _Batch(staged, shown, results, last=first + size >= len(views))
                del staged
            start += len(chunk)

    def _views(self, index: int, crop: Any) -> Iterator[_View]:
        elongation = _elongation(crop)
        yield _View(index, 0, elongation)
        if self.turn_tall and 0 < elongation <= 1 / TALL:
            yield _View(index, 1, 1 / elongation)
            yield _View(index, 3, 1 / elongation)

    def _stage(self, chunk: Sequence[Any], views: Sequence[_View], start: int, color: Color) -> tuple[Any, list[_View]]:
        """Stage the views of a chunk's crops that can be read; return them and which those are."""
        arrays: list[np.ndarray] = []
        shown: list[_View] = []
        for view in views:
            crop = chunk[view.crop]
            if is_empty(crop):
                continue
            try:
                array = as_array(crop, color)
            except ImageError as error:
                if self.on_error == "raise":
                    raise ImageError(f"crop {start + view.crop}: {error}") from error
                if not view.turns:
                    logger.warning("crop %d is read as empty: %s", start + view.crop, error)
            else:
                arrays.append(np.rot90(array, view.turns) if view.turns else array)
                shown.append(view)
        return self._backend.stage(arrays, color), shown

    def _decoded(self, batches: Iterator[_Batch]) -> Iterator[_Decoded]:
        for staged, shown, results, last in batches:
            readings = self._decode(staged)
            del staged
            yield _Decoded(readings, shown, results, last)

    def _read(self, batches: Iterator[_Decoded]) -> Iterator[Recognition]:
        combine = _COMBINE[self.options.confidence]
        for readings, shown, results, last in batches:
            for view, (text, probs) in zip(shown, readings):
                likelihood, best = math.prod(probs) if text else 0.0, results.likelihoods[view.crop]
                # A crop is read as it is before it is read turned: it is the less elongated one.
                is_narrow_letter = len(results.recognitions[view.crop].text) == 1 and best > _LETTER
                if view.turns and (is_narrow_letter or sum(map(str.isalnum, text)) < 2):
                    continue
                if likelihood > best:
                    chars = probs[: len(text)]
                    results.likelihoods[view.crop] = likelihood
                    results.recognitions[view.crop] = Recognition(text, combine(chars, probs), chars, view.turns)
            if last:
                yield from results.recognitions

    def _decode(self, batch: Any) -> Iterable[ScoredText]:
        """Return text and probabilities (characters, then the end token if there is one) of each image."""
        parts: list[Iterable[ScoredText]] = []
        done = 0
        while done < len(batch):
            part = batch[done : done + self.batch_size]
            try:
                parts.append(self._backend.read(part))
                done += len(part)
                continue
            except self._backend.out_of_memory:
                if len(part) == 1:
                    raise
            # Outside of the handler: the exception holds the frames, and they hold the memory to be freed.
            self.batch_size = max(1, min(self.batch_size, len(part) // 2))
            logger.warning("out of GPU memory with %d crops at a time: going on with %d", len(part), self.batch_size)
            self._backend.free_memory()
        return chain.from_iterable(parts)


def as_recognizer(source: Recognizer | CLIP4STR | str | Path, **options: Any) -> Recognizer:
    """Return the recognizer a host is to use.

    Args:
        source: a recognizer, taken as it is; a model; or what `clip4str_plugin.load_model` takes. Hosts name
            their architectures in one flat list, so ``"clip4str_base16"`` is understood as ``"base16"``.
        **options: the fields of `clip4str_plugin.RecognizerOptions`.

    Raises:
        ValueError: options come with a recognizer that is built already.
    """
    if isinstance(source, (str, Path)):
        return Recognizer(source if Path(source).exists() else str(source).removeprefix("clip4str_"), **options)
    # Whatever else is callable counts as built already; a model is what decodes.
    if hasattr(source, "generate"):
        return Recognizer(cast("CLIP4STR", source), **options)
    if options:
        raise ValueError(f"{sorted(options)} are for a model or its name; the recognizer given is built already")
    return source


def _backend(model: CLIP4STR | str | Path, options: RecognizerOptions) -> Backend:
    """Return what computes: exported graphs where the model has them and they can do it, else PyTorch."""
    if isinstance(model, (str, Path)) and options.precision in ("auto", "fp32"):
        from clip4str_plugin.model.devices import pick_device
        from clip4str_plugin.reading.graph_backend import GraphBackend, find_graphs

        folder = find_graphs(model)
        if folder is not None and pick_device(options.device) == "cpu":
            return GraphBackend(folder, options)
    from clip4str_plugin.reading.torch_backend import TorchBackend

    return TorchBackend(model, options)


class _View(NamedTuple):
    crop: int  # its place in its chunk
    turns: int  # quarter turns anticlockwise
    elongation: float  # width over height, turned


class _Results(NamedTuple):
    recognitions: list[Recognition]  # of a chunk's crops, to be filled; unreadable ones included
    likelihoods: list[float]  # of these texts, 0 of an empty one; -1 where nothing has been read yet


class _Batch(NamedTuple):
    staged: Any  # n crops, as the backend takes them
    shown: list[_View]  # what the n crops show
    results: _Results  # of the chunk
    last: bool  # of its chunk


class _Decoded(NamedTuple):
    readings: Iterable[ScoredText]  # of the n crops
    shown: list[_View]
    results: _Results
    last: bool


def _elongation(crop: Any) -> float:
    """Width over height, which tells about how many characters a crop shows; 0.0 for what is no image."""
    size: tuple[int, ...] = crop.size[::-1] if isinstance(crop, Image.Image) else getattr(crop, "shape", ())[:2]
    if len(size) < 2 or not size[0]:
        return 0.0
    height, width = size
    return width / height


_Probabilities = Sequence[float]
# Each takes the probabilities of the characters, and the same with that of the end token (where there is one).
_COMBINE: dict[str, Callable[[_Probabilities, _Probabilities], float]] = {
    "product": lambda chars, probs: math.prod(probs),
    "mean": lambda chars, probs: sum(chars) / len(chars) if chars else 0.0,
    "min": lambda chars, probs: min(chars, default=0.0),
    "geometric": lambda chars, probs: math.prod(chars) ** (1 / len(chars)) if chars else 0.0,
}
