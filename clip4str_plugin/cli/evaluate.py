"""``clip4str evaluate``: word accuracy on labelled data sets."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clip4str_plugin import evaluation
from clip4str_plugin.cli import UsageError, options
from clip4str_plugin.data.datasets import open_dataset
from clip4str_plugin.errors import Clip4StrError, ImageError
from clip4str_plugin.evaluation.ablation import ABLATIONS, ablated
from clip4str_plugin.evaluation.report import ablation_table, error_sheet, evaluation_table
from clip4str_plugin.evaluation.results import ResultsFile, fingerprint, short_names
from clip4str_plugin.model.published import PUBLISHED
from clip4str_plugin.plugins import import_host

if TYPE_CHECKING:
    from clip4str_plugin.data.datasets import WordDataset
    from clip4str_plugin.evaluation.evaluate import Evaluation, WordResult
    from clip4str_plugin.reading.recognizer import Recognizer

__all__ = ["add_arguments", "evaluate_sets", "run"]

Sets = dict[str, "WordDataset"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="folder with labels.tsv, or with LMDB sets below")
    parser.add_argument(
        "--charset",
        dest="protocol",  # `charset` would restrict what the recognizer may read
        choices=list(evaluation.CHARSETS),
        default="36",
        help="characters that count: 0-9a-z with case ignored (36), both cases (62), punctuation too (94)",
    )
    parser.add_argument("--by-length", action="store_true", help="also print the accuracy for each length of word")
    parser.add_argument("--by-orientation", action="store_true", help="also print it for wide, square and tall crops")
    parser.add_argument(
        "--by-height", action="store_true", help="also print it for ranges of the crops' height in pixels"
    )
    parser.add_argument(
        "--paper",
        choices=list(PUBLISHED),
        metavar="NAME",
        help="published model whose accuracies stand beside (default: the model, if it is one)",
    )
    parser.add_argument("--results", metavar="FILE", help="save every result as JSON lines; run again to resume")
    parser.add_argument(
        "--errors",
        metavar="FILE",
        help="write misread words: a .html file has all with pictures, a .jpg or .png the hundred worst, "
        "any other a TSV of image, label, text and confidence",
    )
    parser.add_argument(
        "--plots",
        metavar="DIR",
        help="write reliability.svg and coverage.svg: how well confidences are calibrated, and how accuracy rises when "
        "doubtful words are refused (extra: plots)",
    )
    parser.add_argument(
        "--ablate",
        nargs="*",
        choices=list(ABLATIONS),
        metavar="VARIANT",
        help=f"compare variants of the model (default: all): {', '.join(ABLATIONS)}",
    )
    parser.add_argument("--format", choices=["text", "json"], default="text", help="(default: %(default)s)")
    options.add_model_arguments(parser)
    parser.set_defaults(precision="fp32")  # as the published tests


def run(args: argparse.Namespace) -> int:
    """Evaluate; 1 if something could not be read, else 0."""
    if args.ablate is not None and (args.errors or args.plots):
        raise UsageError("--ablate goes neither with --errors nor with --plots: evaluate the variant of interest alone")
    _check_outputs(args)  # rather than after everything was read
    sets = _open(args.paths)
    # The published tests reduce the captions to the charset of the test as well, which changes the readings.
    recognizer = options.build_recognizer(args, {"caption_charset": evaluation.CHARSETS[args.protocol]})
    if args.ablate is not None:
        _ablate(args, recognizer, sets)
    else:
        _evaluate(args, recognizer, sets)
    return int(len(sets) < len(args.paths))


def _check_outputs(args: argparse.Namespace) -> None:
    """Refuse what could not be written in the end.

    Raises:
        UsageError: a file cannot be made, or a folder.
        HostError: charts need a package that is missing.
    """
    for path in filter(None, (args.results, args.errors)):
        if os.path.isdir(path):
            raise UsageError(f"{path} is a folder; name a file")
    try:
        for path in filter(None, (args.results, args.errors)):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            if not os.access(path if os.path.exists(path) else Path(path).parent, os.W_OK):
                raise UsageError(f"{path} cannot be written: it is write-protected")
        if args.plots:
            Path(args.plots).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be made: {error.strerror}") from None
    if args.plots:
        import_host("matplotlib", "plots")


def evaluate_sets(
    recognizer: Recognizer,
    sets: Sets,
    charset: str,
    results: str | Path | None = None,
    settings: dict[str, Any] | None = None,
    on_reading: Callable[[str, WordResult], None] | None = None,
) -> list[Evaluation]:
    """Evaluate sets with a progress bar; what cannot be read is reported on standard error.

    Args:
        recognizer: reads the crops.
        sets: by path.
        charset: characters that count.
        results: file that keeps the readings and resumes from them; None for none.
        settings: what the readings depend on; see ``ResultsFile``.
        on_reading: called with the path and each reading, also those of ``results``.
    """
    from tqdm import tqdm

    evaluations = []
    with ResultsFile(results, settings or {}) if results else nullcontext() as file:
        for path, dataset in sets.items():
            place = os.path.realpath(path)  # however it was typed
            known = file.known.get(place, {}) if file else {}
            total = max(0, len(dataset) - len(known))
            with tqdm(total=total, desc=dataset.name, unit="word", disable=None, leave=False) as bar:

                def note(reading: WordResult, path: str = path, place: str = place, bar: Any = bar) -> None:
                    bar.update()
                    if file:
                        file.add(place, reading)
                    if on_reading:
                        on_reading(path, reading)

                def complain(error: ImageError, bar: Any = bar) -> None:
                    bar.write(f"left out: {error}", file=sys.stderr)

                def repeat(reading: WordResult, path: str = path) -> None:
                    if on_reading:
                        on_reading(path, reading)

                evaluations.append(
                    evaluation.evaluate(
                        recognizer,
                        dataset,
                        charset,
                        known=known,
                        on_reading=note,
                        on_unreadable=complain,
                        on_known=repeat,
                    )
                )
    return evaluations


def _open(paths: Sequence[str]) -> Sets:
    """Open the sets; report those that cannot be."""
    sets: Sets = {}
    places: dict[str, str] = {}
    for path in paths:
        if (place := os.path.realpath(path)) in places:
            raise UsageError(f"{path} is the same set as {places[place]}; name each once")
        places[place] = path
        try:
            sets[path] = open_dataset(path, on_error="skip")
        except Clip4StrError as error:
            print(f"error: {error}", file=sys.stderr)
    return sets


def _settings(args: argparse.Namespace, recognizer: Recognizer, **more: Any) -> dict[str, Any]:
    """Return what a reading depends on."""
    model = getattr(recognizer, "model", None)  # a stand-in has none
    weights = fingerprint(model) if args.results and model is not None else None
    settings = {"charset": args.protocol, "model": args.model, "weights": weights}
    return settings | {
        "precision": args.precision, "confidence": args.confidence, "early_exit": args.early_exit, **more
    }  # fmt: skip


def _evaluate(args: argparse.Namespace, recognizer: Recognizer, sets: Sets) -> None:
    readings: dict[str, list[WordResult]] = {path: [] for path in sets}
    evaluations = evaluate_sets(
        recognizer,
        sets,
        evaluation.CHARSETS[args.protocol],
        args.results,
        _settings(args, recognizer),
        lambda path, reading: readings[path].append(reading) if args.errors or args.plots else None,
    )
    if args.errors:
        _write_errors(args, sets, readings)
    if args.plots:
        _write_plots(args, sets, readings)
    paper = args.paper or (args.model if args.model in PUBLISHED else None)
    if args.protocol != "36":
        paper = None  # nothing is published for the other charsets
    if args.format == "json":
        rows = [*evaluations, evaluation.combine(evaluations)] if len(evaluations) > 1 else evaluations
        print(json.dumps([asdict(e) for e in rows]))
    else:
        breakdowns = {"by_length": args.by_length, "by_orientation": args.by_orientation, "by_height": args.by_height}
        print(evaluation_table(evaluations, paper=paper, **breakdowns))


def _write_errors(args: argparse.Namespace, sets: Sets, readings: dict[str, list[WordResult]]) -> None:
    path = Path(args.errors)
    if path.suffix.lower() == ".html":
        title = f"{args.model}: misread words ({args.protocol} characters)"
        path.write_text(error_sheet([(sets[p], readings[p]) for p in sets], title), encoding="utf-8")
        return
    if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
        from clip4str_plugin.evaluation.sheet import contact_sheet

        contact_sheet([(sets[p], readings[p]) for p in sets]).save(path, quality=88)
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        for reading in (r for rows in readings.values() for r in rows if not r.correct):
            table.writerow([reading.source, reading.label, reading.text, f"{reading.confidence:.4f}"])


def _write_plots(args: argparse.Namespace, sets: Sets, readings: dict[str, list[WordResult]]) -> None:
    from clip4str_plugin.evaluation.charts import coverage_chart, reliability_chart

    names = short_names(readings)
    lines = {names[path]: rows for path, rows in readings.items()}
    if len(lines) > 1:
        lines["all"] = [reading for rows in readings.values() for reading in rows]
    folder = Path(args.plots)
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in (("reliability", reliability_chart), ("coverage", coverage_chart)):
        (folder / f"{name}.svg").write_text(draw(lines), encoding="utf-8")


def _ablate(args: argparse.Namespace, recognizer: Recognizer, sets: Sets) -> None:
    results: dict[str, list[Evaluation] | str] = {}
    for variant in args.ablate or ABLATIONS:
        file = None
        if args.results:
            path = Path(args.results)
            file = path.with_name(f"{path.stem}.{variant}{path.suffix}")
        try:
            with ablated(recognizer.model, ABLATIONS[variant]):
                results[variant] = evaluate_sets(
                    recognizer,
                    sets,
                    evaluation.CHARSETS[args.protocol],
                    file,
                    _settings(args, recognizer, variant=variant),
                )
        except ValueError as error:
            if isinstance(error, Clip4StrError):
                raise
            results[variant] = str(error)
    if args.format == "json":
        rows = {k: v if isinstance(v, str) else [asdict(e) for e in v] for k, v in results.items()}
        print(json.dumps(rows))
    else:
        print(ablation_table(results))
