"""Graphs without weights of their own: they name places in a safetensors file beside them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch
    from torch import nn

__all__ = ["refer_to_weights"]


def refer_to_weights(program: torch.onnx.ONNXProgram, part: nn.Module, model: nn.Module, path: Path) -> None:
    """Let a graph take its weights from a safetensors file, and optimise what is left of it.

    ONNX lets a tensor be a stretch of another file, and a safetensors file holds each tensor as one. Weights that are
    stored in float16 are cast in the graph, once, when it is loaded.

    Args:
        program: from ``torch.onnx.export(..., optimize=False)``, whose initializers are called as in ``part``.
        part: what was exported; its parameters and buffers are those of ``model``.
        model: whose state dict the file holds.
        path: of the file; the graph is to be saved in the same folder.
    """
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        entries = json.loads(file.read(length))
    names = {tensor.data_ptr(): name for name, tensor in model.state_dict().items()}
    stored = {name: names[t.data_ptr()] for name, t in part.state_dict().items() if t.data_ptr() in names}

    graph = program.model.graph
    weights = [graph.initializers[name] for name in list(graph.initializers) if name in stored]
    for value in weights:  # as inputs, the optimiser leaves them as they are
        del graph.initializers[str(value.name)]
        value.const_value = None
        graph.inputs.append(value)
    program.optimize()
    for value in weights:
        graph.inputs.remove(value)
        if value.uses():
            _store(graph, value, entries[stored[str(value.name)]], 8 + length, path)
    items: list[Any] = [item for node in graph for item in (node, *node.outputs)]
    for item in items:  # where each node comes from in this package's code is most of a small file
        item.metadata_props.clear()
        item.doc_string = None
    for value in (*graph.inputs, *graph.outputs, *graph.initializers.values()):
        value.metadata_props.clear()


def _store(graph: ir.Graph, value: ir.Value, entry: dict[str, Any], begin: int, path: Path) -> None:
    """Make a value of a graph what a safetensors file holds under an entry of its header."""
    import onnx_ir as ir

    first, last = entry["data_offsets"]
    dtype = {"F16": ir.DataType.FLOAT16, "F32": ir.DataType.FLOAT}[str(entry["dtype"])]
    inside, name = value, str(value.name)
    if dtype == ir.DataType.FLOAT16:
        inside = ir.Value(name=f"{name}.half", shape=value.shape, type=ir.TensorType(dtype))
        graph.insert_before(graph[0], ir.node("Cast", [inside], {"to": ir.DataType.FLOAT}, outputs=[value]))
    inside.const_value = ir.ExternalTensor(
        path.name,
        begin + first,
        last - first,
        dtype,
        shape=ir.Shape(entry["shape"]),
        name=str(inside.name),
        base_dir=path.parent,
    )
    graph.initializers[str(inside.name)] = inside
