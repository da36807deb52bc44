"""Options that several sub-commands share, and the objects that are built from them."""

from __future__ import annotations

import argparse
import ast
import inspect
import os
import sys
from collections.abc import Collection
from dataclasses import fields
from typing import TYPE_CHECKING, Any, get_args

from clip4str_plugin.cli import UsageError
from clip4str_plugin.errors import Clip4StrError
from clip4str_plugin.model.devices import MOST_THREADS
from clip4str_plugin.options import Precision, RecognizerOptions

if TYPE_CHECKING:
    from clip4str_plugin.reading.detectors import Detector
    from clip4str_plugin.reading.recognizer import Recognizer

__all__ = [
    "add_charset_argument",
    "add_detector_arguments",
    "add_input_arguments",
    "add_model_arguments",
    "add_output_arguments",
    "add_views_argument",
    "build_detector",
    "build_recognizer",
    "not_negative",
    "positive",
    "threads",
    "whole",
]

# Whatever is counted, more than this is a slip, and libraries fail with numbers of more than 64 bits.
_MOST = 10**12


def whole(text: str, least: int = 1, most: int = _MOST) -> int:
    """Parse a whole number within bounds; for ``type=`` of argparse."""
    try:
        value = int(text.replace("_", ""))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no whole number") from None
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"{value} is not from {least} to {most}")
    return value


def positive(text: str) -> int:
    """Parse a whole number of at least 1; for ``type=`` of argparse."""
    return whole(text)


def threads(text: str) -> int:
    """Parse a number of threads; for ``type=`` of argparse."""
    return whole(text, most=MOST_THREADS)


def not_negative(text: str) -> int:
    """Parse a whole number of at least 0; for ``type=`` of argparse."""
    return whole(text, least=0)


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the input paths and their options."""
    from clip4str_plugin.io.images import MAX_PIXELS, PDF_DPI

    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="an image, a PDF, or a folder of them; a URL with --allow-url"
    )
    group = parser.add_argument_group("input")
    group.add_argument("--recursive", action="store_true", help="read subfolders too")
    group.add_argument(
        "--allow-url",
        action="store_true",
        help="download a PATH that is an http or https URL (at most 100 MB and 60 s)",
    )
    group.add_argument(
        "--max-pixels",
        type=positive,
        default=MAX_PIXELS,
        metavar="N",
        help="refuse pages with more pixels (default: %(default)s)",
    )
    group.add_argument(
        "--dpi", type=positive, default=PDF_DPI, metavar="N", help="resolution of PDF pages (default: %(default)s)"
    )


def add_hub_argument(parser: argparse._ActionsContainer) -> None:
    """Add ``--allow-hub``, which every command has that loads a weight file."""
    parser.add_argument(
        "--allow-hub",
        action="store_true",
        help="allow a weight file to use encoders and tokenizers that are downloaded from timm or the Hugging Face hub",
    )


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model and its options."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        default="tiny",
        metavar="NAME|FILE",
        help="name of a model, see `clip4str models`, or a weight file (default: %(default)s, built in)",
    )
    add_hub_argument(group)
    group.add_argument(
        "--device", default="auto", metavar="NAME", help="cpu, cuda, cuda:1 ... (default: the GPU if there is one)"
    )
    group.add_argument(
        "--precision",
        choices=get_args(Precision),
        default="auto",
        help="number format to compute in; auto is bf16 for large models on machines that support it, else fp32; int8 "
        "and fp8 change a few results (default: %(default)s)",
    )
    group.add_argument(
        "--early-exit",
        type=float,
        metavar="P",
        help="faster, approximate: skip the second branch for words whose characters all have this probability after "
        "the first one, for example 0.99 (default: never skip)",
    )
    group.add_argument(
        "--batch-size", type=positive, metavar="N", help="words in one batch (default: 32 on a CPU, 512 on a GPU)"
    )
    group.add_argument("--threads", type=threads, metavar="N", help="CPU threads (default: one per core)")
    group.add_argument(
        "--confidence",
        choices=["product", "mean", "min", "geometric"],
        default="product",
        help="how to compute the confidence of a word from its characters (default: %(default)s)",
    )


def add_charset_argument(parser: argparse.ArgumentParser) -> None:
    """Add the charset."""
    parser.add_argument("--charset", metavar="CHARACTERS", help="read these characters only, for example 0123456789")


def add_views_argument(parser: argparse.ArgumentParser) -> None:
    """Add whether doubtful words are looked at again."""
    parser.add_argument(
        "--no-other-views",
        dest="other_views",
        action="store_false",
        help="faster: do not read doubtful words again, with more margin and turned by 12 degrees",
    )


def add_output_arguments(
    parser: argparse.ArgumentParser, formats: Collection[str], place: str
) -> argparse._ActionsContainer:
    """Add ``--format`` and ``--output``.

    Args:
        parser: of the sub-command.
        formats: the names of those it can write.
        place: what ``--output`` may be, for the help.

    Returns:
        the group of the options, for more of them.
    """
    group = parser.add_argument_group("output")
    group.add_argument(
        "-f", "--format", choices=formats, help="(default: what the suffix of --output names, such as .json, or text)"
    )
    group.add_argument("-o", "--output", metavar="PATH", help=f"{place} (default: standard output)")
    return group


def add_detector_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the detector and its options."""
    group = parser.add_argument_group("detector")
    group.add_argument(
        "--detector",
        default="auto",
        metavar="NAME[:ARCH]",
        help="text detector, see `clip4str plugins` (default: %(default)s, which uses rapidocr, and craft as well on "
        "photos; both work offline)",
    )
    group.add_argument(
        "--detector-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="option for the detector, for example max_side=4096; may be repeated",
    )


def build_recognizer(
    args: argparse.Namespace, overrides: dict[str, Any] | None = None, *, pytorch: bool = False
) -> Recognizer:
    """Load the model and build the recognizer from the options.

    Args:
        args: parsed with `add_model_arguments`.
        overrides: changes to the model's configuration.
        pytorch: the recognizer's PyTorch model is needed; in fp32 it computes the encoders, too.

    Raises:
        Clip4StrError: the model cannot be loaded.
        UsageError: device or charset do not exist.
    """
    from clip4str_plugin.model.devices import pick_device
    from clip4str_plugin.reading.recognizer import Recognizer

    if args.threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(args.threads)  # of PyTorch, which may not be loaded yet, and of graphs
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(args.threads)
    chosen = {field.name: getattr(args, field.name) for field in fields(RecognizerOptions) if hasattr(args, field.name)}
    model = args.model
    try:
        if overrides or args.allow_hub or pytorch:
            from clip4str_plugin.model import load_model

            placed = {"device": pick_device(chosen.pop("device")), "precision": chosen.pop("precision")}
            if pytorch and placed["precision"] == "fp32":
                placed["precision"] = None  # PyTorch alone, which starts without making graphs
            model = load_model(model, allow_hub=args.allow_hub, **placed, **(overrides or {}))
        return Recognizer(model, **chosen)
    except ValueError as error:
        if isinstance(error, Clip4StrError):
            raise
        raise UsageError(str(error)) from None


def build_detector(args: argparse.Namespace) -> Detector:
    """Load the detector from the options.

    ``--threads`` and ``--device`` go to detectors whose factory takes them.

    Args:
        args: parsed with `add_model_arguments` and `add_detector_arguments`.

    Raises:
        Clip4StrError: the detector cannot be loaded.
        UsageError: an option is not of the form KEY=VALUE.
    """
    from clip4str_plugin.reading.detectors import load_detector

    options = {}
    for item in args.detector_option:
        key, equals, value = item.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"--detector-option takes KEY=VALUE, not {item!r}")
        options[key] = _value(value)
    taken = _parameters(args.detector)
    chosen: dict[str, Any] = {}
    if "threads" in taken and args.threads is not None:
        chosen["threads"] = args.threads
    if "device" in taken:
        from clip4str_plugin.model.devices import pick_device

        chosen["device"] = pick_device(args.device)
    return load_detector(args.detector, **{**chosen, **options})


def _parameters(detector: str) -> set[str]:
    """The names of the parameters that a detector's factory has, none if it cannot be loaded."""
    from clip4str_plugin.plugins import find_plugins
    from clip4str_plugin.reading.detectors import DETECTOR_GROUP

    try:
        return {
            name
            for plugin in find_plugins(DETECTOR_GROUP, detector.partition(":")[0])
            for name in inspect.signature(plugin.load()).parameters
        }
    except Exception:  # load_detector will say what is wrong
        return set()


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # the last two: nested too deeply
        return {"true": True, "false": False, "none": None}.get(text.lower(), text)
