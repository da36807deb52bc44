"""``clip4str data``: check sets of labelled crops before training, split, convert, relabel, cut and render them."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from functools import partial

from clip4str_plugin.cli import UsageError
from clip4str_plugin.cli.options import add_hub_argument, not_negative, positive, whole

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="report problems of sets; exit status 1 if one is unfit for training")
    check.add_argument("paths", nargs="+", metavar="PATH", help="folder with labels.tsv, or with LMDB sets below")
    check.add_argument("--charset", metavar="TEXT", help="characters of the labels (default: the 94 of ASCII)")
    check.add_argument(
        "--max-length",
        type=positive,
        default=25,
        metavar="N",
        help="longest label in characters (default: %(default)s)",
    )
    check.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="PATH",
        help="test set whose images must not occur in the others",
    )
    check.add_argument("--format", choices=["text", "json"], default="text")
    convert = actions.add_parser("convert", help="convert a folder with labels.tsv to an LMDB set, or back")
    convert.add_argument("source", metavar="SOURCE")
    convert.add_argument("target", metavar="TARGET", help="new folder")
    convert.add_argument("--to", choices=["lmdb", "folder"], required=True)
    split = actions.add_parser(
        "split", help="split a set into a training part and a held-out part, by a hash of the names"
    )
    split.add_argument("source", metavar="SET", help="folder with labels.tsv, or with LMDB sets below")
    split.add_argument("--into", nargs=2, required=True, metavar=("TRAIN", "HELD_OUT"), help="new folders")
    split.add_argument(
        "--part", type=int, default=3, metavar="N", help="hold out about one N-th of the samples (default: %(default)s)"
    )
    split.add_argument(
        "--group",
        metavar="REGEX",
        help=r"keep samples together whose names match with the same text (of the first group, if there is one), for "
        r"example '(\d+)_\d+\.png$' for the words of one photo",
    )
    relabel = actions.add_parser(
        "relabel",
        help="copy a set and complete its labels: case and punctuation as a model reads them, vertical words turned",
    )
    relabel.add_argument("source", metavar="SET", help="folder with labels.tsv, or with LMDB sets below")
    relabel.add_argument("target", metavar="TARGET", help="new folder")
    relabel.add_argument("--model", default="tiny", metavar="NAME|FILE", help="model that reads (default: %(default)s)")
    add_hub_argument(relabel)
    parts = actions.add_parser("parts", help="cut words between letters to get more training crops")
    parts.add_argument("source", metavar="SET", help="folder with labels.tsv, or with LMDB sets below")
    parts.add_argument("target", metavar="TARGET", help="new folder")
    parts.add_argument(
        "--count", type=partial(whole, most=1000), default=3, metavar="N", help="parts per word (default: %(default)s)"
    )
    parts.add_argument("--seed", type=not_negative, default=0, metavar="N", help="random seed (default: %(default)s)")
    render = actions.add_parser("render", help="write a set of rendered words like those that trainings use")
    render.add_argument("target", metavar="TARGET", help="new folder")
    render.add_argument(
        "--count", type=positive, default=1000, metavar="N", help="number of words (default: %(default)s)"
    )
    render.add_argument(
        "--seed",
        type=not_negative,
        default=0,
        metavar="N",
        help="random seed; the same seed gives the same words (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Do what the action says; 1 if a set is not fit for use."""
    from clip4str_plugin.data.tools import DataReport, check_dataset, convert, split
    from clip4str_plugin.model.config import CHARSET_94

    if args.action == "convert":
        counts = convert(args.source, args.target, args.to)
        print(
            f"{args.target}: {counts['written']} entries written, {counts['skipped']} without image or label left out"
        )
        return 0

    if args.action == "split":
        train, held_out = args.into
        parts = split(args.source, train, held_out, args.part, args.group)
        for folder, part in zip(args.into, parts.values()):
            print(f"{folder}: {part['samples']} samples" + (f", {part['groups']} groups" if args.group else ""))
        return 0

    if args.action == "parts":
        from clip4str_plugin.data.word_parts import write_word_parts

        done = write_word_parts(args.source, args.target, args.count, args.seed)
        print(f"{args.target}: {done['parts']} parts of {done['words']} words")
        return 0

    if args.action == "render":
        from clip4str_plugin.data.rendered_set import write_rendered_set

        write_rendered_set(args.target, args.count, args.seed)
        print(f"{args.target}: {args.count} words rendered")
        return 0

    if args.action == "relabel":
        from clip4str_plugin import Recognizer, load_model
        from clip4str_plugin.data.relabel import relabel

        model = load_model(args.model, allow_hub=args.allow_hub)
        done = relabel(args.source, args.target, Recognizer(model, precision="auto", turn_tall=False))
        print(
            f"{args.target}: {done['written']} samples, {done['changed']} labels changed, "
            f"{done['turned']} crops turned; {done['left_out']} left out: damaged, or read in no direction"
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

    if args.charset == "":
        raise UsageError("--charset is empty: name the characters of the labels, or leave it out")
    reports = [check_dataset(path, args.charset or CHARSET_94, args.max_length, args.against) for path in args.paths]
    print(
        json.dumps([asdict(r) for r in reports], ensure_ascii=False)
        if args.format == "json"
        else "\n".join(map(text, reports))
    )
    return 0 if all(r.usable for r in reports) else 1
