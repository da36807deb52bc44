"""``clip4str attention``: where the decoders look, as pictures."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from clip4str_plugin.cli import options

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from clip4str_plugin.evaluation.attention import AttentionMaps

__all__ = ["add_arguments", "run"]

# A word of 25 letters and its end take 700 MB then, in two rows.
_MOST_HEIGHT = 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    options.add_input_arguments(parser)
    options.add_model_arguments(parser)
    parser.add_argument(
        "--output",
        default=".",
        metavar="DIR",
        help="folder for the pictures NAME.attention.png (default: the current one)",
    )
    parser.add_argument(
        "--refine-iters", type=options.not_negative, metavar="N", help="number of refinements (default: the model's)"
    )
    parser.add_argument(
        "--height",
        type=partial(options.whole, least=8, most=_MOST_HEIGHT),
        default=96,
        metavar="N",
        help="height of a crop in the picture (default: 96)",
    )
    parser.add_argument("--branch", choices=["both", "visual", "cross"], default="both", help="(default: %(default)s)")
    parser.set_defaults(precision="fp32")


def run(args: argparse.Namespace) -> int:
    """Write one picture an image; 1 if something could not be read, else 0."""
    from pathlib import Path

    from clip4str_plugin.cli import UsageError
    from clip4str_plugin.cli.inputs import process, report
    from clip4str_plugin.evaluation.attention import attention_maps, draw_attention
    from clip4str_plugin.io.images import Unreadable

    changes = {} if args.refine_iters is None else {"refine_iters": args.refine_iters}
    model = options.build_recognizer(args, changes, pytorch=True).model
    if args.branch == "cross" and not model.config.cross_branch:
        raise UsageError("the model has the visual branch alone")
    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)

    def look(crops: Iterator[np.ndarray]) -> Iterator[tuple[list[AttentionMaps], Image.Image]]:
        for crop in crops:
            maps = attention_maps(model, crop)
            maps = [m for m in maps if args.branch in ("both", m.branch)]
            yield maps, draw_attention(crop, maps, args.height)

    failed = False
    used: set[str] = set()
    for origin, result in process(args, look):
        if isinstance(origin, Unreadable) or result is None:
            failed = True
            report(str(getattr(origin, "error", "not read")))
            continue
        name = _unused(Path(origin.source).stem, used)
        maps, picture = result
        picture.save(folder / f"{name}.attention.png")
        print(f"{folder / name}.attention.png\t" + "\t".join(f"{m.branch}: {m.text}" for m in maps))
    return int(failed)


def _unused(stem: str, used: set[str]) -> str:
    """Return a name that no other picture of this run has: pages of one file share its name."""
    name, number = stem, 1
    while name in used:
        number += 1
        name = f"{stem}-{number}"
    used.add(name)
    return name
