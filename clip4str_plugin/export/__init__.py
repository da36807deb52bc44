"""Trained models for other runtimes: ONNX graphs with a NumPy reader, a single graph for OnnxTR, ``torch.export``."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from clip4str_plugin.errors import ExportError
from clip4str_plugin.export.graphs import DecoderGraph, ImageGraph, TextGraph, WholeGraph
from clip4str_plugin.export.weights import refer_to_weights
from clip4str_plugin.model.caption import CaptionTokenizer
from clip4str_plugin.model.checkpoint import save_pretrained
from clip4str_plugin.reading import onnx_recognizer

if TYPE_CHECKING:
    from torch import Tensor

    from clip4str_plugin.model import CLIP4STR

__all__ = [
    "export_onnx",
    "export_onnxtr",
    "export_programs",
    "export_reader",
    "export_splitter",
    "export_torch",
    "resizes_rows_first",
]

OPSET = 20  # the first in which GELU is one operation, not five passes over the numbers
_LARGE = 1 << 30  # bytes of weights from which on they are stored beside the graph (a graph ends at 2 GiB)
_CONFIG = (
    "image_size",
    "turn_tall",
    "early_exit",
    "mean",
    "std",
    "charset",
    "caption_charset",
    "max_label_length",
    "context_length",
    "refine_iters",
    "decode_ar",
    "cross_branch",
)


@dataclass(frozen=True)
class _Graph:
    """One part of a model, with examples and dynamic axes of its inputs."""

    module: nn.Module
    inputs: dict[str, Tensor]
    axes: dict[str, dict[int, str]]
    outputs: tuple[str, ...]


def export_onnx(model: CLIP4STR, folder: str | Path) -> Path:
    """Write the model as `export_reader` does, with a reader that needs ONNX Runtime and NumPy only.

    To its files come ``model.json`` and ``clip4str_onnx.py``
    (`clip4str_plugin.reading.onnx_recognizer.OnnxRecognizer`, which needs ONNX Runtime and NumPy).

    Args:
        model: from ``load_model``; exported in float32.
        folder: created if missing.

    Returns:
        the folder.

    Raises:
        ExportError: a package is missing (``pip install clip4str-plugin[export]``).
    """
    folder = export_reader(model, folder)
    values = model.config.to_dict()
    config = {name: values[name] for name in _CONFIG} | {"resize_rows_first": resizes_rows_first()}
    (folder / "model.json").write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    shutil.copyfile(onnx_recognizer.__file__, folder / "clip4str_onnx.py")
    return folder


def export_reader(model: CLIP4STR, folder: str | Path, half: bool = False) -> Path:
    """Write the model as a folder that ``Recognizer`` reads on a CPU without PyTorch, and ``load_model`` with it.

    The folder holds ``model.safetensors`` and ``config.json``, as ``save_pretrained`` writes them; ONNX graphs with
    dynamic batch size, ``image.onnx``, ``visual.onnx``, ``text.onnx`` and ``cross.onnx`` (the last two not for a model
    with the visual branch alone), which take their weights from there; and the caption vocabulary ``merges.txt``.

    Args:
        model: from ``load_model``.
        folder: created if missing.
        half: store the weights in float16; they are computed with in float32.

    Returns:
        the folder.

    Raises:
        ExportError: a package is missing (``pip install clip4str-plugin[export]``).
    """
    folder = Path(folder)
    graphs = _graphs(model)
    save_pretrained(model, folder, half=half)
    for name, graph in graphs.items():
        _save_onnx(graph, folder / f"{name}.onnx", model)
    if model.config.cross_branch:
        assert isinstance(model.caption_tokenizer, CaptionTokenizer)  # checked with the graphs
        merges = "".join(f"{a} {b}\n" for a, b in model.caption_tokenizer.merges)
        (folder / "merges.txt").write_text(merges, encoding="utf-8")
    return folder


def export_onnxtr(model: CLIP4STR, path: str | Path, refine_iters: int | None = None, branch: str = "cross") -> Path:
    """Write the whole recognition as one ONNX graph that OnnxTR loads as a PARSeq.

    Crops (N, 3, H, W), normalised by the model's mean and standard deviation, give logits (N, T, V + 1) in docTR's
    order: ``vocab`` (the model's charset), then the end token. Both decoding loops, the refinements and the caption
    tokenizer are part of the graph, so that it gives the strings of the PyTorch model; it always computes all T
    positions. ``<path>.json`` holds the keyword arguments for OnnxTR.

    Args:
        model: from ``load_model``; its caption charset must be of ASCII letters and digits (that of the published
            models is).
        path: of the ``.onnx`` file.
        refine_iters: refinements; the model's if None.
        branch: "cross", or "visual" for the reading of the visual branch: faster, less accurate.

    Returns:
        the path.

    Raises:
        ExportError: the model has something a single graph cannot express, or a package is missing.
    """
    path = Path(path)
    if branch not in ("cross", "visual"):
        raise ExportError(f"branch must be 'cross' or 'visual', is {branch!r}")
    _check(model)
    try:
        module = WholeGraph(model, refine_iters, branch == "cross")
    except ValueError as error:
        raise ExportError(f"cannot be one graph: {error}") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    images = torch.zeros(2, 3, *model.config.image_size)
    _save_onnx(_Graph(module, {"images": images}, {"images": {0: "n"}}, ("logits",)), path)
    usage = {
        "vocab": model.config.charset,
        "input_shape": [3, *model.config.image_size],
        "mean": list(model.config.mean),
        "std": list(model.config.std),
    }
    path.with_suffix(".json").write_text(json.dumps(usage, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def export_torch(model: CLIP4STR, folder: str | Path) -> Path:
    """Write the parts of the model as ``torch.export`` programs, ``image.pt2``, ``visual.pt2``, ...

    Args:
        model: from ``load_model``.
        folder: created if missing.

    Returns:
        the folder. Read the files with ``torch.export.load``; the inputs are those of
        `clip4str_plugin.export.graphs`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, program in export_programs(model).items():
        torch.export.save(program, folder / f"{name}.pt2")
    return folder


def export_programs(model: CLIP4STR) -> dict[str, torch.export.ExportedProgram]:
    """Return the parts of the model as ``torch.export`` programs: "image", "visual", "text" and "cross"."""
    return {name: _program(graph) for name, graph in _graphs(model).items()}


def export_splitter(splitter: nn.Module, path: str | Path) -> Path:
    """Write the graph of the network that cuts lines into words.

    Args:
        splitter: a ``Splitter``.
        path: of the graph; its weights are those of the ``.safetensors`` of the same name beside it.

    Returns:
        the path.

    Raises:
        ExportError: a package is missing.
    """
    path = Path(path)
    module = nn.Sequential(splitter, nn.Sigmoid()).eval()
    _require_onnxscript()
    width = 4 * torch.export.Dim("quarter", min=2)
    with torch.no_grad(), _quiet():
        shapes = {0: torch.export.Dim("n"), 3: width}
        program = torch.onnx.export(
            torch.export.export(module, (torch.zeros(2, 3, 32, 64),), dynamic_shapes=(shapes,)),
            opset_version=OPSET,
            input_names=["strips"],
            output_names=["answers"],
            dynamo=True,
            verbose=False,
            optimize=False,
        )
        assert program is not None
        refer_to_weights(program, module, splitter, path.with_suffix(".safetensors"))
        program.save(path)
    return path


def resizes_rows_first() -> bool:
    """Tell how the Pillow that is installed orders the two passes of a resize; see ``onnx_recognizer.resize``."""
    from PIL import Image

    probe = np.random.default_rng(0).integers(0, 256, (90, 9, 3), dtype=np.uint8)
    resized = np.asarray(Image.fromarray(probe).resize((30, 30), Image.Resampling.BICUBIC))
    return bool((resized == onnx_recognizer.resize(probe, (30, 30), rows_first=True)).all())


def _check(model: CLIP4STR) -> None:
    if getattr(model, "engine", None) is not None:
        raise ExportError("the model's encoders run on another engine: load it again and export before it gets one")
    if model.config.cross_branch and not isinstance(model.caption_tokenizer, CaptionTokenizer):
        raise ExportError("only CLIP's own caption tokenizer can be exported; this model's text encoder has another")


def _graphs(model: CLIP4STR) -> dict[str, _Graph]:
    _check(model)
    config = model.config
    n, length, queries = 3, 5, 4  # examples; 0 and 1 would be taken for constants
    images = torch.zeros(n, 3, *config.image_size)
    image = ImageGraph(model)
    with torch.no_grad():
        tokens, memory = image(images)
    graphs = {"image": _Graph(image, {"images": images}, {"images": {0: "n"}}, ("tokens", "memory"))}

    def decoder(module: nn.Module, memory: Tensor) -> _Graph:
        inputs = {
            "tokens": torch.ones(n, length, dtype=torch.int64),
            "memory": memory,
            "positions": torch.arange(queries),
            "visible": torch.ones(n, queries, length, dtype=torch.bool),
            "content_visible": torch.ones(n, length, length, dtype=torch.bool),
        }
        axes = {
            "tokens": {0: "n", 1: "length"},
            "memory": {0: "n"},
            "positions": {0: "queries"},
            "visible": {0: "n", 1: "queries", 2: "length"},
            "content_visible": {0: "n", 1: "length", 2: "length"},
        }
        return _Graph(module, inputs, axes, ("logits",))

    graphs["visual"] = decoder(DecoderGraph(model.visual_decoder), memory)
    if config.cross_branch:
        text = TextGraph(model)
        ids = torch.zeros(n, config.context_length, dtype=torch.int64)
        with torch.no_grad():
            memory = text(ids, tokens)
        graphs["text"] = _Graph(
            text, {"ids": ids, "tokens": tokens}, {"ids": {0: "n"}, "tokens": {0: "n"}}, ("memory",)
        )
        graphs["cross"] = decoder(DecoderGraph(model.cross_decoder), memory)
    return graphs


def _program(graph: _Graph) -> torch.export.ExportedProgram:
    dims: dict[str, Any] = {name: torch.export.Dim(name) for axes in graph.axes.values() for name in axes.values()}
    shapes = {name: {axis: dims[dim] for axis, dim in graph.axes[name].items()} for name in graph.inputs}
    with torch.no_grad(), _quiet():
        return torch.export.export(graph.module.eval(), (), graph.inputs, dynamic_shapes=shapes)


def _save_onnx(graph: _Graph, path: Path, model: CLIP4STR | None = None) -> None:
    """Write a graph; given the model, without weights: it takes those of ``model.safetensors`` beside it."""
    _require_onnxscript()
    size = sum(p.numel() * p.element_size() for p in graph.module.parameters())
    with _quiet():
        program = torch.onnx.export(
            _program(graph),
            opset_version=OPSET,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamo=True,
            verbose=False,
            optimize=model is None,
        )
        assert program is not None
        if model is not None:
            refer_to_weights(program, graph.module, model, path.parent / "model.safetensors")
        program.save(path, external_data=size > _LARGE and model is None)


def _require_onnxscript() -> None:
    try:
        import onnxscript  # noqa: F401 - torch.onnx needs it and reports its absence less clearly
    except ImportError as error:
        raise ExportError("ONNX export needs the package onnxscript: pip install 'clip4str-plugin[export]'") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks on its own inner workings from the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
