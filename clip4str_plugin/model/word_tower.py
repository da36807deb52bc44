"""What image towers of our own have in common, so that timm and open_clip take them for one of theirs."""

from __future__ import annotations

from timm.models.vision_transformer import Attention
from torch import Tensor, nn

__all__ = ["WordTower"]


class WordTower(nn.Module):
    """Base of towers for word crops.

    Args:
        image_size: (height, width) of crops in pixels.
        num_features: channels of the tokens.

    Attributes:
        grid_size: (1, W/4), rows and columns of the tokens on a crop; every tower's columns are four pixels wide.
    """

    def __init__(self, image_size: tuple[int, int], num_features: int) -> None:
        super().__init__()
        self.num_features = num_features
        self.grid_size = (1, image_size[1] // 4)
        self.default_cfg = {"input_size": (3, *image_size), "pool_size": None}

    def forward_features(self, images: Tensor) -> Tensor:
        """Encode (N, 3, H, W) images as (N, M, num_features) tokens."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Same as ``forward_features``: open_clip adds the projection."""
        return self.forward_features(images)

    def train(self, mode: bool = True) -> WordTower:
        """Switch between training and evaluation."""
        for module in self.modules():
            if isinstance(module, Attention):
                # The fused kernel's backward pass took two fifths of a training step on the CPU.
                module.fused_attn = not mode  # type: ignore[misc]
        return super().train(mode)

    def reset_classifier(self, num_classes: int, global_pool: str = "") -> None:
        """Accept what timm models accept; there is no classifier."""
