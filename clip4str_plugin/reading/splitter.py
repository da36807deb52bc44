"""A small network that tells, column by column, whether a line crop shows a word or the blank between two."""

from functools import cache
from importlib.resources import as_file, files

import numpy as np
from torch import Tensor, nn

__all__ = ["HEIGHT", "STRIDE", "Splitter", "load_splitter", "to_strip"]

HEIGHT = 32
"""Rows of the network's input."""
STRIDE = 2
"""Columns of the input to one answer."""
_STEP = 4  # the columns of a strip are a multiple of this


class Splitter(nn.Module):
    """Convolutions that bring a strip of 32 rows down to one, then ever wider ones along it.

    An answer looks at four heights of text to each side, enough to compare a blank with the spacing of the letters
    around it.
    """

    def __init__(self) -> None:
        super().__init__()

        def step(inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int], rows: int) -> nn.Module:
            convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=(rows, kernel[1] // 2), bias=False)
            return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())

        self.stem = nn.Sequential(
            step(3, 12, (3, 3), (2, 2), 1),
            step(12, 24, (3, 3), (2, 2), 1),
            step(24, 40, (3, 3), (2, 1), 1),
            step(40, 56, (4, 3), (1, 1), 0),
        )
        self.context = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(56, 56, 3, padding=width, dilation=width, bias=False), nn.BatchNorm1d(56), nn.ReLU()
            )
            for width in (1, 2, 4, 8, 16)
        )
        self.head = nn.Conv1d(56, 2, 1)

    def forward(self, strips: Tensor) -> Tensor:
        """Look at strips.

        Args:
            strips: (N, 3, 32, W) float, each of mean 0 and standard deviation 1, W a multiple of 4

        Returns:
            (N, W / 2) logits, positive where a word is
        """
        features = self.stem(strips).squeeze(2)  # N, D, W / 4
        for block in self.context:
            features = features + block(features)
        # Each place answers for its left and for its right half.
        return self.head(features).transpose(1, 2).flatten(1)  # N, W / 2


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
def load_splitter() -> Splitter:
    """The network with the weights of this package, ready for inference; loaded once."""
    from safetensors.torch import load_file

    splitter = Splitter()
    with as_file(files("clip4str_plugin.weights") / "splitter.safetensors") as path:
        splitter.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return splitter.eval()
