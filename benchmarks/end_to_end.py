"""Reads a folder of photos with our reader and with RapidOCR's own recognizer, a few pages each in alternation.

    python benchmarks/end_to_end.py FOLDER OUTPUT [--model NAME|FILE] [--detector NAME] [--limit N] [--threads N]

Writes `OUTPUT/ours.jsonl`, `OUTPUT/rapidocr_words.jsonl` and `OUTPUT/rapidocr_lines.jsonl`, one object a page
({"image": ..., "words": [{"text": ..., "poly": [[x, y], ...]}]}), for any end-to-end scorer, and prints pages
a second by the clock and by processor time, and peak memory; each system's memory is measured in a process of its own.
On a machine that does other work, trust the ratios of processor time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

Words = list[dict[str, Any]]
_PAGES = 8  # read by one system before it is another one's turn


def ours(model: str, detector: str) -> Callable[[list[np.ndarray]], list[Words]]:
    from clip4str_plugin import Reader

    reader = Reader(detector, model)

    def read(pages: list[np.ndarray]) -> list[Words]:
        return [[{"text": w.text, "poly": w.polygon.tolist()} for w in page.words] for page in reader.stream(pages)]

    return read


def rapidocr(words: bool) -> Callable[[list[np.ndarray]], list[Words]]:
    from rapidocr import RapidOCR

    engine = RapidOCR(params={"Global.log_level": "error"})

    def read(page: np.ndarray) -> Words:
        result = engine(page[..., ::-1], return_word_box=words)
        if words:
            lines = [line for line in result.word_results or () if line]
            # A line is a sequence of words, or the word itself where it has no boxes of its own.
            found = [word for line in lines for word in ([line] if isinstance(line[0], str) else line)]
            boxed = [word for word in found if len(word) == 3 and word[2] is not None]
            return [{"text": text, "poly": np.asarray(box).tolist()} for text, _, box in boxed]
        if result.boxes is None:
            return []
        return [{"text": text, "poly": box.tolist()} for text, box in zip(result.txts, result.boxes)]

    return lambda pages: [read(page) for page in pages]


def systems(model: str, detector: str) -> dict[str, Callable[[], Callable[[list[np.ndarray]], list[Words]]]]:
    return {
        "ours": lambda: ours(model, detector),
        "rapidocr_words": lambda: rapidocr(True),
        "rapidocr_lines": lambda: rapidocr(False),
    }


def load(path: Path) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))


def peak_memory(name: str, model: str, detector: str, paths: list[Path]) -> float:
    """Return the peak resident memory in MB of reading the files in a process of its own."""
    options = ["--alone", name, "--model", model, "--detector", detector]
    command = [sys.executable, __file__, *options, *map(str, paths)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def alone(name: str, model: str, detector: str, paths: list[str]) -> None:
    read = systems(model, detector)[name]()
    for start in range(0, len(paths), _PAGES):
        read([load(Path(path)) for path in paths[start : start + _PAGES]])
    # Not ru_maxrss: a child starts with its parent's.
    status = Path("/proc/self/status").read_text()
    print(int(status.partition("VmHWM:")[2].split()[0]) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--detector", default="auto")
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--no-memory", action="store_true", help="leave out the peak memory")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        return alone(args.alone, args.model, args.detector, args.paths)
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)

    folder, output = map(Path, args.paths)
    output.mkdir(parents=True, exist_ok=True)
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    paths = paths[: args.limit or None]
    readers = {name: build() for name, build in systems(args.model, args.detector).items()}
    for read in readers.values():  # the first call builds what is built once
        read([load(paths[0])])
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    busy: dict[str, list[float]] = {name: [] for name in readers}
    files = {name: (output / f"{name}.jsonl").open("w", encoding="utf-8") for name in readers}
    for start in range(0, len(paths), _PAGES):
        turn = paths[start : start + _PAGES]
        pages = [load(path) for path in turn]
        for name, read in readers.items():
            begin, begin_busy = time.perf_counter(), time.process_time()
            found = read(pages)
            busy[name].append((time.process_time() - begin_busy) / len(turn))
            seconds[name].append((time.perf_counter() - begin) / len(turn))
            for path, words in zip(turn, found):
                files[name].write(json.dumps({"image": path.name, "words": words}, ensure_ascii=False) + "\n")
    for file in files.values():
        file.close()
    for name in readers:
        memory = (
            "" if args.no_memory else f", peak memory {peak_memory(name, args.model, args.detector, paths[:32]):.0f} MB"
        )
        print(f"{name:15} {rate(seconds, name)} by the clock; {rate(busy, name)} by the processor{memory}")


def rate(seconds: dict[str, list[float]], name: str) -> str:
    """Say how many pages a second a system reads, and how many times as many as RapidOCR, turn by turn."""
    ratio = statistics.median(theirs / own for theirs, own in zip(seconds["rapidocr_words"], seconds[name]))
    return f"{1 / statistics.median(seconds[name]):.2f} pages/s, {ratio:.2f} x rapidocr_words"


if __name__ == "__main__":
    main()
