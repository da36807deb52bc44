"""``clip4str export``: a model for other runtimes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from clip4str_plugin.cli.options import add_hub_argument, not_negative

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    parser.add_argument("model", metavar="NAME|FILE", help="a model, see `clip4str models`, or a weight file")
    add_hub_argument(parser)
    parser.add_argument("--output", "-o", required=True, metavar="PATH", help="a new folder; a file for onnxtr")
    parser.add_argument(
        "--format",
        choices=["onnx", "reader", "onnxtr", "torch"],
        default="onnx",
        help="onnx: graphs and a reader that needs ONNX Runtime and NumPy only; reader: a folder for --model that is "
        "read without PyTorch; onnxtr: one graph for OnnxTR; torch: torch.export programs (default: %(default)s)",
    )
    parser.add_argument("--half", action="store_true", help="reader only: store the weights in float16")
    parser.add_argument(
        "--refine-iters", type=not_negative, metavar="N", help="number of refinements (default: the model's)"
    )
    parser.add_argument(
        "--branch",
        choices=["cross", "visual"],
        default="cross",
        help="onnxtr only: visual leaves out the text encoder (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Export and say where to."""
    from clip4str_plugin import export
    from clip4str_plugin.cli import UsageError
    from clip4str_plugin.model import load_model

    if args.branch != "cross" and args.format != "onnxtr":
        raise UsageError("--branch goes with --format onnxtr")
    if args.half and args.format != "reader":
        raise UsageError("--half goes with --format reader")
    _check_output(args)
    changes = {} if args.refine_iters is None else {"refine_iters": args.refine_iters}
    model = load_model(args.model, allow_hub=args.allow_hub, **changes)
    if args.format == "onnxtr":
        written = export.export_onnxtr(model, args.output, branch=args.branch)
    elif args.format == "reader":
        written = export.export_reader(model, args.output, half=args.half)
    else:
        written = {"onnx": export.export_onnx, "torch": export.export_torch}[args.format](model, args.output)
    print(f"written: {written}", file=sys.stderr)
    return 0


def _check_output(args: argparse.Namespace) -> None:
    """Refuse, before anything is computed, what cannot be written or would replace the model.

    Raises:
        UsageError: it is a file and not a folder, a folder and not a file, or where the model is.
    """
    from clip4str_plugin.cli import UsageError

    output, model = Path(args.output).resolve(), Path(args.model).resolve()
    if args.format == "onnxtr" and output.is_dir():
        raise UsageError(f"{args.output} is a folder; name a file")
    if args.format != "onnxtr" and output.exists() and not output.is_dir():
        raise UsageError(f"{args.output} is a file; name a folder")
    if model.exists() and output in (model, model.parent):
        raise UsageError(f"{args.output} holds the model that is exported; name another place")
