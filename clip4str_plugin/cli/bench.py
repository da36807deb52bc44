"""``clip4str bench``: the speed on this machine, next to other recognizers on the same crops.

Every contestant runs in a process of its own, so that neither memory nor threads of one are counted for another, and
they take turns, so that what else the machine does meets all of them alike.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Contestant", "Result", "add_arguments", "machine", "measure", "run"]

SINGLES = 8  # crops read one by one in a round


@dataclass(frozen=True)
class Contestant:
    """A recognizer to measure.

    Attributes:
        kind: "clip4str", "doctr" or "rapidocr".
        model: name or file of a model of that kind; RapidOCR has one of its own.
        precision: for "clip4str", as in ``engines.set_precision``.
        batch_size: crops of a batch.
        threads: of the CPU; None for one a core.
        device: for "clip4str".
        pages: read whole pages (detection included) in place of crops.
        allow_hub: for "clip4str", as in ``load_model``.
    """

    kind: str
    model: str = ""
    precision: str = "auto"
    batch_size: int = 32
    threads: int | None = None
    device: str | None = None
    pages: bool = False
    allow_hub: bool = False

    @property
    def name(self) -> str:
        """Short name for tables."""
        what = {"clip4str": f"{self.model} {self.precision}", "doctr": f"docTR {self.model}", "rapidocr": "RapidOCR"}
        return what[self.kind]


@dataclass
class Result:
    """What was measured for one contestant.

    Attributes:
        name: of the contestant.
        per_second: crops (or pages) a second in each round.
        single: milliseconds for one crop alone, the median of each round.
        start: seconds until it was ready.
        memory: peak memory of its process in MB.
        flop: floating point operations for a crop, 0 if unknown.
        note: what a reader of the figures must know.
    """

    name: str
    per_second: list[float] = field(default_factory=list)
    single: list[float] = field(default_factory=list)
    start: float = 0.0
    memory: float = 0.0
    flop: float = 0.0
    note: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    from clip4str_plugin.cli.options import add_hub_argument, positive, threads

    parser.add_argument("--model", default="tiny", metavar="NAME|FILE", help="(default: %(default)s)")
    add_hub_argument(parser)
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, ... (default: the GPU if there is one)")
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=["fp32", "bf16", "int8", "auto"],
        default=["fp32", "bf16"],
        help="number formats to measure (default: fp32 bf16)",
    )
    parser.add_argument("--batch-size", type=positive, default=32, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--threads", type=threads, metavar="N", help="CPU threads (default: one per core)")
    parser.add_argument(
        "--peers",
        nargs="*",
        default=["rapidocr"],
        metavar="NAME",
        help="other recognizers to measure: rapidocr, doctr:parseq, doctr:vitstr_base, doctr:crnn_vgg16_bn "
        "(default: rapidocr)",
    )
    parser.add_argument("--crops", metavar="DIR", help="data set of word crops (default: rendered words)")
    parser.add_argument("--pages", nargs="+", metavar="PATH", help="also read these pages, with and without RapidOCR")
    parser.add_argument(
        "--count", type=positive, default=64, metavar="N", help="crops per round (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=positive, default=5, metavar="N", help="rounds (default: %(default)s)")
    parser.add_argument("--format", choices=["text", "json"], default="text", help="(default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    from clip4str_plugin.cli import UsageError
    from clip4str_plugin.model import available_models
    from clip4str_plugin.model.devices import pick_device

    try:
        pick_device(args.device or "auto")
    except ValueError as error:
        raise UsageError(str(error)) from None
    if args.model not in available_models() and not Path(args.model).exists():
        raise UsageError(f"--model {args.model!r} is neither a file nor a known model; see `clip4str models`")
    common: dict[str, Any] = {"batch_size": args.batch_size, "threads": args.threads}
    own: dict[str, Any] = {"device": args.device, "allow_hub": args.allow_hub, **common}
    ours = [Contestant("clip4str", args.model, precision, **own) for precision in dict.fromkeys(args.precision)]
    peers = [_peer(name, common) for name in args.peers]
    crops = _crops(args.crops, args.count)
    pages = _pages(args.pages) if args.pages else []  # what cannot be read is said before anything is measured
    report: dict[str, Any] = {"machine": machine(args.threads, args.device)}
    report["crops"] = [asdict(r) for r in measure([*ours, *peers], crops, args.rounds)]
    if pages:
        readers = [Contestant(**{**asdict(c), "pages": True}) for c in (*ours, Contestant("rapidocr", **common))]
        report["pages"] = [asdict(r) for r in measure(readers, pages, args.rounds)]
    print(json.dumps(report, indent=1) if args.format == "json" else _table(report))
    return 0


def _peer(name: str, common: dict[str, Any]) -> Contestant:
    from clip4str_plugin.cli import UsageError

    kind, _, model = name.partition(":")
    if kind not in ("doctr", "rapidocr") or (kind == "doctr") != bool(model):
        raise UsageError(f"--peers takes rapidocr and doctr:ARCH, not {name!r}")
    return Contestant(kind, model, **common)


def _crops(path: str | None, count: int) -> list[np.ndarray]:
    if path is not None:
        from clip4str_plugin.data.datasets import open_dataset

        dataset = open_dataset(path, on_error="skip")
        step = max(len(dataset) // count, 1)
        return [dataset[i][0] for i in range(0, len(dataset), step)][:count]
    from clip4str_plugin.synthetic import WordRenderer, find_fonts

    render = WordRenderer(find_fonts())
    return [render(index)[0] for index in range(count)]


def _pages(paths: Sequence[str]) -> list[np.ndarray]:
    from clip4str_plugin.errors import ImageError
    from clip4str_plugin.io.images import Unreadable, find_files, read_pages

    found = []
    for path in find_files(paths):
        for page in [path] if isinstance(path, Unreadable) else read_pages(path):
            if isinstance(page, Unreadable):
                raise ImageError(page.error)
            found.append(page.pixels)
    return found


# ---- measuring ----------------------------------------------------------------------------------------


def measure(contestants: Sequence[Contestant], images: Sequence[np.ndarray], rounds: int = 5) -> list[Result]:
    """Measure contestants on the same images, in alternation.

    Args:
        contestants: who takes part; one that cannot start is left out of the measuring and says why in ``note``.
        images: uint8 RGB arrays, word crops or pages.
        rounds: turns each takes, after one to warm up.
    """
    context = multiprocessing.get_context("spawn")
    results = [Result(contestant.name) for contestant in contestants]
    running: list[tuple[Result, Connection, Any]] = []
    try:
        for contestant, result in zip(contestants, results):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, contestant, list(images)), daemon=True)
            process.start()
            theirs.close()
            running.append((result, ours, process))
            _ask(running, result, None)
        for question in [*["round"] * rounds, "end"]:
            for result in [entry[0] for entry in running]:
                _ask(running, result, question)
    finally:
        for _, connection, process in running:
            connection.close()
            process.join(10)
            if process.is_alive():
                process.terminate()
    return results


def _ask(running: list[tuple[Result, Connection, Any]], result: Result, question: str | None) -> None:
    """Send a question to the process behind a result (None: just wait) and note the answer."""
    entry = next(e for e in running if e[0] is result)
    try:
        if question is not None:
            entry[1].send(question)
        answer = entry[1].recv()
    except (EOFError, OSError):
        answer = {"note": "its process ended"}
    for key, value in answer.items():
        present = getattr(result, key)
        setattr(result, key, [*present, value] if isinstance(present, list) else value)
    if "note" in answer and not answer.get("ready"):
        running.remove(entry)


def _work(connection: Connection, contestant: Contestant, images: list[np.ndarray]) -> None:
    """Answer questions until the pipe is closed."""
    try:
        begin = time.perf_counter()
        read, note, flop = _load(contestant)
        read(images[:1])
        start = time.perf_counter() - begin
        read(images)  # warms up
    except Exception as error:  # said in the table, whatever it is
        connection.send({"note": f"cannot take part: {type(error).__name__}: {error}"})
        return
    connection.send({"start": start, "flop": flop})
    try:
        while (question := connection.recv()) == "round":
            begin = time.perf_counter()
            read(images)
            answer: dict[str, Any] = {"per_second": len(images) / (time.perf_counter() - begin)}
            if not contestant.pages:
                answer["single"] = _single(read, images)
            connection.send(answer)
        if question == "end":
            connection.send({"memory": _peak_memory(), "note": note})
    except EOFError:  # nobody asks any more
        pass


def _single(read: Callable[[list[np.ndarray]], Any], images: list[np.ndarray]) -> float:
    times = []
    for image in images[:SINGLES]:
        begin = time.perf_counter()
        read([image])
        times.append(1000 * (time.perf_counter() - begin))
    return statistics.median(times)


def _peak_memory() -> float:
    """Return the largest resident size this process ever had, in MB; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


# ---- contestants --------------------------------------------------------------------------------------


def _load(contestant: Contestant) -> tuple[Callable[[list[np.ndarray]], Any], str, float]:
    """Return a function that reads images, what to know about it, and its operations a crop."""
    import torch

    if contestant.threads is not None:
        torch.set_num_threads(contestant.threads)
    return {"clip4str": _load_ours, "doctr": _load_doctr, "rapidocr": _load_rapidocr}[contestant.kind](contestant)


def _load_ours(contestant: Contestant) -> tuple[Callable[[list[np.ndarray]], Any], str, float]:
    import torch

    from clip4str_plugin import Reader, Recognizer, load_model

    device = contestant.device or ("cuda" if torch.cuda.is_available() else "cpu")
    model = load_model(contestant.model, device=device, allow_hub=contestant.allow_hub).requires_grad_(False)
    flop = 0.0 if contestant.pages else _flop(model)
    recognizer = Recognizer(model, batch_size=contestant.batch_size, precision=contestant.precision)
    if not contestant.pages:
        return recognizer, "", flop
    reader = Reader("rapidocr", recognizer)
    return lambda pages: list(reader.stream(pages)), "detector of RapidOCR", flop


def _load_doctr(contestant: Contestant) -> tuple[Callable[[list[np.ndarray]], Any], str, float]:
    from doctr.models import recognition_predictor

    try:
        predictor, note = recognition_predictor(contestant.model, pretrained=True, batch_size=contestant.batch_size), ""
    except OSError:
        untrained = {"pretrained": False, "pretrained_backbone": False}
        predictor = recognition_predictor(contestant.model, **untrained, batch_size=contestant.batch_size)
        note = "its weights cannot be downloaded: random ones"
    return predictor, note, 0.0


def _load_rapidocr(contestant: Contestant) -> tuple[Callable[[list[np.ndarray]], Any], str, float]:
    from rapidocr import RapidOCR
    from rapidocr.ch_ppocr_rec import TextRecInput

    # Its own batch size: it pads a batch to the widest crop, so that large ones make it slower.
    params: dict[str, Any] = {"Global.log_level": "warning"}
    if contestant.threads is not None:
        params["EngineConfig.onnxruntime.intra_op_num_threads"] = contestant.threads
    ocr = RapidOCR(params=params)
    if contestant.pages:
        return lambda pages: [ocr(page[..., ::-1]) for page in pages], "all of RapidOCR", 0.0
    recognizer: Any = ocr._load_rec_model()
    return lambda crops: recognizer(TextRecInput(img=[crop[..., ::-1] for crop in crops])), "", 0.0


def _flop(model: Any) -> float:
    """Count the operations of one crop through the reference path; the counter wants weights without gradients."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    image = torch.zeros(1, 3, *model.config.image_size, device=model.device)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.generate(image, complete=False)
    return float(counter.get_total_flops())


# ---- the machine --------------------------------------------------------------------------------------


def machine(threads: int | None = None, device: str | None = None) -> dict[str, Any]:
    """Describe the machine and measure the rate of its matrix products.

    Args:
        threads: of the CPU; None for one a core.
        device: where to multiply; None for cuda where there is one.

    Returns:
        names and versions, and ``gflops``: rate by precision, the best of several products of 2048 x 2048 matrices
        (8192 on a GPU).
    """
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else None
    return {
        "cpu": _cpu_name(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gflops": {"fp32": _rate(torch.float32, device), "bf16": _rate(torch.bfloat16, device)},
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            names = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def _rate(dtype: Any, device: str) -> float:
    import torch

    best = 0.0
    for size in (256, 512, 1024, 2048, 4096, 8192):
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        for _ in range(4):
            begin = time.perf_counter()
            a @ b
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            seconds = time.perf_counter() - begin
            best = max(best, 2 * size**3 / seconds / 1e9)
        if seconds > 0.02:  # eight times as long would say nothing new; without bf16 arithmetic, minutes
            break
    return best


# ---- the table ----------------------------------------------------------------------------------------


def _table(report: dict[str, Any]) -> str:
    about = report["machine"]
    rates = ", ".join(f"{name} {rate:.0f}" for name, rate in about["gflops"].items())
    lines = [
        f"{about['gpu'] or about['cpu']}, {about['threads']} CPU threads, PyTorch {about['torch']}, {about['system']}",
        f"matrix products: {rates} GFLOPS",
        "",
        f"{'crops':<28}{'a second (lowest-highest)':>28}{'one alone, ms':>15}{'start, s':>10}{'peak, MB':>10}"
        f"{'of matrix rate':>16}",
    ]
    lines += [_row(Result(**row), about["gflops"]) for row in report["crops"]]
    if "pages" in report:
        lines += ["", f"{'pages':<28}{'a second (lowest-highest)':>28}"]
        lines += [_row(Result(**row), {}) for row in report["pages"]]
    return "\n".join(lines)


def _row(result: Result, rates: dict[str, float]) -> str:
    if not result.per_second:
        return f"{result.name:<28}  {result.note}"
    median = statistics.median(result.per_second)
    spread = f"{median:.1f} ({min(result.per_second):.1f}-{max(result.per_second):.1f})"
    row = f"{result.name:<28}{spread:>28}"
    if result.single:
        row += f"{statistics.median(result.single):>15.1f}{result.start:>10.1f}{result.memory:>10.0f}"
    rate = rates.get(result.name.rpartition(" ")[2])
    if rate and result.flop:
        row += f"{median * result.flop / rate / 1e9:>16.0%}"
    return f"{row}  {result.note}".rstrip()
