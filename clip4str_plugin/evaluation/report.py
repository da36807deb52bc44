"""Reports of evaluations: tables next to the published figures, and pages of misread words with their pictures."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from clip4str_plugin.errors import ImageError
from clip4str_plugin.model.published import BENCHMARKS, PUBLISHED, SOURCE

if TYPE_CHECKING:
    import numpy as np

    from clip4str_plugin.data.datasets import WordDataset
    from clip4str_plugin.evaluation.evaluate import Evaluation, GroupScore, WordResult

__all__ = ["ablation_table", "error_sheet", "evaluation_table", "published_accuracy"]


def published_accuracy(model: str, evaluations: Sequence[Evaluation]) -> dict[str, float]:
    """Return the published word accuracies, in percent, of those of the sets that are benchmarks.

    Sets count as a benchmark if they have its name, in any case. If all do, "combined" is the mean over their words.

    Args:
        model: a published model's name.
        evaluations: name the sets.
    """
    names = {name.lower(): name for name in BENCHMARKS}
    found = {e.name: names[e.name.lower()] for e in evaluations if e.name.lower() in names}
    accuracy = {ours: PUBLISHED[model].accuracy[theirs] for ours, theirs in found.items()}
    if len(evaluations) > 1 and len(accuracy) == len(evaluations):
        words = sum(BENCHMARKS[name] for name in found.values())
        accuracy["combined"] = sum(accuracy[ours] * BENCHMARKS[name] for ours, name in found.items()) / words
    return accuracy


def evaluation_table(
    evaluations: Sequence[Evaluation],
    *,
    paper: str | None = None,
    by_length: bool = False,
    by_orientation: bool = False,
    by_height: bool = False,
) -> str:
    """Return a table of sets, the means over all of them last.

    Args:
        evaluations: of the sets.
        paper: published model whose accuracies stand beside; they are for 36 characters.
        by_length: add the accuracy for each length of word.
        by_orientation: add the accuracy for each shape of crop.
        by_height: add the accuracy for ranges of the crops' height in pixels.
    """
    from clip4str_plugin.evaluation.evaluate import combine

    published = published_accuracy(paper, evaluations) if paper else {}
    rows = [*evaluations, combine(evaluations)] if len(evaluations) > 1 else list(evaluations)
    parts = [_groups(e, by_length, by_orientation, by_height) for e in rows]
    width = max(len(name) for name in [*(e.name for e in rows), *(name for part in parts for name in part), "set"])
    head = f"{'set':<{width}}  words  accuracy"
    if published:
        head += "  paper  differs"
    lines = [f"{head}  1-NED  confidence  length  left out  words/s"]
    for e, part in zip(rows, parts):
        line = f"{e.name:<{width}}  {e.samples:>5}  {e.accuracy:>8.2f}"
        if e.name in published:
            line += f"  {published[e.name]:>5.2f}  {e.accuracy - published[e.name]:>+7.2f}"
        elif published:
            line += " " * 16
        rate = f"{e.timed / e.seconds:.1f}" if e.timed and e.seconds else "-"
        line += f"  {e.ned:>5.2f}  {e.confidence:>10.2f}  {e.length:>6.2f}  {e.dropped + e.unreadable:>8}  {rate:>7}"
        lines.append(line)
        lines += [f"{name:<{width}}  {group.samples:>5}  {group.accuracy:>8.2f}" for name, group in part.items()]
    if published:
        lines.append(f"paper: {paper}, {SOURCE}")
    return "\n".join(lines)


def _groups(e: Evaluation, by_length: bool, by_orientation: bool, by_height: bool) -> dict[str, GroupScore]:
    """Name the parts of a set that a table breaks down."""
    parts = {f"  {n} character{'s' * (n > 1)}": group for n, group in e.by_length.items()} if by_length else {}
    parts |= {f"  {name} crops": group for name, group in e.by_orientation.items()} if by_orientation else {}
    return parts | ({f"  {name} pixels high": group for name, group in e.by_height.items()} if by_height else {})


def ablation_table(results: Mapping[str, Sequence[Evaluation] | str]) -> str:
    """Return a table of word accuracies: one row per variant, one column per set, and the mean over all words.

    Args:
        results: by variant the evaluations of all sets, or why there are none.
    """
    from clip4str_plugin.evaluation.evaluate import combine

    names = next(([e.name for e in result] for result in results.values() if not isinstance(result, str)), [])
    columns = [*names, *(["combined"] if len(names) > 1 else [])]
    width = max(map(len, results), default=0)
    lines = ["  ".join([f"{'variant':<{width}}", *(f"{name:>6}" for name in columns), "words/s"])]
    for variant, result in results.items():
        if isinstance(result, str):
            lines.append(f"{variant:<{width}}  not possible: {result}")
            continue
        whole = combine(result)
        accuracies = {e.name: e.accuracy for e in [whole, *result]}
        cells = [f"{accuracies[name]:>{max(6, len(name))}.2f}" for name in columns]
        rate = f"{whole.timed / whole.seconds:>7.1f}" if whole.timed and whole.seconds else f"{'-':>7}"
        lines.append("  ".join([f"{variant:<{width}}", *cells, rate]))
    return "\n".join(lines)


def error_sheet(sets: Iterable[tuple[WordDataset, Sequence[WordResult]]], title: str) -> str:
    """Return one HTML page of all misread words with their pictures, the most confident mistakes first.

    Args:
        sets: the sets with their readings.
        title: of the page.
    """
    sections = []
    for dataset, readings in sets:
        wrong = sorted((r for r in readings if not r.correct), key=lambda r: -r.confidence)
        rows = "".join(_row(dataset, reading) for reading in wrong)
        sections.append(
            f"<h2>{html.escape(dataset.name)}: {len(wrong)} of {len(readings)} misread</h2>\n"
            "<table><tr><th>crop<th>label<th>read<th>confidence<th>1-NED<th>source</tr>\n"
            f"{rows}</table>\n"
        )
    return _PAGE.format(title=html.escape(title), body="".join(sections))


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px sans-serif; margin: 2em }}
table {{ border-collapse: collapse }}
th, td {{ text-align: left; padding: 4px 12px; border-bottom: 1px solid #ddd }}
td.text {{ font: 20px monospace; white-space: pre }}
img {{ max-width: 320px; max-height: 120px; min-height: 24px }}
del {{ background: #fcc; text-decoration: none }} ins {{ background: #cfc; text-decoration: none }}
small {{ color: #666; word-break: break-all }}
</style></head><body><h1>{title}</h1>
<p>Red: in the label, not read. Green: read, not in the label.</p>
{body}</body></html>
"""


def _row(dataset: WordDataset, reading: WordResult) -> str:
    try:
        picture = f'<img src="{_data_url(dataset[reading.index][0])}" alt="">'
    except ImageError as error:  # gone since it was read
        picture = html.escape(str(error))
    label, text = _marked(reading.label, reading.text)
    return (
        f'<tr><td>{picture}<td class="text">{label}<td class="text">{text}<td>{reading.confidence:.3f}'
        f"<td>{reading.similarity:.2f}<td><small>{html.escape(reading.source)}</small></tr>\n"
    )


def _marked(label: str, text: str) -> tuple[str, str]:
    """Mark in both what the other lacks."""
    from rapidfuzz.distance import Levenshtein

    left, right = "", ""
    for step in Levenshtein.opcodes(label, text):
        a = html.escape(label[step.src_start : step.src_end])
        b = html.escape(text[step.dest_start : step.dest_end])
        equal = step.tag == "equal"
        left += a if equal or not a else f"<del>{a}</del>"
        right += b if equal or not b else f"<ins>{b}</ins>"
    return left, right


def _data_url(crop: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(crop).save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
