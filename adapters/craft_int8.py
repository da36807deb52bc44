"""CRAFT's network in 8 bits, for OpenVINO: about 1.6 times as fast on processors without arithmetic in bfloat16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from clip4str_plugin.quiet_openvino import import_openvino

__all__ = ["rounded"]

# The lowest and the highest input of each convolution but the first, with the weights in torchfree-ocr 1.0: what 9,999
# of 10,000 values on 21 pictures stay within (words of the training parts of ICDAR 2015, IIIT5K and SVT, and photos).
# None: not rounded; rounding this one changes a fifth of all words' outlines.
_RANGES: tuple[tuple[float, float] | None, ...] = (
    (0, 8.2), (0, 6.7), (0, 5.2), (0, 3.1), (0, 3.6), (0, 3.1), (0, 2.5), (0, 2.7), (0, 2.3), (0, 2.9), (0, 2.3), None,
    (-2.7, 2.7), (-6.5, 6.5), (-15.4, 15.4), (0, 7.2), (0, 4.2), (0, 5.8), (0, 5.6), (0, 6.7), (0, 7.4), (0, 7.8),
    (0, 3.1), (0, 5.0), (0, 2.8), (0, 2.3),
)  # fmt: skip


def rounded(path: Path) -> Any:
    """Read the network and mark its convolutions to be computed in 8 bits; a graph of OpenVINO's.

    Args:
        path: of the ``.onnx`` file. The ranges of the inputs are those of the weights in ``torchfree-ocr``.

    Raises:
        ValueError: it is another network.
    """
    ov = import_openvino()
    from openvino import opset13 as ops

    graph = ov.Core().read_model(path)
    _first, *others = (node for node in graph.get_ordered_ops() if node.get_type_name() == "Convolution")
    if len(others) != len(_RANGES):
        raise ValueError(f"{path} has {len(others) + 1} convolutions, not CRAFT's {len(_RANGES) + 1}")
    for convolution, limits in zip(others, _RANGES):
        if limits is None:
            continue
        low, high = (np.array(limit, np.float32) for limit in limits)
        # With signs, zero must be one of the 256 levels.
        low = low * np.float32(128 / 127)
        pictures, weights = (convolution.input(index) for index in (0, 1))
        source = pictures.get_source_output()
        pictures.replace_source_output(ops.fake_quantize(source, low, high, low, high, 256).output(0))
        # Rounded here and not by OpenVINO when it compiles, which takes twice as long and holds them three times over.
        values = weights.get_source_output().get_node().data
        step = (np.abs(values).max(axis=(1, 2, 3), keepdims=True) / 127).astype(np.float32)
        levels = ops.convert(ops.constant(np.rint(values / step).astype(np.int8)), "f32")
        weights.replace_source_output(ops.multiply(levels, ops.constant(step)).output(0))
    return graph
