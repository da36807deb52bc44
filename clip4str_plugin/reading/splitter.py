"""A small network that tells, column by column, whether a line crop shows a word or the blank between two."""

from functools import cache
from typing import Any

import numpy as np

from clip4str_plugin.model.devices import cpu_threads
from clip4str_plugin.weights import SPLITTER

__all__ = ["HEIGHT", "STRIDE", "splitter_answers", "to_strip"]

HEIGHT = 32
"""Rows of the network's input."""
STRIDE = 2
"""Columns of the input to one answer."""
_STEP = 4  # the columns of a strip are a multiple of this


def splitter_answers(strips: np.ndarray) -> np.ndarray:
    """Look at strips.

    Args:
        strips: (N, 3, 32, W) float32 from `to_strip`, padded to the same width

    Returns:
        (N, W / 2) float32 from 0, a blank, to 1, a word
    """
    return _session().run(None, {"strips": strips})[0]


def to_strip(crop: np.ndarray) -> np.ndarray:
    """Bring a line crop to the network's height and range.

    Args:
        crop: uint8, (h, w, 3) or (h, w, 1) or (h, w)

    Returns:
        (3, 32, W) float32, W a multiple of 4 with the last column repeated as need be
    """
    import cv2

    height, width = crop.shape[:2]
    pixels = crop.reshape(height, width, -1)[:, :, :3]
    wanted = max(_STEP, round(width * HEIGHT / height))
    way = cv2.INTER_AREA if height > HEIGHT else cv2.INTER_LINEAR
    pixels = cv2.resize(np.ascontiguousarray(pixels), (wanted, HEIGHT), interpolation=way).reshape(HEIGHT, wanted, -1)
    strip = np.broadcast_to(pixels, (HEIGHT, wanted, 3)).astype(np.float32).transpose(2, 0, 1)
    strip = (strip - strip.mean(axis=(1, 2), keepdims=True)) / (strip.std() + 4)
    return np.pad(strip, ((0, 0), (0, 0), (0, -wanted % _STEP)), mode="edge")


@cache
def _session() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cpu_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(SPLITTER, options, providers=["CPUExecutionProvider"])
