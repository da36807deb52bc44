"""CPU seconds a page costs on one core, stage by stage: what plans for many pages start from, see docs/cluster.md.

    python benchmarks/page_cost.py FOLDER... [--model NAME|FILE] [--detector NAME] [--limit N]

Processor time, not time on the clock, so that other programs on the machine do not count; one thread.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import time
from types import SimpleNamespace

import torch

from clip4str_plugin import Reader, load_detector
from clip4str_plugin.io.images import PageImage, read_pages
from clip4str_plugin.reading import reader

STAGES = ("decode", "detect", "rectify", "recognize")


def images(folder: Path, limit: int) -> list[Path]:
    inner = folder / "images"
    files = sorted((inner if inner.is_dir() else folder).iterdir())
    return [path for path in files if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".tif")][:limit]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--detector", default="rapidocr")
    parser.add_argument("--limit", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    reader.time = SimpleNamespace(perf_counter=time.process_time)  # type: ignore[attr-defined]
    options = {"threads": 1} if args.detector.startswith("rapidocr") else {}
    ours = Reader(load_detector(args.detector, **options), args.model, page_batch_size=1)
    for folder in args.folders:
        totals, words, megapixels = dict.fromkeys(STAGES, 0.0), 0, 0.0
        paths = images(folder, args.limit)
        for number, path in enumerate([paths[0], *paths]):  # the first page twice: once to build what is built once
            begin = time.process_time()
            (image,) = [page for page in read_pages(path) if isinstance(page, PageImage)]
            decode = time.process_time() - begin
            (page,) = ours.stream([image.pixels])
            if number:
                for stage, seconds in {"decode": decode, **page.seconds}.items():
                    totals[stage] += seconds
                words += len(page.words)
                megapixels += image.pixels.size / 3e6
        count = len(paths)
        print(f"{folder.name}: {count} pages, {words / count:.1f} words and {megapixels / count:.2f} megapixels each")
        for stage, seconds in totals.items():
            print(f"  {stage:10} {seconds / count:7.3f} s of one core a page")
        everything = sum(totals.values())
        print(f"  {'all':10} {everything / count:7.3f} s, {3600 * count / everything:.0f} pages a core-hour")


if __name__ == "__main__":
    main()
