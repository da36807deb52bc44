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
from clip4str_plugin.model.decoder import KeysValues, select_rows

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
        visual: cross-entropy of the visual branch, one value a permutation (then that of ``parallel``), detached.
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
    parallel: float = 0.0,
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
        parallel: weight, beside 1 for a permutation, of predicting all characters at once, as a model with
            ``decode_ar`` false reads. Not part of the published training.
    """
    tokenizer, device = model.tokenizer, model.device
    # Nothing here waits for a GPU but the captions, once, so that it has work while the rest is prepared.
    target = tokenizer.encode(labels).to(device, non_blocking=True)
    context, output = target[:, :-1], target[:, 1:]
    without_end = output.masked_fill(output == tokenizer.eos_id, tokenizer.pad_id)
    masks = [attention_masks(perm) for perm in perms]
    wanted = [output if k < 2 else without_end for k in range(len(masks))]
    weights = [1.0] * len(masks)
    if parallel > 0:
        only_begin = torch.zeros_like(masks[0][0])
        only_begin[:, 0] = True
        masks.append((only_begin, only_begin))
        wanted.append(output)
        weights.append(parallel)
    characters = sum(map(len, labels))
    counts = [characters + len(labels) * (targets is output) for targets in wanted]
    count = len(masks)

    # All permutations go through a decoder at once, as K times N crops.
    known = (context != tokenizer.pad_id) & (context != tokenizer.eos_id)  # N, T + 1
    content, query = (torch.stack(kind).to(device, non_blocking=True) for kind in zip(*masks))  # K, T + 1, T + 1
    content, query = ((kind[:, None, None] & known[:, None, None]).flatten(0, 1) for kind in (content, query))
    targets = torch.cat(wanted)

    def losses(logits: Tensor) -> list[Tensor]:
        tokens = F.cross_entropy(
            logits.float().flatten(0, 1), targets.flatten(), ignore_index=tokenizer.pad_id, reduction="none"
        )
        return [part.sum() / max(1, n) for part, n in zip(tokens.chunk(count), counts)]

    memory = model.encode_image(images)
    tokens = _repeated(context, count)
    visual_memory = [
        (_repeated(k, count), _repeated(v, count)) for k, v in model.visual_decoder.memory_keys_values(memory)
    ]
    logits = model.visual_decoder(tokens, visual_memory, query, content)
    visual = losses(logits)
    cross: list[Tensor] = []
    captions: list[str] = []
    if cross_weight > 0 and model.config.cross_branch:
        guess = logits.detach().argmax(-1)
        captions = model.caption_of(guess, torch.full((len(guess),), guess.shape[1]))
        cross_memory = _cross_memory(model, memory.detach() if image_detach else memory, captions)
        if not ground_truth_context:
            tokens = torch.cat([tokens[:, :1], guess[:, :-1]], dim=1)
        if cloze_context:
            every = torch.arange(context.shape[1], device=device)
            content = query = (every != every[:, None] + 1) & _repeated(known[:, None, None], count)
        cross = losses(model.cross_decoder(tokens, cross_memory, query, content))
    shares = [weight * n for weight, n in zip(weights, counts)]
    total = memory.new_zeros((), dtype=torch.float32)
    for factor, parts in ((1.0, visual), (cross_weight, cross)):
        total = total + factor * sum(share * part for share, part in zip(shares, parts))
    return PermutedLoss(
        total / sum(shares),
        [part.detach() for part in visual],
        [part.detach() for part in cross],
        [captions[start : start + len(labels)] for start in range(0, len(captions), len(labels))],
        memory,
    )


def _repeated(x: Tensor, count: int) -> Tensor:
    return x.expand(count, *x.shape).flatten(0, 1)


def _cross_memory(model: CLIP4STR, image: Tensor, captions: Sequence[str]) -> list[KeysValues]:
    """Return the cross-modal decoder's memory of N crops for K times N captions; each distinct one is encoded once."""
    distinct = {caption: i for i, caption in enumerate(dict.fromkeys(captions))}
    text = model.encode_text(list(distinct)).to(image.dtype)
    rows = torch.tensor([distinct[caption] for caption in captions]).to(text.device, non_blocking=True)
    decoder, count = model.cross_decoder, len(captions) // len(image)
    pairs = zip(
        decoder.memory_keys_values(model.cross_image_memory(image)), select_rows(decoder.memory_keys_values(text), rows)
    )
    return [
        (torch.cat([_repeated(k, count), text_k], dim=2), torch.cat([_repeated(v, count), text_v], dim=2))
        for (k, v), (text_k, text_v) in pairs
    ]
