"""``clip4str recognize``: images that hold one word each."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from clip4str_plugin.cli import options

if TYPE_CHECKING:
    import numpy as np

    from clip4str_plugin.reading.recognizer import Recognition, Recognizer

__all__ = ["add_arguments", "run"]


_FORMATS = ("text", "jsonl")
_TOGETHER = 64  # crops whose other views share a batch; and the first results wait for so many


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    options.add_input_arguments(parser)
    options.add_model_arguments(parser)
    options.add_charset_argument(parser)
    options.add_views_argument(parser)
    options.add_output_arguments(parser, _FORMATS, "a file, one line per image")


def run(args: argparse.Namespace) -> int:
    """Read every crop; 1 if something could not be read, else 0."""
    from clip4str_plugin.cli.inputs import process, report
    from clip4str_plugin.cli.outputs import choose_format, open_output
    from clip4str_plugin.io.images import Unreadable
    from clip4str_plugin.io.writers.json_pages import encode

    args.format = choose_format(args, _FORMATS)
    recognizer = options.build_recognizer(args)
    failed = False
    with open_output(args) as stream:
        for origin, recognition in process(args, lambda crops: _stream(recognizer, crops, args.other_views)):
            record: dict[str, object] = {"image": origin.source}
            if isinstance(origin, Unreadable) or recognition is None:
                failed = True
                record["error"] = getattr(origin, "error", None)
                report(str(record["error"]))
            else:
                record |= {"text": recognition.text, "confidence": round(recognition.confidence, 6)}
            # As text, an empty line stands in the place of what cannot be read.
            line = encode(record) if args.format == "jsonl" else str(record.get("text", "")).encode()
            stream.write(line + b"\n")
            stream.flush()
    return int(failed)


def _stream(recognizer: Recognizer, crops: Iterator[np.ndarray], other_views: bool) -> Iterator[Recognition]:
    from clip4str_plugin.reading.word_views import read_other_views

    def read(crops: list[np.ndarray]) -> list[Recognition]:
        return list(recognizer.stream(crops))

    while batch := list(islice(crops, _TOGETHER)):
        yield from read_other_views(batch, read(batch), read) if other_views else recognizer.stream(batch)
