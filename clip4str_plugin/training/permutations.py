"""Permuted sequence modelling: factorisation orders, attention masks and the loss of both branches.

D. Bautista and R. Atienza, "Scene Text Recognition with Permuted Autoregressive Sequence Models", ECCV 2022;
with the cross-modal branch of CLIP4STR (Zhao et al., IEEE TIP 2024).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clip4str_plugin.model import CLIP4STR

__all__ = ["PermutedLoss", "attention_masks", "permuted_loss", "sample_permutations"]

# Among the 24 orders of four characters, one of each mirrored pair (rows of itertools.permutations).
_UNMIRRORED_OF_FOUR = (0, 3, 4, 6, 9, 10, 12, 16, 17, 18, 19, 21)


def sample_permutations(
    length: int, count: int, rng: np.random.Generator, generator: torch.Generator | None = None, mirrored: bool = True
) -> Tensor:
    """Draw the orders in which a batch's characters are predicted.

    Args:
        length: characters T of the longest label.
        count: permutations K, mirrored ones included.
        rng: draws for labels of up to four characters, where all orders can be listed.
        generator: draws for longer labels; torch's global one if None.
        mirrored: follow each order by its reverse.

    Returns:
        (K', T + 2) int64 positions, K' at most K. The first row is left to right; the second is right to left
        and starts with the end token; position 0 is the begin token, T + 1 the end token.
    """
    if length <= 1:
        return torch.arange(length + 2)[None]
    distinct = math.factorial(length) // (2 if mirrored else 1)
    wanted = min(count // 2 if mirrored else count, distinct)
    orders = [torch.arange(length)]
    if length < 5:
        rows = _UNMIRRORED_OF_FOUR if length == 4 and mirrored else range(distinct)
        listed = list(itertools.permutations(range(length)))
        pool = torch.tensor([listed[i] for i in rows])[1:]
        if len(pool):
            orders.extend(pool[i] for i in rng.choice(len(pool), size=wanted - 1, replace=False))
    else:
        orders.extend(torch.randperm(length, generator=generator) for _ in range(wanted - 1))
    perms = torch.stack(orders)
    if mirrored:
        perms = torch.stack([perms, perms.flip(-1)], dim=1).flatten(0, 1)
    perms = F.pad(perms + 1, (1, 0))
    perms = F.pad(perms, (0, 1), value=length + 1)
    if len(perms) > 1:
        perms[1, 1:] = torch.arange(length + 1, 0, -1)
    return perms


def attention_masks(perm: Tensor) -> tuple[Tensor, Tensor]:
    """Return which tokens are visible when characters are predicted in an order.

    Args:
        perm: (T + 2,) one row of ``sample_permutations``.

    Returns:
        content mask and query mask, (T + 1, T + 1) bool each, True where visible.
    """
    size = len(perm)
    rank = torch.empty_like(perm)
    rank[perm] = torch.arange(size, device=perm.device)
    earlier_or_same = rank[None, :] <= rank[:, None]
    strictly_earlier = rank[None, :] < rank[:, None]
    return earlier_or_same[:-1, :-1], strictly_earlier[1:, :-1]


@dataclass(frozen=True)
class PermutedLoss:
    """The loss of a batch and what it is made of.

    Attributes:
        total: scalar to minimise, the visual plus the weighted cross-modal loss per token.
        visual: cross-entropy of the visual branch, one value a permutation, detached.
        cross: likewise of the cross-modal branch; empty when it is not trained.
        captions: captions the text encoder saw, one list a permutation.
        memory: image tokens (N, M, D) of the batch, with their gradient.
    """

    total: Tensor
    visual: list[Tensor]
    cross: list[Tensor]
    captions: list[list[str]]
    memory: Tensor


def permuted_loss(
    model: CLIP4STR,
    images: Tensor,
    labels: Sequence[str],
    perms: Tensor,
    *,
    cross_weight: float = 1.0,
    image_detach: bool = True,
    ground_truth_context: bool = True,
    cloze_context: bool = False,
) -> PermutedLoss:
    """Return the loss of both branches, averaged over the tokens of all permutations.

    The captions come from the visual branch's own teacher-forced reading in the same permutation. After the
    second permutation the end token is not a target any more: only these two say when it comes.

    Args:
        model: in training mode.
        images: (N, 3, H, W) normalised.
        labels: N texts.
        perms: result of ``sample_permutations`` for the longest label.
        cross_weight: weight of the cross-modal loss; 0 trains the visual branch alone.
        image_detach: keep the cross-modal loss from reaching the image tower.
        ground_truth_context: the cross-modal decoder sees the label (False: the visual branch's reading).
        cloze_context: the cross-modal decoder sees all of its context but the character to predict.
    """
    tokenizer = model.tokenizer
    target = tokenizer.encode(labels, device=model.device)
    context, output = target[:, :-1], target[:, 1:]
    known = (context != tokenizer.pad_id) & (context != tokenizer.eos_id)  # N, T + 1
    known = known[:, None, None]
    train_cross = cross_weight > 0 and model.config.cross_branch

    memory = model.encode_image(images)
    visual_memory = model.visual_decoder.memory_keys_values(memory)
    count = int((output != tokenizer.pad_id).sum())
    total, tokens = memory.new_zeros((), dtype=torch.float32), 0
    visual_parts: list[Tensor] = []
    cross_parts: list[Tensor] = []
    captions: list[list[str]] = []
    for k, perm in enumerate(perms):
        content_mask, query_mask = (m.to(model.device) for m in attention_masks(perm))
        logits = model.visual_decoder(context, visual_memory, query_mask & known, content_mask & known)
        visual_parts.append(_cross_entropy(logits, output, tokenizer.pad_id))
        total = total + count * visual_parts[-1]
        if train_cross:
            lengths = torch.full((len(labels),), logits.shape[1], device=logits.device)
            captions.append(model.caption(logits.detach(), lengths))
            cross_context = context
            if not ground_truth_context:
                found = logits.detach().argmax(-1)[:, :-1]
                cross_context = torch.cat([context[:, :1], found], dim=1)
            if cloze_context:
                positions = torch.arange(context.shape[1], device=context.device)
                query_mask = content_mask = positions != positions[:, None] + 1
            image_part = memory.detach() if image_detach else memory
            joined = model.cross_memory(image_part, model.encode_text(captions[-1]))
            cross_memory = model.cross_decoder.memory_keys_values(joined)
            logits = model.cross_decoder(cross_context, cross_memory, query_mask & known, content_mask & known)
            cross_parts.append(_cross_entropy(logits, output, tokenizer.pad_id))
            total = total + cross_weight * count * cross_parts[-1]
        tokens += count
        if k == 1:
            output = output.masked_fill(output == tokenizer.eos_id, tokenizer.pad_id)
            count = int((output != tokenizer.pad_id).sum())
    parts = [p.detach() for p in visual_parts], [p.detach() for p in cross_parts]
    return PermutedLoss(total / tokens, *parts, captions, memory)


def _cross_entropy(logits: Tensor, output: Tensor, pad_id: int) -> Tensor:
    return F.cross_entropy(logits.float().flatten(0, 1), output.flatten(), ignore_index=pad_id)
