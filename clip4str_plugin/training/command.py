"""``clip4str train``."""

from __future__ import annotations

import argparse
import logging
import os
import sys

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``clip4str train``."""
    parser.add_argument("--config", required=True, metavar="NAME|FILE", help="configuration: a name, or a YAML file")
    parser.add_argument("--output", required=True, metavar="DIR", help="receives checkpoints, logs and final weights")
    parser.add_argument(
        "overrides", nargs="*", metavar="section.field=value", help="changes to the configuration, values in YAML"
    )


def main(args: argparse.Namespace) -> int:
    """Train, or resume what the folder holds; returns the exit status."""
    from clip4str_plugin.errors import Clip4StrError
    from clip4str_plugin.training.config import load_config

    rank = int(os.environ.get("LOCAL_RANK", 0))  # Lightning starts the other processes by the same command
    level = logging.INFO if rank == 0 else logging.ERROR
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("clip4str_plugin").setLevel(level)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    try:
        config = load_config(args.config, args.overrides)
        from clip4str_plugin.training.run import train

        final = train(config, args.output)
    except ImportError as error:
        print(f"error: training needs more packages ({error}): pip install 'clip4str-plugin[train]'", file=sys.stderr)
        return 1
    except Clip4StrError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if rank == 0:
        print(final)
    return 0
