"""``clip4str plugins``: list available detectors and hosts, and whether they work."""

from __future__ import annotations

import argparse
import json
from typing import Any

__all__ = ["GROUPS", "add_arguments", "plugin_records", "run"]

GROUPS = {
    "clip4str.detectors": "detectors for `clip4str read --detector`",
    "docling": "OCR engines that docling finds",
    "ocrmypdf": "OCR engines that OCRmyPDF finds",
}
"""The entry-point groups we publish or take part in, and what is in them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    parser.add_argument("--format", choices=["text", "json"], default="text", help="(default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Print the list; plugins that do not work are reported."""
    records = plugin_records()
    if args.format == "json":
        print(json.dumps(records, indent=1))
        return 0
    for group, meaning in GROUPS.items():
        print(f"{group}: {meaning}")
        members = [record for record in records if record["group"] == group]
        for record in members:
            state = "ok" if record["problem"] is None else f"does not work: {record['problem']}"
            print(f"  {record['name']:<12} {record['distribution']} {record['version']}  {record['value']}  {state}")
        if not members:
            print("  none")
    return 0


def plugin_records() -> list[dict[str, Any]]:
    """Describe every entry point of `GROUPS`; each is imported to see whether it can be used."""
    from clip4str_plugin.plugins import find_plugins

    return [
        {
            "group": group,
            "name": plugin.name,
            "value": plugin.value,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "problem": plugin.problem(),
        }
        for group in GROUPS
        for plugin in find_plugins(group)
    ]
