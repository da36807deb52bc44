"""Words a second that a training step and the loading processes reach, side by side.

    python benchmarks/training_rate.py [--device cuda] [--model tiny] [--workers 16] [--json FILE]
    python benchmarks/training_rate.py --device cpu --quick

Steps are timed on one batch of random crops that lies ready; loading is timed alone, with the words that
``clip4str train`` draws. A row that fails is reported, and the others still come.
"""

import argparse
import json
import os
import time
from pathlib import Path
from random import Random

import numpy as np
import torch

from clip4str_plugin.model.ppocr_tower import PPOCRTower
from clip4str_plugin.synthetic import Corpus
from clip4str_plugin.training.config import ModelSource, load_config
from clip4str_plugin.training.optim import parameter_groups
from clip4str_plugin.training.permutations import permuted_loss, sample_permutations
from clip4str_plugin.training.start import build_model


def step_rate(args: argparse.Namespace, cross: bool, channels_last: bool) -> float:
    """Return words a second of forward, backward and optimizer."""
    model = build_model(ModelSource(start=args.model)).to(args.device)
    trunk = getattr(model.clip_model.visual, "trunk", None)
    if isinstance(trunk, PPOCRTower) and not channels_last:
        trunk.memory_format = torch.contiguous_format
    optimizer = torch.optim.AdamW(parameter_groups(model, 1e-6, 0.01), fused=args.device == "cuda")
    images = torch.rand(args.batch_size, 3, *model.config.image_size, device=args.device) * 2 - 1
    rng, corpus, seconds = np.random.default_rng(0), Corpus(), []
    chance = Random(0)
    for _ in range(args.steps):
        labels = [corpus(chance) for _ in range(args.batch_size)]
        started = time.perf_counter()
        perms = sample_permutations(max(map(len, labels)), args.permutations, rng)
        with torch.autocast(args.device, torch.bfloat16):
            loss = permuted_loss(model, images, labels, perms, cross_weight=float(cross), parallel=args.parallel).total
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if args.device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return args.batch_size / float(np.median(seconds[len(seconds) // 3 :]))


def loading_rate(args: argparse.Namespace) -> float:
    """Return words a second that the loading processes hand over."""
    from clip4str_plugin.training.data import WordData

    changes = [f"data.workers={args.workers}", f"run.batch_size={args.batch_size}"]
    if args.fonts:
        changes.append("data.fonts=" + json.dumps(args.fonts))
    config = load_config(args.config, changes)
    data = WordData(config, build_model(ModelSource(start=args.model)).config)
    batches = iter(data.loader())
    for _ in range(max(1, args.workers)):
        next(batches)
    started, words = time.perf_counter(), 0
    while words < args.batch_size * args.steps:
        words += len(next(batches)[1])
    return words / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--model", default="tiny", metavar="NAME|FILE")
    parser.add_argument("--config", default="tiny-3-branches", help="whose data is loaded (default: %(default)s)")
    parser.add_argument("--fonts", nargs="*", help="folders of fonts (default: the system's)")
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--permutations", type=int, default=4)
    parser.add_argument("--parallel", type=float, default=0.0, help="weight of reading all characters at once")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--quick", action="store_true", help="a dry run: 2 workers, 3 steps of 8 words")
    parser.add_argument("--only", default="", help="rows whose name begins so")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    if args.quick:
        args.batch_size, args.workers, args.steps = 8, min(2, args.workers), 3
    torch.backends.cudnn.benchmark = True
    rows = {
        "loading": lambda: loading_rate(args),
        "visual branch": lambda: step_rate(args, False, True),
        "both branches": lambda: step_rate(args, True, True),
        "both branches, channels first": lambda: step_rate(args, True, False),
    }
    found: dict[str, float | str] = {}
    for name, measure in rows.items():
        if not name.startswith(args.only):
            continue
        try:
            found[name] = round(measure())
            print(f"{name}: {found[name]:,} words a second", flush=True)
        except Exception as error:  # a row that fails leaves the others
            found[name] = f"{type(error).__name__}: {error}"
            print(f"{name}: failed ({found[name]})", flush=True)
    if args.json:
        where = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
        Path(args.json).write_text(json.dumps({"device": where, **found}, indent=1))


if __name__ == "__main__":
    main()
