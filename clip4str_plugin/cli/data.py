"""``clip4str data``: check sets of labelled crops before training, and convert them."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="tell what is wrong with sets; status 1 if a training should not use one")
    check.add_argument("paths", nargs="+", metavar="PATH", help="folder with labels.tsv, or with LMDB sets below")
    check.add_argument("--charset", metavar="TEXT", help="characters of the labels; the 94 of ASCII if not given")
    check.add_argument("--max-length", type=int, default=25, help="longest label in characters")
    check.add_argument(
        "--against", action="append", default=[], metavar="PATH", help="test set whose images must not be in the others"
    )
    check.add_argument("--format", choices=["text", "json"], default="text")
    convert = actions.add_parser("convert", help="turn a folder with labels.tsv into an LMDB set, or back")
    convert.add_argument("source", metavar="SOURCE")
    convert.add_argument("target", metavar="TARGET", help="new folder")
    convert.add_argument("--to", choices=["lmdb", "folder"], required=True)


def run(args: argparse.Namespace) -> int:
    """Check or convert; 1 if a set is not fit for use."""
    from clip4str_plugin.dataset_tools import DataReport, check_dataset, convert
    from clip4str_plugin.model.config import CHARSET_94

    if args.action == "convert":
        counts = convert(args.source, args.target, args.to)
        print(
            f"{args.target}: {counts['written']} entries written, {counts['skipped']} without image or label left out"
        )
        return 0

    def text(report: DataReport) -> str:
        shown = [
            f"{report.name}: {report.samples} usable",
            f"{report.dropped} labels empty or too long, {report.corrupt} entries without label",
            f"{len(report.unreadable)} unreadable images, {report.small} under 8 pixels, {report.duplicates} repeated",
        ]
        if report.reduced:
            shown.append(f"{report.reduced} labels lose characters: {''.join(c for c, _ in report.foreign)}")
        shown += [f"{count} images are in {name} too" for name, count in report.shared.items() if count]
        shown += [f"  {problem}" for problem in report.unreadable[:10]]
        return "\n  ".join(shown)

    reports = [check_dataset(path, args.charset or CHARSET_94, args.max_length, args.against) for path in args.paths]
    print(
        json.dumps([asdict(r) for r in reports], ensure_ascii=False)
        if args.format == "json"
        else "\n".join(map(text, reports))
    )
    return 0 if all(r.usable for r in reports) else 1
