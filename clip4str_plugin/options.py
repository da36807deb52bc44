"""The options of recognizing and reading: each has one name and one default, wherever it is accepted."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

__all__ = ["Confidence", "Orientation", "Precision", "ReadOptions", "RecognizerOptions", "split_options"]

Precision = Literal["fp32", "bf16", "fp8", "int8", "auto"]
Confidence = Literal["product", "mean", "min", "geometric"]
Orientation = Literal["off", "auto", "on"]


@dataclass(frozen=True)
class RecognizerOptions:
    """How crops are recognized.

    Attributes:
        device: "cpu", "cuda", "cuda:1" ...; "auto" is the GPU if there is one. A model that was built before
            stays where it is with "auto".
        precision: the number format to compute in: "fp32", "bf16", "fp8", "int8" or "auto", see
            `clip4str_plugin.model.engines.set_precision`. A model that was built before stays as it is with
            "auto".
        batch_size: crops per batch; None for 32 on a CPU and 512 on a GPU. If a GPU runs out of memory, the size is
            halved permanently, and reading goes on.
        confidence: how the confidence of a word follows from the probabilities of its characters: "product" as
            published, including the probability that the word ends there; "mean", "min" or "geometric" (mean) of the
            characters alone. For empty text "product" is the probability of an immediate end, the others are 0.
        charset: the characters that may be read, for example "0123456789". Others are excluded while decoding, and
            probabilities are relative to the allowed ones. None allows all characters of the model.
        early_exit: faster, approximate: words whose characters all have at least this probability after the visual
            branch are not refined and skip the cross-modal branch. None follows the model's configuration on a CPU and
            never skips it on a GPU; so do published models, everywhere.
        turn_tall: read crops that are at least 1.5 times as high as wide three times, as they are and turned by a
            quarter to either side, and keep the most likely result. None follows the model's configuration.

    Raises:
        ValueError: a value is out of range.
    """

    device: str = "auto"
    precision: Precision = "auto"
    batch_size: int | None = None
    confidence: Confidence = "product"
    charset: str | None = None
    early_exit: float | None = None
    turn_tall: bool | None = None

    def __post_init__(self) -> None:
        _check_choice("precision", self.precision, Precision)
        _check_choice("confidence", self.confidence, Confidence)
        if self.batch_size is not None:
            _check_count("batch_size", self.batch_size)
        if self.charset == "":
            raise ValueError("charset is empty: name the characters to read, or None for all")
        if self.early_exit is not None and not 0 <= self.early_exit <= 1:
            raise ValueError(f"early_exit is a probability between 0 and 1, or None; is {self.early_exit}")


@dataclass(frozen=True)
class ReadOptions:
    """How pages are read.

    Attributes:
        orientation: which words are also read in other directions, keeping the most likely result: "off" none; "auto"
            vertical and doubtful ones; "on" all, which takes several times as long.
        min_confidence: words with a lower confidence are doubtful and left out (``Page.left_out``). This removes most
            false detections. If the confidence is a product, which falls with every character, a word of more than
            eight characters is treated as if it had eight. If the rest of their line is read well, words of up to
            three characters need two fifths of the limit only, and longer ones three fifths. Words of up to three
            characters that only one of two detectors found need more: 0.9 in place of 0.5. The best limit depends on
            the model and on ``confidence``; 0 keeps everything.
        keep_doubtful: keep doubtful words in ``Page.words``, marked by ``Word.doubtful``, instead of leaving them out.
        other_views: read doubtful words and regions again from other views and keep the most likely result: regions
            given to ``Reader.read_regions`` with more margin and as the upright box around them, words of lines with
            more beside them and less above and below, detected words with more margin and turned by 12 degrees. Clear
            ones are read once; photos cost up to a third more crops.
        page_batch_size: pages per batch: the detector gets them together, and their words share batches. Up to four
            batches are in work at a time.

    Raises:
        ValueError: a value is out of range.
    """

    orientation: Orientation = "auto"
    # Chosen on photos of streets and on forms: the embedded model's confidences are close to probabilities, and nine in
    # ten of the words it reads less surely than this are wrong or no text.
    min_confidence: float = 0.5
    keep_doubtful: bool = False
    other_views: bool = True
    page_batch_size: int = 1

    def __post_init__(self) -> None:
        _check_choice("orientation", self.orientation, Orientation)
        if not 0 <= self.min_confidence <= 1:
            raise ValueError(f"min_confidence is {self.min_confidence}; it must lie between 0 and 1")
        _check_count("page_batch_size", self.page_batch_size)


def split_options(options: dict[str, Any]) -> tuple[ReadOptions, dict[str, Any]]:
    """Part the options of reading from those of recognizing.

    Args:
        options: fields of `ReadOptions` and `RecognizerOptions`.

    Returns:
        the options of reading, and what is left for the recognizer.

    Raises:
        TypeError: there is no such option.
        ValueError: a value is out of range.
    """
    reading = {field.name for field in fields(ReadOptions)}
    known = reading | {field.name for field in fields(RecognizerOptions)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise TypeError(f"there is no option {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    return (
        ReadOptions(**{name: value for name, value in options.items() if name in reading}),
        {name: value for name, value in options.items() if name not in reading},
    )


def _check_choice(name: str, value: object, choices: Any) -> None:
    if value not in get_args(choices):
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, get_args(choices)))}")


def _check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")
