"""Train the network that cuts lines into words, on synthetic lines and, if wanted, on pasted real words.

python -m clip4str_plugin.training.splitting --lines 60000 --crops FOLDER --output splitter.safetensors
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import binary_cross_entropy_with_logits

from clip4str_plugin.export import export_splitter
from clip4str_plugin.model.splitter_network import Splitter
from clip4str_plugin.reading.splitter import HEIGHT, STRIDE, to_strip
from clip4str_plugin.synthetic import find_fonts
from clip4str_plugin.synthetic.line_renderer import LineRenderer
from clip4str_plugin.training.pasted_lines import PastedLines

__all__ = ["batches", "main", "targets"]

_WIDEST = 640
# Blanks are shown to the network at least this many answers wide, however narrow they are.
_NARROWEST = 2.5
# Blanks narrower than so many answers count as much as one that wide, up to 1.4 times as much an answer.
_NARROW, _MOST = 5.0, 1.4
# Every so manieth line is one of real words.
_EVERY = 5

Line = Callable[[int], tuple[np.ndarray, list[tuple[float, float]]]]


def targets(spans: list[tuple[float, float]], columns: int) -> tuple[np.ndarray, np.ndarray]:
    """What the network should answer.

    Args:
        spans: left and right end of each word in answers, left to right
        columns: number of answers

    Returns:
        share of each answer's column that words cover, and the weight of each answer: blanks between words count
        most, narrow ones above all, margins least; both (columns,) float32
    """
    starts, ends = ([span[side] for span in spans] for side in (0, 1))
    for index in range(len(spans) - 1):
        lacking = (_NARROWEST - (starts[index + 1] - ends[index])) / 2
        if lacking > 0:
            ends[index] -= lacking
            starts[index + 1] += lacking
    left = np.arange(columns, dtype=np.float32)
    covered = np.zeros(columns, np.float32)
    for start, end in zip(starts, ends):
        covered += np.clip(np.minimum(left + 1, end) - np.maximum(left, start), 0, 1)
    covered = np.minimum(covered, 1)
    between = (left + 1 > ends[0]) & (left < starts[-1]) if spans else np.zeros(columns, bool)
    weight = np.where(covered > 0.5, 1.0, np.where(between, 3.0, 0.5)).astype(np.float32)
    for end, start in zip(ends, starts[1:]):
        blank = (left + 0.5 > end) & (left + 0.5 < start) & (covered <= 0.5)
        weight[blank] *= min(max(_NARROW / max(start - end, 1e-6), 1.0), _MOST)
    return covered, weight


def batches(renderer: Line, first: int, count: int, size: int) -> Iterator[tuple[torch.Tensor, ...]]:
    """Strips (N, 3, 32, W), targets and weights (N, W / 4) of lines of like width; the last few lines are dropped."""
    pool: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for index in range(first, first + count):
        crop, spans = renderer(index)
        strip = to_strip(crop)
        scale = HEIGHT / crop.shape[0] / STRIDE
        answer, weight = targets([(a * scale, b * scale) for a, b in spans], strip.shape[2] // STRIDE)
        start = (index * 7919) % max(1, strip.shape[2] // STRIDE - _WIDEST // STRIDE)
        part = slice(start, start + _WIDEST // STRIDE)
        strip = strip[:, :, start * STRIDE : start * STRIDE + _WIDEST]
        if index % 3 == 0:
            strip = -strip[::-1]
        pool.append((strip, answer[part], weight[part]))
        if len(pool) == 16 * size:
            pool.sort(key=lambda line: line[0].shape[2])
            order = np.random.default_rng(index).permutation(16)
            for group in order:
                yield _collate(pool[group * size : (group + 1) * size])
            pool = []


def _collate(lines: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[torch.Tensor, ...]:
    width = max(line[0].shape[2] for line in lines)
    strips = np.stack([np.pad(s, ((0, 0), (0, 0), (0, width - s.shape[2])), mode="edge") for s, _, _ in lines])
    answers, weights = (
        np.stack([np.pad(line[part], (0, width // STRIDE - len(line[part]))) for line in lines]) for part in (1, 2)
    )
    return torch.from_numpy(strips), torch.from_numpy(answers), torch.from_numpy(weights)


def main(arguments: list[str] | None = None) -> None:
    """Train and save; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=60_000, help="lines to train on, each seen once")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fonts", nargs="*", help="folders of fonts (default: those of this machine)")
    parser.add_argument("--crops", nargs="*", default=[], help="folders of word crops with labels.tsv")
    parser.add_argument("--start", help="weights to go on from; the rate then only falls")
    parser.add_argument("--output", default="splitter.safetensors")
    options = parser.parse_args(arguments)
    torch.manual_seed(options.seed)
    splitter = Splitter().train()
    steps = options.lines // (16 * options.batch_size) * 16
    optimizer = torch.optim.AdamW(splitter.parameters(), options.rate, weight_decay=0.01)
    rise = 0.1
    if options.start:
        _start(splitter, options.start)
        rise = 2 / (steps + 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.rate, total_steps=steps + 1, pct_start=rise)
    lines = _lines(LineRenderer(find_fonts(options.fonts), options.seed), options.crops, options.seed)
    started, losses = time.monotonic(), []
    for step, (strips, answers, weights) in enumerate(batches(lines, 0, options.lines, options.batch_size), 1):
        loss = (binary_cross_entropy_with_logits(splitter(strips), answers, reduction="none") * weights).sum()
        loss = loss / weights.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 50 == 0 or step == steps:
            seconds = time.monotonic() - started
            print(f"step {step}/{steps}  loss {np.mean(losses[-100:]):.4f}  {seconds:.0f} s", flush=True)
            _save(splitter, options.output)
    export_splitter(splitter.eval(), Path(options.output).with_suffix(".onnx"))


def _lines(renderer: LineRenderer, crops: list[str], seed: int) -> Line:
    """Rendered lines, every fifth made of real words where there are any."""
    if not crops:
        return renderer
    pasted = PastedLines(crops, seed)
    return lambda index: pasted(index) if index % _EVERY == 0 else renderer(index)


def _start(splitter: Splitter, path: str) -> None:
    """Load weights; blocks that those of an earlier, shallower network lack begin as if they were not there."""
    weights = {name: value.float() for name, value in load_file(path).items()}
    lacking = splitter.load_state_dict(weights, strict=False).missing_keys
    blocks = {tuple(name.split(".")[:2]) for name in lacking}
    for place, number in blocks:
        if place != "context":
            raise ValueError(f"{path}: weights of another network")
        torch.nn.init.zeros_(splitter.get_parameter(f"{place}.{number}.1.weight"))


def _save(splitter: Splitter, path: str) -> None:
    save_file({name: value.half().contiguous() for name, value in splitter.state_dict().items()}, path)


if __name__ == "__main__":
    main()
