"""The ``clip4str`` command: one small module per sub-command, imported only when it is the one that runs.

To add a sub-command, write a module with ``add_arguments(parser)`` and ``run(args) -> exit status`` and name it in
`COMMANDS`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "read": ("clip4str_plugin.cli.read", "find and read the text in photos, scans and PDFs"),
    "recognize": ("clip4str_plugin.cli.recognize", "read images of single words"),
    "serve": ("clip4str_plugin.cli.serve", "start a web page and an HTTP service for reading"),
    "evaluate": ("clip4str_plugin.cli.evaluate", "measure word accuracy on labelled data sets"),
    "train": ("clip4str_plugin.cli.train", "train or fine-tune a model"),
    "data": ("clip4str_plugin.cli.data", "check, split, convert and extend sets of labelled crops"),
    "compare": ("clip4str_plugin.cli.compare", "test whether one model reads better than another"),
    "plot": ("clip4str_plugin.cli.plot", "draw learning curves, reliability diagrams and coverage curves"),
    "attention": ("clip4str_plugin.cli.attention", "draw where the decoders look when they read a word"),
    "export": ("clip4str_plugin.cli.export", "export a model to ONNX Runtime, OnnxTR or torch.export"),
    "bench": ("clip4str_plugin.cli.bench", "measure the speed on this machine, next to other recognizers"),
    "models": ("clip4str_plugin.cli.models", "list available models"),
    "plugins": ("clip4str_plugin.cli.plugins", "list available detectors and hosts, and whether they work"),
}
"""Name of each sub-command -> its module and what it does, in the order of the help text."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments, without the program's name; None takes those of the process.

    Returns:
        exit status: 0 if all went well, 1 if something could not be read or fetched, 2 if the command line is wrong.
    """
    from clip4str_plugin.errors import CheckpointError, Clip4StrError, DetectorError, EngineError, HostError

    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        args = _parse(arguments)
    except SystemExit as stop:  # argparse has said why
        return stop.code if isinstance(stop.code, int) else 2
    if args.verbose:
        import logging

        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    try:
        return args.run(args)
    except BrokenPipeError:  # whoever read our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (CheckpointError, DetectorError, EngineError, HostError, UsageError) as error:
        print(f"clip4str {args.command}: error: {error}", file=sys.stderr)
        return 2
    except (Clip4StrError, OSError) as error:
        print(f"clip4str {args.command}: error: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        package = (error.name or "clip4str").partition(".")[0]
        if package.startswith("clip4str"):
            raise
        remedy = "install clip4str-plugin with its dependencies"
        print(f"clip4str {args.command}: error: this needs {package}, which is missing; {remedy}", file=sys.stderr)
        return 2


class UsageError(ValueError):
    """The command line asks for something that cannot be."""


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    from clip4str_plugin.version import __version__

    parser = argparse.ArgumentParser(prog="clip4str", description="CLIP4STR scene-text recognition.")
    parser.add_argument("--version", action="version", version=f"clip4str-plugin {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    wanted = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, (module_name, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name == wanted:
            module = import_module(module_name)
            module.add_arguments(command)
            command.add_argument("--verbose", action="store_true", help="log warnings and details to standard error")
            command.set_defaults(run=module.run, parser=command)
    args, unknown = parser.parse_known_args(arguments)
    if unknown:  # the usage of the sub-command says more than that of all
        args.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return args
