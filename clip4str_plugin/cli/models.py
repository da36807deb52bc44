"""``clip4str models``: list available models."""

from __future__ import annotations

import argparse
import json
from typing import Any

__all__ = ["add_arguments", "model_records", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    parser.add_argument("--format", choices=["text", "json"], default="text", help="(default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    records = model_records()
    print(json.dumps(records, indent=1) if args.format == "json" else _table(records))
    return 0


def model_records() -> list[dict[str, Any]]:
    """Describe every model: name, aliases, size class, training, published accuracies, address, whether it is here."""
    from clip4str_plugin.cache import cache_dir
    from clip4str_plugin.model.published import ALIASES, PUBLISHED

    records: list[dict[str, Any]] = [{"name": "tiny", "geometry": "tiny", "here": True}]
    for name, model in PUBLISHED.items():
        if name != model.name:
            continue
        records.append(
            {
                "name": name,
                "aliases": [alias for alias, target in ALIASES.items() if target == name],
                "geometry": model.geometry,
                "encoder": model.encoder,
                "training_data": model.training_data,
                "accuracy": dict(model.accuracy),
                "url": model.url,
                "here": (cache_dir() / model.filename).is_file(),
            }
        )
    return records


def _table(records: list[dict[str, Any]]) -> str:
    from clip4str_plugin.cache import cache_dir
    from clip4str_plugin.model.published import BENCHMARKS, LICENCE, SOURCE

    width = max(len(record["name"]) for record in records)
    lines = [f"{'name':<{width}}  where       " + "  ".join(BENCHMARKS)]
    for record in records:
        where = "built in" if "url" not in record else "downloaded" if record["here"] else "to download"
        scores = record.get("accuracy", {})
        cells = [f"{scores[name]:>{len(name)}.1f}" if name in scores else " " * len(name) for name in BENCHMARKS]
        lines.append(f"{record['name']:<{width}}  {where:<11} {'  '.join(cells)}".rstrip())
    lines += ["", "Published word accuracies in percent (0-9, a-z; " + SOURCE + ").", ""]
    for record in records:
        if "url" in record:
            also = f" (also called {', '.join(record['aliases'])})" if record["aliases"] else ""
            lines.append(f"{record['name']}{also}: {record['encoder']}, trained on {record['training_data']}")
            lines.append(f"{'':<4}{record['url']}")
    lines += ["", f"Downloads go to {cache_dir()} ($CLIP4STR_CACHE). {LICENCE}"]
    return "\n".join(lines)
