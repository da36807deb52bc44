"""Crops a second on a GPU, from host memory and on the card: ``PYTHONPATH=. python benchmarks/gpu.py [--json FILE]``.

First the golden strings and Pillow's pixels are checked on the card and its matrix rate is measured; then come base16,
``tiny`` and large14, in several variants. The CLIP models have random weights, arranged so that words have about 12
characters and both branches read alike; ``tiny`` is the embedded model and reads rendered words. A row that fails says
why, and the others go on. ``--device cpu --quick`` tries the script itself, with miniature models.
"""

import argparse
import contextlib
import copy
import json
import statistics
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from speed import arranged
from torch import Tensor

import clip4str_plugin.model.clip4str as clip4str_module
from clip4str_plugin import Recognizer, load_model
from clip4str_plugin.model import CLIP4STR, GEOMETRIES, clip_config
from clip4str_plugin.model.decoder import any_shape_attention
from clip4str_plugin.model.engines import set_precision
from clip4str_plugin.model.engines.fused import FusedEncoders
from clip4str_plugin.model.packed_crops import PackedCrops
from clip4str_plugin.model.preprocess import as_array, normalize, resize
from tests.golden import hashweights

ROOT = Path(__file__).parents[1]
_MINIATURE = {
    "embed_dim": 64,
    "vision_width": 128,
    "vision_layers": 2,
    "patch_size": 32,
    "text_width": 64,
    "text_layers": 2,
}
VARIANTS = ("torch", "fused", "cudnn", "compiled", "compiled-cudnn", "fp8", "fp8-cudnn")


class Run:
    """The rows of one run."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.device = torch.device(args.device)
        self.begin = time.monotonic()
        self.rows: list[dict[str, Any]] = []
        self.rate: float | None = None

    def row(self, name: str, make: Callable[[], Any], unit: str = "", work: float | None = None) -> Any:
        """Run and note one row; ``work`` are the operations behind one of what is counted a second."""
        if self.args.only and not any(part in name for part in self.args.only):
            return None
        started = time.monotonic()
        if started - self.begin > self.args.seconds:
            self.note(name, None, "left out, no time", 0.0)
            return None
        try:
            value = make()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            traceback.print_exc()
            self.note(name, None, f"failed: {type(error).__name__}: {str(error)[:200]}", time.monotonic() - started)
            self.free()
            return None
        share = None
        if work and self.rate and isinstance(value, float):
            share = value * work / self.rate
        shown = value if isinstance(value, (int, float, str)) else "done"
        self.note(name, shown, unit, time.monotonic() - started, share)
        return value

    def note(self, name: str, value: Any, unit: str, seconds: float, share: float | None = None) -> None:
        """Print a row, and write all rows so far."""
        self.rows.append({"name": name, "value": value, "unit": unit, "seconds": round(seconds, 2), "share": share})
        shown = f"{value:,.1f}" if isinstance(value, float) else str(value)
        part = f"  {100 * share:.0f} % of the matrix rate" if share else ""
        print(f"[{time.monotonic() - self.begin:6.1f} s] {name:<62} {shown:>14} {unit}{part}", flush=True)
        if self.args.json:
            about = {"device": describe(self.device), "torch": torch.__version__, "rows": self.rows}
            Path(self.args.json).write_text(json.dumps(about, indent=1, default=str) + "\n")

    def free(self) -> None:
        """Give memory of models that are gone back to the card."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def wait(self) -> None:
        """Wait until the card is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    @torch.inference_mode()
    def per_second(self, act: Callable[[], Any], count: int) -> float:
        """Return how many of ``count`` an action does a second: the median of its repetitions."""
        for _ in range(2):
            act()
        self.wait()
        times: list[float] = []
        limit = 0.2 if self.args.quick else 1.0
        while (sum(times) < limit and len(times) < 20) or len(times) < 2:
            begin = time.perf_counter()
            act()
            self.wait()
            times.append(time.perf_counter() - begin)
        return count / statistics.median(times)


def describe(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def matrix_rate(run: Run, fp8: bool = False) -> float:
    """Operations a second of large matrix products of random numbers."""
    n = 8192 if run.device.type == "cuda" else 512
    a, b = (torch.randn(n, n, device=run.device, dtype=torch.bfloat16) for _ in range(2))
    if not fp8:
        return run.per_second(lambda: a @ b, 2 * n**3)
    one = torch.ones(n, 1, device=run.device)
    a8, b8 = a.to(torch.float8_e4m3fn), b.to(torch.float8_e4m3fn)
    return run.per_second(
        lambda: torch._scaled_mm(a8, b8.t(), one, one.T, out_dtype=torch.bfloat16, use_fast_accum=True), 2 * n**3
    )


# ---- correctness --------------------------------------------------------------------------------------------


def golden_model() -> CLIP4STR:
    meta = json.loads((ROOT / "tests/golden/meta.json").read_text())
    g = meta["geometry"]
    config = clip_config(
        embed_dim=g["emb"],
        vision_width=g["vw"],
        vision_layers=g["vl"],
        patch_size=g["patch"],
        text_width=g["tw"],
        text_layers=g["tl"],
        charset=meta["hparams"]["charset_train"],
    )
    model = CLIP4STR(config)
    state = {name: torch.from_numpy(value) for name, value in hashweights.build(meta["shapes"], g["seed"]).items()}
    model.load_state_dict({name: value.reshape(model.state_dict()[name].shape) for name, value in state.items()})
    return model.eval()


@torch.inference_mode()
def golden(run: Run, engine: str, encoders: Callable[[CLIP4STR], Any] | None = None) -> str:
    """Compare strings, captions and logits with those of the published implementation."""
    expected, numbers = (ROOT / "tests/golden" / name for name in ("alone.json", "alone.npz"))
    expected, numbers = json.loads(expected.read_text()), np.load(numbers)
    images = torch.from_numpy(np.load(ROOT / "tests/golden/inputs.npz")["images_05"]).to(run.device)
    model = golden_model().to(run.device)
    if engine != "eager":
        set_precision(model, "fp32", engine)
    if encoders is not None:
        model.engine = encoders(model)
    model.cuda_graphs = engine != "torch"
    wrong, furthest = 0, 0.0
    for refinements in (0, 1, 2):
        for _ in range(2):  # captured, then replayed
            decoding = model.generate(images, refine_iters=refinements)
        for i in range(len(images)):
            key = f"crop{i}_r{refinements}"
            length = int(decoding.lengths[i])
            text = model.tokenizer.decode(decoding.logits[i : i + 1], decoding.lengths[i : i + 1])[0][0]
            captions = [c[i] for c in decoding.captions]
            wrong += text != expected[key]["strings"][0] or captions != [c[0] for c in expected[key]["captions"]]
            right = numbers[f"{key}/logits"][0, :length]
            furthest = max(furthest, float(np.abs(decoding.logits[i, :length].cpu().numpy() - right).max()))
    return f"{wrong} of 21 readings differ, logits at most {furthest:.1e}"


def pixels_differ(run: Run, crops: list[np.ndarray]) -> str:
    differing = 0
    for size in ((224, 224), (48, 128)):
        packed = PackedCrops.pack(crops, size, "rgb", pin=run.device.type == "cuda")
        resized = packed.resized(size, run.device).cpu().numpy()
        differing += sum(not np.array_equal(a, resize(b, size)) for a, b in zip(resized, crops))
    return f"{differing} of {2 * len(crops)} crops resized on the card differ from Pillow's"


def words(count: int, seed: int = 0) -> list[np.ndarray]:
    """Render words of many sizes."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"))
    crops = []
    for _ in range(count):
        text = "".join(rng.choice(letters, rng.integers(2, 13)))
        scale, font = rng.uniform(0.5, 1.6), int(rng.choice([0, 2, 3, 4]))
        (width, height), base = cv2.getTextSize(text, font, scale, 2)
        crop = rng.integers(150, 256, 3) * np.ones((height + base + 6, width + 8, 3))
        crop = np.ascontiguousarray(crop, np.uint8)
        cv2.putText(crop, text, (4, height + 2), font, scale, rng.integers(0, 90, 3).tolist(), 2, cv2.LINE_AA)
        crops.append(crop)
    return crops


# ---- variants -------------------------------------------------------------------------------------------------


def variant(model: CLIP4STR, name: str, precision: str) -> CLIP4STR:
    """Return a copy of a model that computes in one of the ``VARIANTS``."""
    model = copy.deepcopy(model)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    if name == "torch":
        return set_precision(model, precision, "torch")
    if name not in ("fused", "graphs"):
        model.engine = FusedEncoders(model, dtype, fp8="fp8" in name, compiled=name != "cudnn", cudnn="cudnn" in name)
    elif name == "fused":
        model.engine = FusedEncoders(model, dtype)
    model.cuda_graphs = True
    return model.to(dtype)


def operations(model: CLIP4STR) -> float:
    """Operations of one crop in the matrix products and the attention of CLIP's image encoder."""
    vision = model.config.vision
    if "layers" not in vision:
        return 0.0
    width, patch, (height, wide) = vision["width"], vision["patch_size"], model.config.image_size
    tokens = (height // patch) * (wide // patch) + 1
    layer = 2 * tokens * 12 * width**2 + 4 * tokens**2 * width
    return vision["layers"] * layer + 2 * tokens * 3 * patch**2 * width


def on_card(run: Run, label: str, model: CLIP4STR, sizes: list[int], encoder: bool) -> None:
    """Rows for normalised crops that are on the card."""
    work = operations(model)
    images = torch.rand(max(sizes), 3, *model.config.image_size, device=run.device, dtype=model.dtype) * 2 - 1
    if encoder:
        n = max(sizes)
        run.row(
            f"{label}, image encoder alone, batch {n}",
            lambda: run.per_second(lambda: encode(model, images), n),
            "a second",
            work,
        )
    for n in sizes:
        run.row(
            f"{label}, on the card, batch {n}",
            lambda n=n: run.per_second(lambda: model.generate(images[:n], complete=False), n),
            "a second",
            work,
        )


def encode(model: CLIP4STR, images: Tensor) -> Tensor:
    with any_shape_attention(images.device):
        return model.encode_image(images)


def decoding_alone(run: Run, label: str, model: CLIP4STR, n: int) -> None:
    memory: list[Tensor] = []

    def once() -> float:
        with torch.inference_mode():
            images = torch.rand(n, 3, *model.config.image_size, device=run.device, dtype=model.dtype) * 2 - 1
            memory.append(model.encode_image(images))
        with any_shape_attention(run.device):
            return run.per_second(lambda: model.graph_decoder.decode(model, memory[0], None, 1, False), n)

    run.row(f"{label}, decoding alone, batch {n}", once, "a second")


def from_host(run: Run, label: str, model: CLIP4STR, crops: list[np.ndarray], **options: Any) -> None:
    """A row for crops in host memory, through the public API."""
    recognizer = Recognizer(model, **options)

    def read() -> float:
        recognizer(crops[: 2 * recognizer.batch_size])
        rates = []
        for _ in range(1 if run.args.quick else 2):
            begin = time.perf_counter()
            found = recognizer(crops)
            rates.append(len(crops) / (time.perf_counter() - begin))
            assert len(found) == len(crops)
        return max(rates)

    run.row(
        f"{label}, Recognizer from host memory, {len(crops)} crops, batch {recognizer.batch_size}", read, "a second"
    )


def profile(run: Run, label: str, model: CLIP4STR, n: int) -> None:
    """Print where the card's time goes."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    images = torch.rand(n, 3, *model.config.image_size, device=run.device, dtype=model.dtype) * 2 - 1
    activities = [ProfilerActivity.CUDA if run.device.type == "cuda" else ProfilerActivity.CPU]

    def once() -> str:
        with torch.inference_mode(), profiler(activities=activities) as found:
            model.generate(images, complete=False)
            run.wait()
        print(found.key_averages().table(sort_by="self_cuda_time_total", row_limit=22, max_name_column_width=70))
        return "above"

    run.row(f"{label}, profile of a batch of {n}", once)


def stages_on_host(run: Run, model: CLIP4STR, crops: list[np.ndarray], label: str) -> None:
    n = min(512, len(crops))
    arrays = [as_array(crop) for crop in crops[:n]]
    size, pin = model.config.image_size, run.device.type == "cuda"
    packed: list[PackedCrops] = []

    def pack() -> None:
        packed[:] = [PackedCrops.pack(arrays, size, "rgb", pin)]

    run.row(f"{label}, packing {n} crops, one thread", lambda: run.per_second(pack, n), "a second")
    run.row(
        f"{label}, resizing {n} packed crops on the card",
        lambda: run.per_second(lambda: packed[0].resized(size, run.device), n),
        "a second",
    )
    if packed:
        resized = packed[0].resized(size, run.device)
        run.row(
            f"{label}, normalising {n} crops on the card",
            lambda: run.per_second(lambda: normalize(resized, model.config.mean, model.config.std, model.dtype), n),
            "a second",
        )
    scores = torch.rand(n, 2 * (model.config.max_label_length + 1) + 1).numpy() * 20
    run.row(
        f"{label}, texts from scores, one thread",
        lambda: run.per_second(lambda: model.tokenizer.texts(scores), n),
        "a second",
    )


@torch.inference_mode()
def readings(run: Run, model: CLIP4STR, crops: list[np.ndarray]) -> list[str]:
    return [r.text for r in Recognizer(model, batch_size=32 if run.args.quick else 512)(crops)]


def changed(run: Run, models: dict[str, CLIP4STR], crops: list[np.ndarray], reference: str) -> None:
    """Rows for how many words a variant reads differently."""
    right: list[str] = []
    run.row(f"words read by {reference}", lambda: right.extend(readings(run, models[reference], crops)) or len(right))
    for name, model in models.items():
        if name != reference and right:
            run.row(
                f"words that {name} changes over {reference}, of {len(crops)}",
                lambda model=model: sum(a != b for a, b in zip(right, readings(run, model, crops))),
            )


def clip_rows(run: Run, geometry: str, sizes: list[int], host: int, variants: list[str]) -> None:
    torch._dynamo.reset()
    if run.args.quick:
        GEOMETRIES[geometry] = _MINIATURE
    with run.device:
        model = arranged(geometry, disagree=False).to(run.device)
    crops = words(min(host, 1024))
    crops = (crops * (host // len(crops) + 1))[:host]
    for name in variants:
        made = run.row(f"{geometry} bf16 {name}, made", lambda name=name: variant(model, name, "bf16"))
        if made is None:
            continue
        on_card(run, f"{geometry} bf16 {name}", made, sizes if name == "fused" else sizes[-1:], True)
        if name != "torch":
            decoding_alone(run, f"{geometry} bf16 {name}", made, sizes[-1])
            from_host(run, f"{geometry} bf16 {name}", made, crops)
        if run.args.profile:
            profile(run, f"{geometry} bf16 {name}", made, sizes[-1])
        if name == "fused":
            stages_on_host(run, made, crops, geometry)
        made = None
        run.free()


def fp8_words(run: Run) -> None:
    if run.args.quick:
        GEOMETRIES["base16"] = _MINIATURE
    with run.device:
        model = arranged("base16", disagree=False).to(run.device)
    made = {"base16 fp32": variant(model, "fused", "fp32"), "base16 bf16": variant(model, "fused", "bf16")}
    if any("fp8" in name for name in run.args.variants):
        made["base16 fp8"] = variant(model, "fp8", "bf16")
    changed(run, made, words(64 if run.args.quick else 1024, seed=1), "base16 fp32")


def tiny_rows(run: Run, count: int) -> None:
    model = load_model("tiny").to(run.device)
    crops = words(min(count, 2048))
    texts = [r.text for r in Recognizer(load_model("tiny"), batch_size=32)(crops[:128])]
    made = {f"tiny {p} {n}": variant(model, n, p) for p in ("fp32", "bf16") for n in ("graphs", "torch")}
    run.row(
        "tiny fp32, of 128 rendered words the card reads differently from the CPU",
        lambda: sum(a != b for a, b in zip(texts, readings(run, made["tiny fp32 graphs"], crops[:128]))),
    )
    changed(run, {k: made[k] for k in ("tiny fp32 graphs", "tiny bf16 graphs")}, crops, "tiny fp32 graphs")
    many = (crops * (count // len(crops) + 1))[:count]
    n = 32 if run.args.quick else 1024
    for name, each in made.items():
        if name.endswith("graphs"):
            on_card(run, name, each, [n], True)
            decoding_alone(run, name, each, n)
            if run.args.profile:
                profile(run, name, each, n)
            for size in [16] if run.args.quick else [512, 1024] if "fp32" in name else [1024]:
                from_host(run, name, each, many, batch_size=size)
        else:
            from_host(run, name, each, many[: 64 if run.args.quick else 2048])
    stages_on_host(run, model, many, "tiny")
    slow = made["tiny bf16 torch"]
    crops = many[: 32 if run.args.quick else 1024]

    def with_cudnn() -> float:
        kept = clip4str_module.any_shape_attention
        clip4str_module.any_shape_attention = lambda device: contextlib.nullcontext()
        try:
            begin = time.perf_counter()
            Recognizer(slow, batch_size=512)(crops)
            return len(crops) / (time.perf_counter() - begin)
        finally:
            clip4str_module.any_shape_attention = kept

    run.row(f"tiny bf16 torch, attention as PyTorch chooses it, {len(crops)} crops", with_cudnn, "a second")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="miniature models and few crops, to try the script")
    parser.add_argument("--seconds", type=float, default=125, help="no row starts after so many")
    parser.add_argument("--json", help="where to write all rows, again after each")
    parser.add_argument("--models", nargs="+", default=["base16", "tiny", "large14"])
    parser.add_argument(
        "--variants", nargs="+", choices=VARIANTS, default=["fused", "torch", "cudnn", "compiled-cudnn", "fp8-cudnn"]
    )
    parser.add_argument("--profile", action="store_true", help="print where the card's time goes")
    parser.add_argument("--only", nargs="+", help="rows whose names hold one of these")
    args = parser.parse_args()
    run = Run(args)
    print(f"{describe(run.device)}, PyTorch {torch.__version__}, {torch.get_num_threads()} threads", flush=True)
    run.rate = run.row("matrix products, bf16", lambda: matrix_rate(run), "operations a second")
    run.row("matrix products, fp8 (scaled by rows)", lambda: matrix_rate(run, fp8=True), "operations a second")
    quick = args.quick
    if run.device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = False
    run.row("golden, one operation after another", lambda: golden(run, "torch"))
    run.row("golden, graphs, as set_precision chooses", lambda: golden(run, "auto"))
    run.row(
        "golden, graphs and fused encoders", lambda: golden(run, "eager", lambda m: FusedEncoders(m, torch.float32))
    )
    some = words(48) + [np.asarray(Image.fromarray(crop).resize((40, 300))) for crop in words(4)]
    run.row("pixels", lambda: pixels_differ(run, some))
    sizes = [2, 8] if quick else [64, 256, 1024]
    compiled = [v for v in args.variants if v.startswith(("compiled", "fp8"))]
    if "base16" in args.models:
        clip_rows(run, "base16", sizes, 64 if quick else 8192, [v for v in args.variants if v not in compiled])
    if "tiny" in args.models:
        tiny_rows(run, 64 if quick else 32768)
    if "large14" in args.models:
        clip_rows(run, "large14", [2] if quick else [512], 16 if quick else 2048, ["fused"])
    if "base16" in args.models and compiled:
        clip_rows(run, "base16", sizes[-1:], 64 if quick else 8192, compiled)
    if "base16" in args.models:
        fp8_words(run)
    if "large14" in args.models and compiled:
        clip_rows(run, "large14", [2] if quick else [512], 16 if quick else 2048, compiled)
    print(f"{time.monotonic() - run.begin:.0f} s")


if __name__ == "__main__":
    main()
