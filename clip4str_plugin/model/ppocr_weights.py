"""The published weights of ``model.ppocr_tower``, read from an ONNX file of PP-OCRv6-small's recognizer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clip4str_plugin.errors import CheckpointError
from clip4str_plugin.model.ppocr_tower import PPOCRTower

__all__ = ["bundled_recognizer", "load_ppocr_weights"]

_FILE = "PP-OCRv6_rec_small.onnx"


def bundled_recognizer() -> Path:
    """Return the file that RapidOCR's wheel carries (Apache-2.0).

    Raises:
        CheckpointError: the installed RapidOCR has no such file.
    """
    import rapidocr

    path = Path(rapidocr.__file__).parent / "models" / _FILE
    if not path.is_file():
        raise CheckpointError(f"{path}: the installed RapidOCR does not carry it; name an ONNX file of {_FILE}")
    return path


def load_ppocr_weights(tower: PPOCRTower, path: str | Path) -> dict[str, Tensor]:
    """Put the published weights into a tower; its positions, which are ours, stay as they are.

    The file holds every weight once, in the order of computation, which is the order of the tower's parameters. Batch
    normalisations that it still has are multiplied into their convolutions. Its network takes BGR, ours RGB.

    Args:
        tower: changed in place.
        path: ONNX file.

    Returns:
        the linear layer after the tower: "weight" (classes, 120) and "bias" (classes,), CTC's blank first, then the
        characters the file names in its metadata.

    Raises:
        CheckpointError: the file cannot be read, or is of another network.
    """
    try:
        tensors = list(_weights(Path(path)))
    except ImportError as e:
        raise CheckpointError(f"{path}: reading it needs the package onnx: pip install 'clip4str-plugin[train]'") from e
    except Exception as e:  # of onnx and of protobuf, which know no common class
        raise CheckpointError(f"{path}: is not a readable ONNX file ({type(e).__name__}: {e})") from None
    state = tower.state_dict()
    names = [name for name in state if name != "column_embed"]
    head = tensors[len(names) :]
    shapes = [tuple(t.shape) for t in tensors[: len(names)]]
    if shapes != [tuple(state[name].shape) for name in names] or len(head) != 2:
        raise CheckpointError(f"{path}: is not PP-OCRv6-small's recognizer; another network has other layers")
    tensors[0] = tensors[0].flip(1)
    tower.load_state_dict({**dict(zip(names, tensors)), "column_embed": state["column_embed"]})
    return {"weight": head[0], "bias": head[1]}


def _weights(path: Path) -> Iterator[Tensor]:
    """Yield weights and biases in the order of the graph, those of linear layers as PyTorch keeps them."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    convolution: np.ndarray | None = None
    scale: np.ndarray | None = None
    for node in graph.node:
        known = [constants[name] for name in node.input if name in constants]
        if node.op_type == "Conv":
            convolution = known[0]
        elif node.op_type == "BatchNormalization" and convolution is not None:
            gamma, beta, mean, variance = known
            epsilon = next(a.f for a in node.attribute if a.name == "epsilon")
            factor = gamma / np.sqrt(variance + epsilon)
            yield _tensor(convolution * factor[:, None, None, None])
            yield _tensor(beta - mean * factor)
            convolution = None
        elif node.op_type == "MatMul" and known:
            yield _tensor(known[0].T)
        elif node.op_type == "Mul" and known and known[0].ndim == 1 and known[0].size > 1:
            scale = known[0]  # of a layer normalisation
        elif node.op_type == "Add" and known and known[0].size > 1:
            if convolution is not None:
                yield _tensor(convolution)
                convolution = None
            elif scale is not None:
                yield _tensor(scale)
                scale = None
            yield _tensor(known[0].reshape(-1))


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32))
