"""``clip4str read``: photos, scans and PDFs from end to end."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from clip4str_plugin.cli import UsageError, options
from clip4str_plugin.io.writers import FORMATS
from clip4str_plugin.options import ReadOptions
from clip4str_plugin.reading.reader import Reader

if TYPE_CHECKING:
    from clip4str_plugin.cli.outputs import FileNames
    from clip4str_plugin.page import Page

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    options.add_input_arguments(parser)
    options.add_detector_arguments(parser)
    options.add_model_arguments(parser)
    options.add_charset_argument(parser)
    parser.add_argument(
        "--orientation",
        choices=["off", "auto", "on"],
        default="auto",
        help="try other reading directions for no words, for doubtful ones, or for all (default: %(default)s)",
    )
    options.add_views_argument(parser)
    parser.add_argument(
        "--min-confidence",
        type=float,
        default=ReadOptions.min_confidence,
        metavar="P",
        help="leave out words with a lower confidence; this removes most false detections (default: %(default)s; 0 "
        "keeps all)",
    )
    parser.add_argument(
        "--keep-doubtful",
        action="store_true",
        help="keep words under --min-confidence; JSON marks them as doubtful",
    )
    group = options.add_output_arguments(parser, FORMATS, "a file, or a folder that gets one file per input")
    group.add_argument("--overlay", metavar="FOLDER", help="write a picture of each page with the words drawn on it")


def run(args: argparse.Namespace) -> int:
    """Read everything; 1 if something could not be read, else 0."""
    from clip4str_plugin.cli.inputs import process, remark, report
    from clip4str_plugin.cli.outputs import FileNames, choose_format, inputs, open_writer
    from clip4str_plugin.reading.origins import place

    args.format = choose_format(args, FORMATS)
    if args.format == "page" and args.output is None and len(args.paths) > 1:
        raise UsageError("PAGE XML holds one page a file; name a folder with --output")
    if not 0 <= args.min_confidence <= 1:
        raise UsageError(f"--min-confidence {args.min_confidence}: must lie between 0 and 1")
    overlays = FileNames(args.overlay, ".overlay.jpg", inputs(args)) if args.overlay else None
    failed = False
    pages = words = left_out = 0
    with open_writer(args) as writer:  # what cannot be written is known before anything is loaded
        reader = Reader(
            options.build_detector(args),
            options.build_recognizer(args),
            orientation=args.orientation,
            other_views=args.other_views,
            min_confidence=args.min_confidence,
            keep_doubtful=args.keep_doubtful,
        )
        for origin, result in process(args, reader.stream):
            page = place(origin, result)
            if page.error is not None:
                failed = True
                report(page.error)
            pages += page.error is None
            words += len(page.words)
            left_out += len(page.left_out)
            writer.write(page)
            if overlays is not None and page.image is not None:
                _save_overlay(page, overlays)
    if left_out:
        remark(
            f"{pages} page{'s' * (pages != 1)} read, {words} word{'s' * (words != 1)}; {left_out} more left out as "
            "doubtful (--keep-doubtful keeps them, --format json lists them)"
        )
    return int(failed)


def _save_overlay(page: Page, names: FileNames) -> None:
    from PIL import Image

    from clip4str_plugin.io.whole_files import whole_file
    from clip4str_plugin.io.writers.overlay import draw_overlay

    with whole_file(names.name(page.source, page.index)) as stream:
        Image.fromarray(draw_overlay(page)).save(stream, "JPEG", quality=90)
