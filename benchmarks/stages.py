"""Where the time of a recognition goes, as a stacked bar: ``python benchmarks/stages.py [--svg FILE]``.

The published way and ours in several precisions, stage by stage, on the model of ``speed.py``.
"""

import argparse
import copy
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from speed import arranged, published

from clip4str_plugin.engines import set_precision
from clip4str_plugin.model import GEOMETRIES
from clip4str_plugin.model.decoder import Decoder

STAGES = {
    "image encoder": "#4c72b0",
    "text encoder": "#dd8452",
    "memory projections": "#55a868",
    "decoders": "#c44e52",
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--geometry", choices=list(GEOMETRIES), default="base16")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--engines", nargs="+", default=["torch:fp32", "openvino:bf16", "openvino:int8"])
    parser.add_argument("--svg", help="file for the picture")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    now = {"wall": time.perf_counter, "cpu": time.process_time}[args.clock]
    reference = arranged(args.geometry, disagree=False)
    images = torch.rand(args.batch_size, 3, *reference.config.image_size) * 2 - 1
    ways: dict[str, tuple[Stopwatch, Callable[[], Any]]] = {}
    for spec in args.engines:
        engine, _, precision = spec.partition(":")
        model = set_precision(copy.deepcopy(reference), precision, engine)
        ways[f"{precision}, {engine}"] = watch(model, now), lambda m=model: m.generate(images, complete=False)
    plain = copy.deepcopy(reference)
    ways = {"published way": (watch(plain, now), lambda: published(plain, images)), **ways}
    bars: dict[str, dict[str, float]] = {}
    with torch.inference_mode():
        for name, (stopwatch, decode) in ways.items():
            decode()
            stopwatch.seconds.clear()
            begin = now()
            for _ in range(args.rounds):
                decode()
            total = now() - begin
            stopwatch.seconds["rest"] = total - sum(stopwatch.seconds.values())
            bars[name] = {s: 1000 * stopwatch.seconds[s] / args.rounds / args.batch_size for s in STAGES}
            print(name.ljust(20), ", ".join(f"{stage} {value:.1f}" for stage, value in bars[name].items()), "ms a crop")
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
    for stage in STAGES:
        out.append(box(x, y, 12, 12, stage, stage))
        out.append(f'<text x="{x + 16}" y="{y + 11}">{stage}</text>')
        x += 30 + 8 * len(stage)
    return "\n".join([*out, "</svg>"]) + "\n"


if __name__ == "__main__":
    main()
