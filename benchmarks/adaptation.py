"""Ways of parameter-efficient adaptation: ``python benchmarks/adaptation.py [--start tiny] [--steps 40] [--kinds ..]``.

Each way teaches a model the same new alphabet (Cyrillic capitals, drawn with a font's Latin look-alikes) from the same
rendered words, in a process of its own: trainable parameters, peak memory, CPU time, and accuracy on words that are not
among the training's, case counting. Ladders climb along CLIP's vision transformer, so they need a model that has one:
``--start vit`` first trains a small one to read the Latin letters, without the cross-modal branch.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CYRILLIC = dict(zip("АВЕКМНОРСТУХ", "ABEKMHOPCTYX"))  # noqa: RUF001
KINDS = ("linear", "attention", "linear_ladder", "ladder_pruning", "ladder", "lora", "decoders", "full")


# A vision transformer as CLIP has them, 4 x 16 patches.
VIT = {
    "embed_dim": 128,
    "image_size": [32, 128],
    "vision": {"image_size": [32, 128], "patch_size": 8, "width": 128, "layers": 4, "head_width": 32},
    "text": {"context_length": 16, "vocab_size": 578, "width": 32, "heads": 2, "layers": 1},
    "caption_merges": 64,
    "decoder_heads": 4,
    "dropout": 0.0,
    "cross_branch": False,
    "charset": "".join(CYRILLIC.values()),
}


def train_vit(folder: Path, steps: int) -> Path:
    """Train the vision transformer that adapters start from; return the folder of its weights."""
    from clip4str_plugin.training.config import load_config
    from clip4str_plugin.training.run import train

    changes = ["model.start=null", f"model.config={json.dumps(VIT)}", f"data.train={{{folder / 'latin'}: 1.0}}"]
    changes += [f"run.steps={steps}", "run.batch_size=64", "run.validate_every=100000", "optimizer.lr=8e-3"]
    changes += ["optimizer.coef_lr=1", "loss.cross_weight=0", "run.precision=bf16-mixed", "run.checkpoint_every=100000"]
    return train(load_config("ci", changes), folder / "vit")


def write_set(folder: Path, words: list[str], seed: int, latin: bool = False) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i, word in enumerate(words):
        font = ImageFont.load_default(size=int(rng.integers(20, 34)))
        text = "".join(CYRILLIC[c] for c in word)
        left, top, right, bottom = font.getbbox(text)
        ground, ink = int(rng.integers(140, 256)), int(rng.integers(0, 110))
        image = Image.new("RGB", (int(right - left) + 8, int(bottom - top) + 8), (ground,) * 3)
        ImageDraw.Draw(image).text((4 - left, 4 - top), text, font=font, fill=(ink,) * 3)
        noisy = np.asarray(image) + rng.normal(0, 15, (image.height, image.width, 3))
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / f"{i}.png")
    label = str.maketrans(CYRILLIC) if latin else {}
    rows = [f"{i}.png\t{word.translate(label)}\n" for i, word in enumerate(words)]
    (folder / "labels.tsv").write_text("".join(rows), encoding="utf-8")


def measure(kind: str, args: argparse.Namespace) -> dict[str, float]:
    """Train one way in this process and say what it took."""
    import torch

    from clip4str_plugin import Recognizer, load_model
    from clip4str_plugin.data.datasets import open_dataset
    from clip4str_plugin.evaluation.evaluate import evaluate
    from clip4str_plugin.training.config import load_config
    from clip4str_plugin.training.run import build_model, train

    torch.set_num_threads(1)
    alphabet, folder = "".join(CYRILLIC), Path(args.folder)
    changes = [f"model.start={args.start}", f"model.config.charset={alphabet}", f"run.steps={args.steps}"]
    changes += [f"run.batch_size={args.batch_size}", f"data.train={{{folder / 'train'}: 1.0}}"]
    if kind == "decoders":
        changes += ["model.freeze_image_layers=999", "model.freeze_text_layers=999"]
    elif kind != "full":
        changes.append(f"model.adapter={{kind: {kind}}}")
    config = load_config("ci", changes)
    trainable = sum(p.numel() for p in build_model(config.model).parameters() if p.requires_grad)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    final = train(config, folder / kind)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = evaluate(Recognizer(load_model(final)), open_dataset(folder / "test", alphabet), alphabet)
    return {"parameters": trainable, "before": before / 1024, "peak": peak / 1024, "seconds": seconds} | {
        "accuracy": result.accuracy
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--start", default="tiny", help="model to adapt: a name, a file, or 'vit' (default: %(default)s)"
    )
    parser.add_argument("--vit-steps", type=int, default=1000, help="of 64 crops, for 'vit' (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)  # of the process that measures
    args = parser.parse_args()
    if args.folder:
        print(json.dumps(measure(args.kinds[0], args)))
        return
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list(CYRILLIC), int(rng.integers(3, 7)))) for _ in range(900)]
    words = list(dict.fromkeys(words))
    print(f"{args.start}, {args.steps} steps of {args.batch_size} crops; {len(words[:200])} words held out")
    with tempfile.TemporaryDirectory() as folder:
        write_set(Path(folder) / "test", words[:200], 1)
        write_set(Path(folder) / "train", words[200:], 2)
        start = args.start
        if start == "vit":
            many = ["".join(rng.choice(list(CYRILLIC), int(rng.integers(3, 7)))) for _ in range(12000)]
            write_set(Path(folder) / "latin", many, 3, latin=True)
            start = str(train_vit(Path(folder), args.vit_steps))
        print("way             parameters  peak MB  more MB  CPU s  accuracy")
        for kind in args.kinds:
            command = [sys.executable, __file__, "--start", start, "--steps", str(args.steps), "--kinds", kind]
            command += ["--batch-size", str(args.batch_size), "--folder", folder]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
            if done.returncode:
                print(f"{kind:<14}  {done.stderr.strip().splitlines()[-1]}", flush=True)
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            more = found["peak"] - found["before"]
            print(
                f"{kind:<14}  {found['parameters']:>10,}  {found['peak']:>7.0f}  {more:>7.0f}"
                f"  {found['seconds']:>5.0f}  {found['accuracy']:>8.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
