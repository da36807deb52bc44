"""The text decoder both branches use: PARSeq's two-stream transformer, with cached greedy decoding.

Architecture: D. Bautista and R. Atienza, "Scene Text Recognition with Permuted Autoregressive Sequence
Models", ECCV 2022. A query stream (positions) attends to a content stream (tokens) and to the memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

__all__ = [
    "Attention",
    "Decoder",
    "DecoderLayer",
    "GreedyState",
    "KeysValues",
    "any_shape_attention",
    "select_rows",
]


class Attention(nn.Module):
    """Multi-head attention whose projections can be called apart, so that keys and values can be kept.

    Parameters are named and initialised as in ``torch.nn.MultiheadAttention``.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # N, L, D -> N, h, L, D/h

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Project (N, L, D) to keys and values, (N, h, L, D/h) each."""
        dim = x.shape[-1]
        k, v = F.linear(x, self.in_proj_weight[dim:], self.in_proj_bias[dim:]).chunk(2, dim=-1)
        return self._split(k), self._split(v)

    def forward(self, x: Tensor, keys_values: tuple[Tensor, Tensor], mask: Tensor | None = None) -> Tensor:
        """Attend from x, (N, Q, D) or (1, Q, D), to keys and values; mask is for (N, h, Q, L), True where visible."""
        dim = x.shape[-1]
        k, v = keys_values
        # Positions that are not yet mixed with a crop's content come once for all crops.
        q = self._split(F.linear(x, self.in_proj_weight[:dim], self.in_proj_bias[:dim])).expand(k.shape[0], -1, -1, -1)
        dropout = self.dropout if self.training else 0.0
        if q.device.type == "cpu" and torch.is_grad_enabled():
            # The fused kernel's backward pass is slow on the CPU.
            scores = (q @ k.transpose(-2, -1)) * (q.shape[-1] ** -0.5)
            if mask is not None:
                scores = scores.masked_fill(~mask, float("-inf"))
            y = F.dropout(scores.softmax(-1), dropout) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        return self.out_proj(y.transpose(1, 2).flatten(2))


class DecoderLayer(nn.Module):
    """One two-stream layer: self-attention to the content, cross-attention to the memory, MLP (erf GELU)."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = Attention(dim, heads, dropout)
        self.cross_attn = Attention(dim, heads, dropout)
        self.linear1 = nn.Linear(dim, mlp_ratio * dim)
        self.linear2 = nn.Linear(mlp_ratio * dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm_q = nn.LayerNorm(dim)
        self.norm_c = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        x_normed: Tensor,
        content: tuple[Tensor, Tensor],
        memory: tuple[Tensor, Tensor],
        mask: Tensor | None,
    ) -> Tensor:
        """Update one stream x, (N, Q, D) or (1, Q, D), given keys and values of the content and of the memory."""
        x = x + self.dropout(self.self_attn(x_normed, content, mask))
        x = x + self.dropout(self.cross_attn(self.norm1(x), memory))
        hidden = self.dropout(F.gelu(self.linear1(self.norm2(x))))
        return x + self.dropout(self.linear2(hidden))


class TokenEmbedding(nn.Module):
    """Token embedding scaled by the square root of its width."""

    def __init__(self, num_tokens: int, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_tokens, dim)
        self.scale = math.sqrt(dim)

    def forward(self, ids: Tensor) -> Tensor:
        """Embed ids (...) as (..., D)."""
        return self.scale * self.embedding(ids)


def any_shape_attention(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which attention has kernels for any shape.

    cuDNN's attention, which PyTorch prefers on Hopper GPUs, makes a plan for every new shape, which takes far longer
    than a decoding step; and shapes change with every step and every crop that ends.
    """
    if device.type != "cuda":
        return nullcontext()
    return sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH])


KeysValues = tuple[Tensor, Tensor]


def select_rows(memory: list[KeysValues], rows: Tensor) -> list[KeysValues]:
    """Return the keys and values of some of the crops; rows (n,) int64."""
    return [(k[rows], v[rows]) for k, v in memory]


@dataclass
class GreedyState:
    """What a row-by-row decoding keeps between two steps, for N crops.

    Attributes:
        memory: keys and values of the memory, one pair per layer, (N, h, M, D/h).
        keys: keys of the content so far, one per layer, (N, h, T, D/h), filled up to ``step``.
        values: values of the content, alike.
        step: position to be predicted next.
    """

    memory: list[KeysValues]
    keys: list[Tensor]
    values: list[Tensor]
    step: int = 0

    def select(self, rows: Tensor) -> GreedyState:
        """Return the state of some of the crops; rows (n,) int64."""
        return GreedyState(
            select_rows(self.memory, rows),
            [k[rows] for k in self.keys],
            [v[rows] for v in self.values],
            self.step,
        )


class Decoder(nn.Module):
    """Predicts characters from a memory and the tokens that are known.

    Args:
        dim: width D.
        num_tokens: rows of the token embedding (charset, end, begin, padding).
        num_classes: classes predicted (charset and end).
        num_positions: positions T, the longest text plus the end token.
        depth, heads, mlp_ratio, dropout: size of the layers.
    """

    def __init__(
        self,
        dim: int,
        num_tokens: int,
        num_classes: int,
        num_positions: int,
        depth: int = 1,
        heads: int = 8,
        mlp_ratio: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.pos_queries = nn.Parameter(torch.empty(1, num_positions, dim))
        layers = nn.ModuleList(DecoderLayer(dim, heads, mlp_ratio, dropout) for _ in range(depth))
        self.layers = cast("Sequence[DecoderLayer]", layers)
        self.text_embed = TokenEmbedding(num_tokens, dim)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)
        self.dropout = nn.Dropout(dropout)
        nn.init.trunc_normal_(self.pos_queries, std=0.02)
        self.apply(self._init_weights)

    @staticmethod
    def _init_weights(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.trunc_normal_(module.weight, std=0.02)

    @property
    def num_positions(self) -> int:
        """Positions T this decoder can predict."""
        return self.pos_queries.shape[1]

    def memory_keys_values(self, memory: Tensor) -> list[KeysValues]:
        """Project the memory, (N, M, D), once for every layer; the result serves any number of passes."""
        pairs = (layer.cross_attn.keys_values(memory) for layer in self.layers)
        # Every pass reads them head by head.
        return [(k.contiguous(), v.contiguous()) for k, v in pairs]

    def embed(self, tokens: Tensor, start: int = 0) -> Tensor:
        """Embed tokens (N, L) at positions start..start+L-1 as content (N, L, D).

        The begin token has no position; every other token carries the query of the position it was
        predicted at.
        """
        content = self.text_embed(tokens)
        positions = self.pos_queries[:, max(start - 1, 0) : start - 1 + tokens.shape[1]]
        if start > 0:
            return content + positions
        return torch.cat([content[:, :1], content[:, 1:] + positions], dim=1)

    def forward(
        self,
        tokens: Tensor,
        memory: list[KeysValues],
        query_mask: Tensor,
        content_mask: Tensor | None = None,
        positions: slice | None = None,
    ) -> Tensor:
        """Predict several positions in one pass.

        Args:
            tokens: (N, L) int64 context, begin token first.
            memory: result of ``memory_keys_values``.
            query_mask: bool, broadcast to (N, 1, Q, L), True where position q may see token l.
            content_mask: likewise (N, 1, L, L) for the content stream, which only decoders of several layers have.
            positions: the Q positions to predict; the first L if None.

        Returns:
            (N, Q, C) logits.
        """
        content = self.dropout(self.embed(tokens))
        query = self.pos_queries[:, positions or slice(tokens.shape[1])]
        if self.training:
            query = self.dropout(query.expand(len(tokens), -1, -1))
        for i, layer in enumerate(self.layers):
            normed = layer.norm_c(content)
            keys_values = layer.self_attn.keys_values(normed)
            query = layer(query, layer.norm_q(query), keys_values, memory[i], query_mask)
            if i + 1 < len(self.layers):
                content = layer(content, normed, keys_values, memory[i], content_mask)
        return self.classify(query)

    def classify(self, query: Tensor) -> Tensor:
        """Return float32 logits (N, Q, C): in bfloat16 close classes would tie."""
        return F.linear(self.norm(query).float(), self.head.weight.float(), self.head.bias.float())

    def start(self, memory: list[KeysValues]) -> GreedyState:
        """Prepare decoding one position after another, given the result of ``memory_keys_values``."""
        keys = memory[0][0]
        n, heads, _, head_dim = keys.shape
        room = [keys.new_empty(n, heads, self.num_positions, head_dim) for _ in range(2 * len(self.layers))]
        return GreedyState(memory, room[::2], room[1::2])

    def step(self, tokens: Tensor, state: GreedyState) -> Tensor:
        """Append the tokens (N,) found last (begin tokens at first) and predict the next position.

        Returns:
            (N, C) logits; ``state`` has advanced by one position.
        """
        i = state.step
        content = self.embed(tokens[:, None], start=i)
        query = self.pos_queries[:, i : i + 1]
        for depth, layer in enumerate(self.layers):
            normed = layer.norm_c(content)
            keys, values = state.keys[depth], state.values[depth]
            keys[:, :, i : i + 1], values[:, :, i : i + 1] = layer.self_attn.keys_values(normed)
            seen = keys[:, :, : i + 1], values[:, :, : i + 1]
            query = layer(query, layer.norm_q(query), seen, state.memory[depth], None)
            if depth + 1 < len(self.layers):
                content = layer(content, normed, seen, state.memory[depth], None)
        state.step += 1
        return self.classify(query)[:, 0]
