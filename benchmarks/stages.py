"""Where the time goes, as stacked bars: ``python benchmarks/stages.py [--pages FOLDER] [--svg FILE]``.

Without ``--pages`` a recognition, on the model of ``speed.py``: the published way and ours in several precisions. With
it whole pages and the embedded model: RapidOCR, our Reader with ONNX Runtime and PyTorch alone, and with OpenVINO.
"""

import argparse
import copy
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speed import arranged, published

from clip4str_plugin.model import GEOMETRIES
from clip4str_plugin.model.decoder import Decoder
from clip4str_plugin.model.engines import set_precision

STAGES = {
    "image encoder": "#4c72b0",
    "text encoder": "#dd8452",
    "memory projections": "#55a868",
    "decoders": "#c44e52",
    "detection": "#4c72b0",
    "splitting and straightening": "#55a868",
    "reading direction": "#dd8452",
    "recognition": "#c44e52",
    "rest": "#bbbbbb",
}


class Stopwatch:
    """Adds up the time of functions by stage; what one measures inside another counts for the outer one."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now, self.seconds, self._busy = now, defaultdict(float), False

    def wrap(self, owner: Any, name: str, stage: str) -> None:
        """Replace a method of one object by one that is timed."""
        function = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._busy:
                return function(*args, **kwargs)
            self._busy, begin = True, self.now()
            try:
                return function(*args, **kwargs)
            finally:
                self._busy = False
                self.seconds[stage] += self.now() - begin

        owner.__dict__[name] = timed


def watch(model: Any, now: Callable[[], float]) -> Stopwatch:
    watch = Stopwatch(now)
    watch.wrap(model, "encode_image", "image encoder")
    watch.wrap(model, "encode_text", "text encoder")
    watch.wrap(model.clip_model.visual.transformer, "forward", "image encoder")
    watch.wrap(model.clip_model.transformer, "forward", "text encoder")
    decoders: tuple[Decoder, ...] = (model.visual_decoder, model.cross_decoder)
    for decoder in decoders:
        watch.wrap(decoder, "memory_keys_values", "memory projections")
        watch.wrap(decoder, "step", "decoders")
        watch.wrap(decoder, "forward", "decoders")
    return watch


def recognition(args: argparse.Namespace, now: Callable[[], float]) -> dict[str, dict[str, float]]:
    """Return milliseconds a crop by way and stage."""
    reference = arranged(args.geometry, disagree=False)
    images = torch.rand(args.batch_size, 3, *reference.config.image_size) * 2 - 1
    plain = copy.deepcopy(reference)
    ways = {"published way": (watch(plain, now), lambda: published(plain, images))}
    for spec in args.engines:
        engine, _, precision = spec.partition(":")
        model = set_precision(copy.deepcopy(reference), precision, engine)
        ways[f"{precision}, {engine}"] = watch(model, now), lambda m=model: m.generate(images, complete=False)
    with torch.inference_mode():
        for _, run in ways.values():
            run()
        return measure(ways, now, args.rounds, args.batch_size)


def whole_pages(args: argparse.Namespace, now: Callable[[], float]) -> dict[str, dict[str, float]]:
    """Return milliseconds a page by system and stage."""
    from PIL import Image
    from rapidocr import EngineType, RapidOCR

    from clip4str_plugin import Reader, load_detector, load_model
    from clip4str_plugin.reading import regions

    paths = sorted(p for p in Path(args.pages).iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png"))[: args.limit]
    pages = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    engine = RapidOCR(params={"Global.log_level": "error"})
    engine(pages[0][..., ::-1])  # loads what is loaded at the first call
    theirs = Stopwatch(now)
    theirs.wrap(engine, "text_det", "detection")
    theirs.wrap(engine, "text_cls", "reading direction")
    theirs.wrap(engine, "text_rec", "recognition")
    ways: dict[str, tuple[Stopwatch, Callable[[], Any]]] = {
        "RapidOCR": (theirs, lambda: [engine(page[..., ::-1]) for page in pages])
    }
    plain = load_detector("rapidocr", engine_type=EngineType.ONNXRUNTIME)
    readers = {"ours, plain": Reader(plain, load_model("tiny")), "ours": Reader()}
    for name, own in readers.items():
        list(own.stream(pages[:1]))
        stopwatch = Stopwatch(now)
        stopwatch.wrap(own, "detector", "detection")
        own.recognizer = own.recognizer.upright
        stopwatch.wrap(own, "recognizer", "recognition")
        stopwatch.wrap(regions, "cut_words", "splitting and straightening")
        # One page at a time, so that no two stages run at once.
        ways[name] = stopwatch, lambda own=own: [list(own.stream([page])) for page in pages]
    return measure(ways, now, args.rounds, len(pages))


def measure(
    ways: dict[str, tuple[Stopwatch, Callable[[], Any]]], now: Callable[[], float], rounds: int, count: int
) -> dict[str, dict[str, float]]:
    """Let the ways, warmed up, take turns; return milliseconds by way and stage for each of ``count`` images."""
    seconds: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (stopwatch, run) in ways.items():
            stopwatch.seconds.clear()
            begin = now()
            run()
            total = now() - begin
            seconds[name].append({**stopwatch.seconds, "rest": total - sum(stopwatch.seconds.values())})
    bars = {}
    for name, turns in seconds.items():
        stages = [stage for stage in STAGES if stage in turns[0]]
        bars[name] = {s: 1000 / count * float(np.median([turn.get(s, 0.0) for turn in turns])) for s in stages}
        print(name.ljust(20), ", ".join(f"{stage} {value:.1f}" for stage, value in bars[name].items()), "ms each")
    return bars


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--geometry", choices=list(GEOMETRIES), default="base16")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--engines", nargs="+", default=["torch:fp32", "openvino:fp32", "openvino:bf16"])
    parser.add_argument("--pages", metavar="FOLDER", help="pages in place of crops")
    parser.add_argument("--limit", type=int, default=20, help="pages (default: %(default)s)")
    parser.add_argument("--svg", help="file for the picture")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    now = {"wall": time.perf_counter, "cpu": time.process_time}[args.clock]
    bars = whole_pages(args, now) if args.pages else recognition(args, now)
    if args.svg:
        with open(args.svg, "w", encoding="utf-8") as file:
            file.write(picture(bars))


def picture(bars: dict[str, dict[str, float]]) -> str:
    """Draw the bars as SVG."""
    left, width, row = 150, 560, 34
    scale = width / max(sum(bar.values()) for bar in bars.values())
    height = row * (len(bars) + 1) + 20
    size = f'width="{left + width + 90}" height="{height}"'
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">']
    out.append('<rect width="100%" height="100%" fill="white"/>')

    def box(x: float, y: float, width: float, height: int, stage: str, title: str) -> str:
        place = f'x="{x:.1f}" y="{y}" width="{width:.1f}" height="{height}"'
        return f'<rect {place} fill="{STAGES[stage]}"><title>{title}</title></rect>'

    for i, (name, bar) in enumerate(bars.items()):
        x, y = float(left), i * row + 8
        out.append(f'<text x="{left - 8}" y="{y + 17}" text-anchor="end">{name}</text>')
        for stage, value in bar.items():
            out.append(box(x, y, value * scale, 24, stage, f"{stage}: {value:.1f} ms"))
            x += value * scale
        out.append(f'<text x="{x + 6:.1f}" y="{y + 17}">{sum(bar.values()):.0f} ms</text>')
    x, y = float(left), len(bars) * row + 14
    for stage in _stages(list(bars.values())):
        out.append(box(x, y, 12, 12, stage, stage))
        out.append(f'<text x="{x + 16}" y="{y + 11}">{stage}</text>')
        x += 30 + 7 * len(stage)
    return "\n".join([*out, "</svg>"]) + "\n"


def _stages(bars: Sequence[dict[str, float]]) -> list[str]:
    return [stage for stage in STAGES if any(stage in bar for bar in bars)]


if __name__ == "__main__":
    main()
