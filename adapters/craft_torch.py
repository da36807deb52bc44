"""CRAFT's network in PyTorch, for weights in ``.pth`` files; the only part of the detector that needs PyTorch."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import vgg16_bn

from clip4str_plugin.errors import DetectorError

__all__ = ["Craft", "load_craft"]

# The layers of VGG-16 at which a slice of the network begins; the names of the slices are those of the published code.
_SLICES = (0, 12, 19, 29, 39)


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers = list(vgg16_bn(weights=None).features)
        for number, (first, last) in enumerate(itertools.pairwise(_SLICES), 1):
            part = nn.Sequential()
            for index in range(first, last):
                part.add_module(str(index), layers[index])
            setattr(self, f"slice{number}", part)
        self.slice5 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1),
            nn.Conv2d(512, 1024, 3, padding=6, dilation=6),
            nn.Conv2d(1024, 1024, 1),
        )

    def forward(self, pictures: Tensor) -> list[Tensor]:
        features = []
        for number in range(1, 6):
            pictures = getattr(self, f"slice{number}")(pictures)
            # In the published code the next slice begins with a ReLU in place, which the decoder sees, too.
            if number < 4:
                pictures = F.relu(pictures)
            features.append(pictures)
        return features


class _UpConv(nn.Module):
    def __init__(self, inputs: int, middle: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, middle, 1),
            nn.BatchNorm2d(middle),
            nn.ReLU(),
            nn.Conv2d(middle, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.conv(features)


class Craft(nn.Module):
    """CRAFT as published: (1, 3, H, W) float32 to maps of letters and links, (1, H / 2, W / 2, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.basenet = _Encoder()
        self.upconv1 = _UpConv(1024 + 512, 512, 256)
        self.upconv2 = _UpConv(256 + 512, 256, 128)
        self.upconv3 = _UpConv(128 + 256, 128, 64)
        self.upconv4 = _UpConv(64 + 128, 64, 32)
        self.conv_cls = nn.Sequential(
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 1),
            nn.ReLU(),
            nn.Conv2d(16, 2, 1),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """See the class."""
        *skips, deepest = self.basenet(pictures)
        features = self.upconv1(torch.cat([deepest, skips[3]], dim=1))
        for number, skip in zip((2, 3, 4), (skips[2], skips[1], skips[0])):
            features = F.interpolate(features, size=skip.shape[2:], mode="bilinear", align_corners=False)
            features = getattr(self, f"upconv{number}")(torch.cat([features, skip], dim=1))
        return self.conv_cls(features).permute(0, 2, 3, 1)


def load_craft(path: Path) -> Craft:
    """Load weights of the original code or of EasyOCR; nothing in the file is run.

    Raises:
        DetectorError: they are not those of CRAFT.
    """
    weights = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(weights, dict):
        raise DetectorError(f"{path} holds a {type(weights).__name__}, not the weights of CRAFT")
    with torch.device("meta"):  # no random numbers for what the file replaces
        model = Craft()
    model.to_empty(device="cpu")
    try:
        model.load_state_dict({name.removeprefix("module."): value for name, value in weights.items()})
    except RuntimeError as error:
        raise DetectorError(f"{path} does not hold the weights of CRAFT: {error}".splitlines()[0]) from error
    return model.eval()
