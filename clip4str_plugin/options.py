"""How to recognize and how to read: every switch once, under one name and with one default wherever it is taken."""

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
        device: "cpu", "cuda", "cuda:1" ...; "auto" is the GPU where there is one. A model that is built already stays
            where it is with "auto".
        precision: "fp32", "bf16", "fp8", "int8" or "auto", and by which engine the model computes, see
            :func:`clip4str_plugin.model.engines.set_precision`. A model that is built already stays as it is with
            "auto".
        batch_size: crops in one pass through the model; None for 32 on a CPU and 512 on a GPU. When a GPU runs out of
            memory the size is halved, for good, and reading goes on.
        confidence: how the confidence of a word follows from the probabilities of its characters: "product" as
            published, including the probability that the word ends there; "mean", "min" or "geometric" (mean) of the
            characters alone. For empty text "product" is the probability of an immediate end, the others are 0.
        charset: the only characters that may be read, "0123456789" say. The others are excluded while decoding, so
            that the probabilities are those among the characters left. None allows all the model knows.
        early_exit: approximate and faster: words whose characters the visual branch all reads with at least this
            probability are neither refined nor corrected by the cross-modal branch. None corrects all.
        turn_tall: read crops at least 1.5 times as high as wide in three ways, as they are and turned by a quarter to
            either side, and keep the likeliest reading. A narrow letter stays as it is. None does what the model's
            configuration says.

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
        orientation: which words are read again in other directions, the likeliest reading winning: "off" none; "auto"
            those that stand on end or read badly; "on" all, at several times the cost.
        min_confidence: words below it are doubtful and left out (``Page.left_out``): this removes most false
            detections. If confidence is a product, which falls with every character, words of over eight characters
            are held to it as if they had eight. Up to three characters are held to two fifths of it in a line that is
            read well otherwise. The best limit depends on the model and on how its confidence is computed; 0 doubts
            nothing.
        keep_doubtful: keep doubtful words among the others, marked (``Word.doubtful``), in place of leaving them out.
        other_views: read regions again whose outline or reading leaves doubt, from other views: with more margin, from
            the upright box around them; the likeliest reading wins. This costs nothing where all is clear.
        page_batch_size: how many pages the detector gets at a time, and whose words are read together; twice as many
            are in memory.

    Raises:
        ValueError: a value is out of range.
    """

    orientation: Orientation = "auto"
    # Chosen on photos of streets and on forms: the embedded model's confidences are close to probabilities, and nine in
    # ten of the words it reads less surely than this are wrong or no text.
    min_confidence: float = 0.5
    keep_doubtful: bool = False
    other_views: bool = True
    page_batch_size: int = 2

    def __post_init__(self) -> None:
        _check_choice("orientation", self.orientation, Orientation)
        if not 0 <= self.min_confidence <= 1:
            raise ValueError(f"min_confidence is {self.min_confidence}; it must lie between 0 and 1")
        _check_count("page_batch_size", self.page_batch_size)


def split_options(options: dict[str, Any]) -> tuple[ReadOptions, dict[str, Any]]:
    """Part the options of reading from those of recognizing.

    Args:
        options: fields of :class:`ReadOptions` and :class:`RecognizerOptions`.

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
