"""Parameter-efficient adapters between a frozen image tower and the decoders.

Four of the kinds are those the CLIP4STR paper compares: CLIP-Adapter (P. Gao et al., 2021) and ladder side-tuning
(Y.-L. Sung et al., 2022), plain, linear, and with pruned blocks.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip4str_plugin.model.config import CLIP4STRConfig

__all__ = ["ADAPTERS", "AttentionAdapter", "LadderAdapter", "LinearAdapter", "PrunedBlock", "build_adapter"]

ADAPTERS = ("linear", "attention", "ladder", "linear_ladder", "ladder_pruning")

_TEMPERATURE = 0.1


class LinearAdapter(nn.Module):
    """A bottleneck of two layers, mixed with its input: ratio * ReLU(W2 ReLU(W1 x)) + (1 - ratio) * x.

    Args:
        width: channels of x.
        reduction: width over the bottleneck's.
        ratio: part of the bottleneck's output in the result.
    """

    def __init__(self, width: int, reduction: int = 2, ratio: float = 0.2) -> None:
        super().__init__()
        hidden = width // reduction
        self.fc = nn.Sequential(
            nn.Linear(width, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, width, bias=False), nn.ReLU()
        )
        self.ratio = ratio
        for layer in (self.fc[0], self.fc[2]):
            nn.init.trunc_normal_(layer.weight, std=0.02)  # type: ignore[arg-type]

    def forward(self, memory: Tensor, block_inputs: Sequence[Tensor] = ()) -> Tensor:
        """Adapt (N, M, width); ``block_inputs`` is what other adapters read."""
        return self.ratio * self.fc(memory) + (1 - self.ratio) * memory


class _Attention(nn.Module):
    """Self-attention whose heads may be narrower than the width over their number."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * inner, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * inner))
        self.out_proj = nn.Linear(inner, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x: Tensor) -> Tensor:
        packed = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = packed.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(y.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, hidden)
        self.c_proj = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.c_fc(x)
        return self.c_proj(hidden * torch.sigmoid(1.702 * hidden))


class PrunedBlock(nn.Module):
    """CLIP's transformer block (QuickGELU) with the inner widths of attention and MLP divided by ``reduction``.

    Args:
        width: channels of the residual stream.
        heads: attention heads.
        reduction: 1 is CLIP's own block.
    """

    def __init__(self, width: int, heads: int, reduction: float = 1) -> None:
        super().__init__()
        self.attn = _Attention(width, heads, int(width / reduction))
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = _Mlp(width, int(4 * width / reduction))
        self.ln_2 = nn.LayerNorm(width)
        self.reduction = reduction

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, M, width)."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))

    @torch.no_grad()
    def copy_from(self, block: nn.Module) -> None:
        """Take over the heaviest rows of a full block: those of largest L1 norm, in their order.

        Queries, keys, values, the MLP's hidden units, and the biases of all of them choose for themselves, as the
        published code does, so that a bias may come to lie beside another row's weights.
        """
        source = block.state_dict()
        kept = {}
        for name, value in source.items():
            if "in_proj" in name:
                value = torch.cat([_heaviest(part, self.reduction) for part in value.chunk(3)])
            elif name in ("attn.out_proj.weight", "mlp.c_proj.weight"):
                value = _heaviest(value.T, self.reduction).T
            elif "c_fc" in name:
                value = _heaviest(value, self.reduction)
            kept[name] = value
        self.load_state_dict(kept)


def _heaviest(rows: Tensor, reduction: float) -> Tensor:
    norms = rows.abs().flatten(1).sum(1) if rows.ndim > 1 else rows.abs()
    return rows[norms.topk(int(len(rows) / reduction)).indices.sort().values]


class AttentionAdapter(nn.Module):
    """A transformer block, mixed with its input: ratio * block(x) + (1 - ratio) * x.

    Args:
        width: channels of x.
        heads: attention heads.
        ratio: part of the block's output in the result.
    """

    def __init__(self, width: int, heads: int, ratio: float = 0.5) -> None:
        super().__init__()
        self.attn = PrunedBlock(width, heads)
        self.ratio = ratio
        for module in self.attn.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, memory: Tensor, block_inputs: Sequence[Tensor] = ()) -> Tensor:
        """Adapt (N, M, width); ``block_inputs`` is what other adapters read."""
        return self.ratio * self.attn(memory) + (1 - self.ratio) * memory


class LadderAdapter(nn.Module):
    """A side network that climbs along the frozen tower: no gradient passes through the tower.

    Rung i reads the input of block ``blocks[i]``, mixed with the rung below by a learned gate sigmoid(alpha_i / 0.1).
    The gate of rung 0, which has none below, mixes the tower's own output with the ladder's.

    Args:
        config: of the model whose image tower is climbed; its tower must be CLIP's own vision transformer.
        blocks: indices of the tower's blocks to read, ascending.
        kind: "ladder" (copies of CLIP's blocks), "linear_ladder" (``LinearAdapter``) or "ladder_pruning"
            (``PrunedBlock``).
        reduction: of the rungs, for the last two.
    """

    def __init__(self, config: CLIP4STRConfig, blocks: Sequence[int], kind: str, reduction: float = 4) -> None:
        super().__init__()
        width, heads = config.vision["width"], config.vision["width"] // config.vision.get("head_width", 64)
        self.blocks = list(blocks)
        self.alpha = nn.Parameter(torch.zeros(len(self.blocks)))
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.empty(width, config.embed_dim))
        nn.init.normal_(self.proj, std=width**-0.5)
        rungs: list[nn.Module]
        if kind == "linear_ladder":
            rungs = [LinearAdapter(width, int(reduction), 0.5) for _ in self.blocks]
        else:
            rungs = [PrunedBlock(width, heads, reduction if kind == "ladder_pruning" else 1) for _ in self.blocks]
        self.resblocks = nn.ModuleList(rungs)

    @torch.no_grad()
    def copy_from(self, visual: Any) -> None:
        """Start from the weights of CLIP's image tower, as the paper does."""
        for index, rung in zip(self.blocks, self.resblocks):
            if isinstance(rung, PrunedBlock):
                rung.copy_from(visual.transformer.resblocks[index])
        self.ln_post.load_state_dict(copy.deepcopy(visual.ln_post.state_dict()))
        self.proj.copy_(visual.proj)

    def forward(self, memory: Tensor, block_inputs: Sequence[Tensor]) -> Tensor:
        """Adapt the tower's output (N, M, D), given the input of each of its blocks, (N, M, width)."""
        gates = torch.sigmoid(self.alpha / _TEMPERATURE)
        x = block_inputs[self.blocks[0]]
        for rung, (block, gate) in enumerate(zip(self.blocks, gates)):
            if rung:
                x = gate * block_inputs[block] + (1 - gate) * x
            x = self.resblocks[rung](x)
        return gates[0] * memory + (1 - gates[0]) * (self.ln_post(x) @ self.proj)


def build_adapter(config: CLIP4STRConfig) -> nn.Module | None:
    """Return the adapter a configuration asks for, with random weights; None if it asks for none.

    ``config.adapter`` holds ``kind`` (one of ``ADAPTERS``), and optionally ``blocks`` (of the ladders; by default four
    spread over the depth, or every second of the pruned and linear ones) and ``reduction``.

    Raises:
        ValueError: the kind is unknown, or does not fit the image tower.
    """
    if config.adapter is None:
        return None
    options = dict(config.adapter)
    kind = options.pop("kind", None)
    if kind not in ADAPTERS:
        raise ValueError(f"adapter kind {kind!r} is unknown; known are {', '.join(ADAPTERS)}")
    if not config.share_dim:
        raise ValueError("an adapter needs share_dim: it works on projected image tokens")
    known = {"linear": {"reduction"}, "attention": set()}.get(kind, {"blocks", "reduction"})
    if unknown := sorted(set(options) - known):
        raise ValueError(f"adapter option(s) {unknown} do not belong to {kind!r}; it has {sorted(known)}")
    if kind == "linear":
        return LinearAdapter(config.embed_dim, **options)
    if kind == "attention":
        return AttentionAdapter(config.embed_dim, config.decoder_heads)
    if "layers" not in config.vision:
        raise ValueError(f"the adapter {kind!r} climbs along CLIP's vision transformer; this image tower is another")
    layers = config.vision["layers"]
    usual = range(1, layers, 2) if kind != "ladder" else sorted({round(i * (layers - 1) / 3) for i in range(4)})
    blocks = options.pop("blocks", None) or list(usual)
    if not blocks or min(blocks) < 0 or max(blocks) >= layers:
        raise ValueError(f"adapter blocks {blocks} are not within the {layers} blocks of the image tower")
    return LadderAdapter(config, blocks, kind, **options)
