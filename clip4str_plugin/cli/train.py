"""``clip4str train``: train or fine-tune a model, or resume a training."""

from __future__ import annotations

import argparse
import os

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    from clip4str_plugin.training.config import available_configs

    parser.add_argument(
        "--config",
        required=True,
        metavar="NAME|FILE",
        help=f"a YAML file, or one of {', '.join(available_configs())}",
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="DIR",
        help="folder for checkpoints, logs and the final weights; a training found there is resumed",
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="section.field=value", help="changes to the configuration, values in YAML"
    )


def run(args: argparse.Namespace) -> int:
    """Train; the folder of the final weights goes to standard output."""
    import logging

    from clip4str_plugin.errors import Clip4StrError
    from clip4str_plugin.training.config import load_config

    config = load_config(args.config, args.overrides)
    first = os.environ.get("LOCAL_RANK", "0") == "0"  # Lightning starts further processes by the same command
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("clip4str_plugin").setLevel(logging.INFO if first else logging.ERROR)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    try:
        from clip4str_plugin.training.run import train
    except ImportError as error:
        raise Clip4StrError(f"training needs more packages ({error}): pip install 'clip4str-plugin[train]'") from None
    final = train(config, args.output)
    if first:
        print(final)
    return 0
