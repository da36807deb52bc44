"""``clip4str evaluate``: word accuracy on labelled data sets."""

from __future__ import annotations

import argparse
from functools import partial

from clip4str_plugin import evaluation
from clip4str_plugin.cli import options

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    evaluation.add_arguments(parser)
    options.add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate; 1 if something could not be read, else 0."""
    return evaluation.main(args, partial(options.build_recognizer, args))
