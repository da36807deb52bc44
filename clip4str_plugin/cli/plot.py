"""``clip4str plot``: charts of evaluations and trainings as SVG pictures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for kind, summary in (
        ("reliability", "accuracy against confidence: how well confidences are calibrated"),
        ("coverage", "accuracy of the most confident words against the share of words kept"),
    ):
        command = kinds.add_parser(kind, help=summary, description=summary)
        command.add_argument(
            "files",
            nargs="+",
            metavar="[NAME=]FILE",
            help="written by `clip4str evaluate --results`; one file gives a line per set, several files a line each",
        )
        _add_output(command)
    learning = kinds.add_parser("learning", help="validation accuracy of trainings against samples seen")
    learning.add_argument(
        "trainings",
        nargs="+",
        metavar="[NAME=]DIR[,DIR...]",
        help="output folder of a training; folders joined by commas are stages of one training",
    )
    learning.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="NAME",
        help="column of metrics.csv to draw instead of accuracies",
    )
    learning.add_argument("--log", action="store_true", help="logarithmic axis of samples")
    _add_output(learning)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", "-o", required=True, metavar="FILE.svg", help="SVG file to write")
    parser.add_argument("--title", metavar="TEXT", help="title of the chart")


def run(args: argparse.Namespace) -> int:
    """Draw."""
    if args.kind == "learning":
        picture = _learning(args)
    else:
        from clip4str_plugin.evaluation import charts

        draw = {"reliability": charts.reliability_chart, "coverage": charts.coverage_chart}
        picture = draw[args.kind](_readings(args.files), *([args.title] if args.title else []))
    Path(args.output).write_text(picture, encoding="utf-8")
    print(f"written: {args.output}", file=sys.stderr)
    return 0


def _learning(args: argparse.Namespace) -> str:
    from clip4str_plugin.training.curves import learning_chart

    trainings = {}
    for given in args.trainings:
        name, folders = _named(given)
        trainings[name] = folders.split(",")
    return learning_chart(trainings, args.metric, **({"title": args.title} if args.title else {}), log=args.log)


def _readings(files: list[str]) -> dict:
    """Return the readings of each line of the chart."""
    from clip4str_plugin.evaluation.results import read_results, short_names

    if len(files) == 1:
        _, sets = read_results(_named(files[0])[1])
        names = short_names(sets)
        lines = {names[path]: list(readings.values()) for path, readings in sets.items()}
        if len(lines) > 1:
            lines["all"] = [reading for rows in sets.values() for reading in rows.values()]
        return lines
    return {
        name: [r for rows in read_results(file)[1].values() for r in rows.values()] for name, file in map(_named, files)
    }


def _named(given: str) -> tuple[str, str]:
    """Split NAME=FILE; without a name the file's own serves, which may hold an equals sign itself."""
    if all(Path(path).exists() for path in given.split(",")):
        return Path(given.split(",")[-1]).stem, given
    name, equals, path = given.partition("=")
    return (name, path) if equals else (Path(given.split(",")[-1]).stem, given)
