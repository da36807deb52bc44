"""``clip4str compare``: whether one model reads significantly better than another."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from clip4str_plugin.evaluation.results import short_names

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    parser.add_argument("first", metavar="FIRST", help="file written by `clip4str evaluate --results`")
    parser.add_argument("second", metavar="SECOND", help="another one for the same sets and charset")
    parser.add_argument("--format", choices=["text", "json"], default="text", help="(default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Compare on each set, and on all together."""
    from clip4str_plugin.cli import UsageError
    from clip4str_plugin.evaluation.results import read_results
    from clip4str_plugin.evaluation.significance import compare

    (one, first), (other, second) = read_results(args.first), read_results(args.second)
    if one.get("charset") != other.get("charset"):
        raise UsageError(f"the files count different characters: {one.get('charset')} and {other.get('charset')}")
    first, second = _by_name(first, second)
    pairs = {}
    for name in first.keys() & second.keys():
        both = sorted(first[name].keys() & second[name].keys())
        if both:
            pairs[name] = ([first[name][i] for i in both], [second[name][i] for i in both])
    if not pairs:
        raise UsageError("the files have no word in common: evaluate both models on the same sets")
    names = [name for name in first if name in pairs]
    if len(names) > 1:
        pairs["combined"] = tuple([r for name in names for r in pairs[name][side]] for side in (0, 1))  # type: ignore[assignment]
        names.append("combined")
    comparisons = {}
    for name in names:
        try:
            comparisons[name] = compare(*pairs[name])
        except ValueError as error:
            raise UsageError(f"{name}: {error}") from None
    if args.format == "json":
        print(json.dumps({name: asdict(c) for name, c in comparisons.items()}))
        return 0
    width = max(map(len, names))
    print(f"first: {one.get('model')}, second: {other.get('model')}")
    print(
        f"{'set':<{width}}  words   first  second  differ  95 % interval    only first/second  McNemar p  1-NED differ"
    )
    for name, c in comparisons.items():
        interval = f"[{c.interval[0]:+.2f}, {c.interval[1]:+.2f}]"
        split = f"{c.only_first} / {c.only_second}"
        print(
            f"{name:<{width}}  {c.samples:>5}  {c.accuracy[0]:>6.2f}  {c.accuracy[1]:>6.2f}  {c.difference:>+6.2f}  "
            f"{interval:<15}  {split:>17}  {c.p_value:>9.2g}  "
            f"{c.ned_difference:+.2f} [{c.ned_interval[0]:+.2f}, {c.ned_interval[1]:+.2f}]"
        )
    return 0


def _by_name(first: dict[str, Any], second: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Name the sets of both files alike: by their paths, or by their folders where the paths differ."""
    if first.keys() & second.keys():
        names = short_names({**first, **second})
        return {names[path]: first[path] for path in first}, {names[path]: second[path] for path in second}
    one, two = short_names(first), short_names(second)
    return {one[path]: first[path] for path in first}, {two[path]: second[path] for path in second}
