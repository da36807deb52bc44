"""Reads word crops with an exported model: needs this file, ONNX Runtime and NumPy, nothing else of the package.

``clip4str export`` puts a copy of this file beside the graphs, as ``clip4str_onnx.py``.
"""

from __future__ import annotations

import html
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

__all__ = ["CaptionEncoder", "OnnxDecoding", "OnnxModel", "OnnxRecognition", "OnnxRecognizer", "resize"]

_END = 0  # class of the end token

# On a CPU the image tower sees so many crops at a time: their activations stay in its cache, a sixth of the time saved.
_SLICE = 4

# Crops so many times as high as wide may show a word on end.
_TALL = 1.5


class OnnxRecognition(NamedTuple):
    """What was read in one crop.

    Attributes:
        text: the characters, possibly none.
        confidence: between 0 and 1, the product of the probabilities of the characters and of the end.
        char_confidences: the probability of each character of ``text``.
    """

    text: str
    confidence: float
    char_confidences: tuple[float, ...]


class OnnxDecoding(NamedTuple):
    """What a batch of N crops was read as.

    Attributes:
        logits: (N, T, C) float32 scores, class 0 the end token, class i ``charset[i - 1]``.
        lengths: (N,) positions that count in each row; beyond them ``logits`` hold a certain end token.
        captions: what the text encoder was given, one tuple of N captions for each of its calls.
    """

    logits: np.ndarray
    lengths: np.ndarray
    captions: tuple[tuple[str, ...], ...]


class OnnxModel:
    """The graphs of a model, and how one after the other reads a batch.

    The decoding is that of the PyTorch model, step by step, so that what is read in a crop depends neither on the
    batch size nor on its neighbours. Several threads may use one.

    Args:
        folder: with ``image.onnx``, ``visual.onnx``, ``merges.txt`` ..., written by ``clip4str export``.
        config: the model's configuration; ``model.json`` of the folder if None.
        providers: ONNX Runtime's execution providers; the CPU's if None.
        session_options: ``onnxruntime.SessionOptions`` for all graphs (threads, ...).
        charset: the only characters that may be read; None allows all the model knows.

    Raises:
        ValueError: the folder is not an exported model, or ``charset`` holds characters the model does not know.
    """

    def __init__(
        self,
        folder: str | Path,
        config: dict[str, Any] | None = None,
        providers: Sequence[Any] | None = None,
        session_options: onnxruntime.SessionOptions | None = None,
        charset: str | None = None,
    ) -> None:
        folder = Path(folder)
        self.config = _read_config(folder) if config is None else config
        self.charset: str = self.config["charset"]
        self._symbols = ["[E]", *self.charset]
        self._forbidden = np.zeros(len(self._symbols), bool)
        if charset is not None:
            if unknown := sorted(set(charset) - set(self.charset)):
                raise ValueError(f"charset: characters {unknown} are not in the model's charset")
            self._forbidden[1:] = [c not in charset for c in self.charset]

        def load(name: str) -> onnxruntime.InferenceSession:
            return onnxruntime.InferenceSession(
                folder / f"{name}.onnx", session_options, providers=list(providers or ["CPUExecutionProvider"])
            )

        self._image, self._visual = load("image"), load("visual")
        if self.config["cross_branch"]:
            self._text, self._cross = load("text"), load("cross")
            merges = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
            self._encode = CaptionEncoder(merges, self.config["context_length"], self.config["caption_charset"])
        levels = np.arange(256, dtype=np.float32) / np.float32(255)
        mean, std = (np.asarray(self.config[name], np.float32)[:, None] for name in ("mean", "std"))
        self._levels = (levels - mean) / std  # 3, 256

    def normalize(self, images: np.ndarray) -> np.ndarray:
        """Return (N, 3, H, W) float32 for uint8 RGB images of the model's size."""
        result = np.empty(images.shape, np.float32)
        for channel, levels in enumerate(self._levels):
            np.take(levels, images[:, channel], out=result[:, channel], mode="clip")
        return result

    def decode(self, decoding: OnnxDecoding) -> list[tuple[str, tuple[float, ...]]]:
        """Return the most probable text of each crop; the probabilities of its characters and of the end token, too.

        There is no end token in a text as long as the model can read.
        """
        scores = np.exp(decoding.logits - decoding.logits.max(-1, keepdims=True))
        probabilities = (scores / scores.sum(-1, keepdims=True)).max(-1)
        readings = []
        for ids, row, n in zip(decoding.logits.argmax(-1).tolist(), probabilities.tolist(), decoding.lengths.tolist()):
            end = ids.index(_END) if _END in ids[:n] else n
            readings.append(("".join(self._symbols[i] for i in ids[:end]), tuple(row[: min(end + 1, n)])))
        return readings

    def generate(
        self,
        images: np.ndarray,
        max_length: int | None = None,
        refine_iters: int | None = None,
        complete: bool = True,
        early_exit: float | None = None,
    ) -> OnnxDecoding:
        """Read normalised crops and tell how they were read.

        Args:
            images: (N, 3, H, W) float32, normalised as the model's configuration says.
            max_length: longest text in characters; by default the model's, and decoding ends with the text.
            refine_iters: refinements after the first decoding; by default the model's.
            complete: False saves refining most positions beyond the first end token of each crop; texts and their
                probabilities are the same.
            early_exit: approximate and faster: crops that the visual branch reads with at least this probability for
                each character and the end are neither refined nor shown to the cross-modal branch. None reads all
                crops in full.
        """
        config = self.config
        count = config["max_label_length"] + 1
        if max_length is not None:
            count = min(max_length + 1, count)
        if refine_iters is None:
            refine_iters = config["refine_iters"]
        if len(images) == 0:
            empty = np.zeros((0, count, len(self._symbols)), np.float32)
            return OnnxDecoding(empty, np.zeros(0, np.int64), ((),) * (config["cross_branch"] * (1 + refine_iters)))

        tokens, memory = self._encode_images(np.ascontiguousarray(images, np.float32))
        visual, lengths = self._first(self._visual, memory, count, None, max_length is None)
        if early_exit is None:
            return self._correct(visual, lengths, tokens, memory, count, refine_iters, complete)
        rows = np.flatnonzero(_certainty(visual, lengths) < early_exit)
        if not len(rows):
            return OnnxDecoding(visual, lengths, ())
        doubtful = self._correct(visual[rows], lengths[rows], tokens[rows], memory[rows], count, refine_iters, complete)
        logits = self._blank(len(images), max(visual.shape[1], doubtful.logits.shape[1]))
        logits[:, : visual.shape[1]] = visual
        logits[rows] = self._blank(1, 1)
        logits[rows, : doubtful.logits.shape[1]] = doubtful.logits
        lengths[rows] = doubtful.lengths
        own = [dict(zip(rows.tolist(), captions)) for captions in doubtful.captions]
        return OnnxDecoding(logits, lengths, tuple(tuple(c.get(i, "") for i in range(len(images))) for c in own))

    def _encode_images(self, images: np.ndarray) -> list[np.ndarray]:
        """Return what the image tower says of (N, 3, H, W) crops, the same for any size of the slices."""
        on_cpu = self._image.get_providers()[0] == "CPUExecutionProvider"
        size = _SLICE if on_cpu else len(images)
        slices = [images[start : start + size] for start in range(0, len(images), size)]
        answers = [self._image.run(None, {"images": part}) for part in slices]
        return answers[0] if len(answers) == 1 else [np.concatenate(parts) for parts in zip(*answers)]

    def _correct(
        self,
        visual: np.ndarray,
        lengths: np.ndarray,
        tokens: np.ndarray,
        memory: np.ndarray,
        count: int,
        refine_iters: int,
        complete: bool,
    ) -> OnnxDecoding:
        """Show the visual branch's first reading to the cross-modal branch, and refine both."""
        full = np.full(len(visual), count)
        if not self.config["cross_branch"]:
            for _ in range(refine_iters):
                visual, lengths = self._refine(self._visual, memory, visual, lengths, count, complete), full
            return OnnxDecoding(visual, lengths, ())
        captions = [self._captions(visual, lengths)]
        cross_memory = self._text.run(None, {"ids": self._encode(captions[-1]), "tokens": tokens})[0]
        if self.config["decode_ar"]:  # both branches read nearly every crop alike
            cross = self._check(self._cross, cross_memory, visual.argmax(-1), lengths)
        else:
            cross, _ = self._first(self._cross, cross_memory, count, lengths, False)
        cross_lengths = lengths
        for _ in range(refine_iters):
            visual, lengths = self._refine(self._visual, memory, visual, lengths, count, complete), full
            captions.append(self._captions(visual, lengths))
            new = [i for i, (now, then) in enumerate(zip(captions[-1], captions[-2])) if now != then]
            if new:
                ids = self._encode([captions[-1][i] for i in new])
                cross_memory[new] = self._text.run(None, {"ids": ids, "tokens": tokens[new]})[0]
            cross, cross_lengths = self._refine(self._cross, cross_memory, cross, cross_lengths, count, complete), full
        return OnnxDecoding(cross, cross_lengths, tuple(tuple(c) for c in captions))

    def _run(
        self, decoder: onnxruntime.InferenceSession, tokens: np.ndarray, memory: np.ndarray, **masks: np.ndarray
    ) -> np.ndarray:
        """Return logits (N, Q, C) with what must not be read excluded."""
        names = {node.name for node in decoder.get_inputs()}  # decoders of one layer have no content mask
        feed = {"tokens": tokens, "memory": memory, **masks}
        logits = decoder.run(None, {name: value for name, value in feed.items() if name in names})[0]
        return np.where(self._forbidden, np.float32("-inf"), logits)

    def _first(
        self,
        decoder: onnxruntime.InferenceSession,
        memory: np.ndarray,
        count: int,
        steps: np.ndarray | None,
        early_stop: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Decode up to ``count`` positions; a crop takes ``steps`` of them if given, else until its first end token.

        Returns:
            logits (N, longest, C), and the number of positions of each crop.
        """
        n = len(memory)
        lengths = np.full(n, count) if steps is None else steps
        logits = self._blank(n, count)
        rows = np.arange(n)
        tokens = np.full((n, count + 1), self._begin)
        if not self.config["decode_ar"]:
            positions, visible = np.arange(count), np.ones((n, count, 1), bool)
            logits = self._run(
                decoder, tokens[:, :1], memory, positions=positions, visible=visible, content_visible=visible[:, :1]
            )
            if steps is None and early_stop:
                ended = logits.argmax(-1) == _END
                lengths = np.where(ended.any(1), ended.argmax(1) + 1, count)
            beyond = positions >= lengths[:, None]
            logits[beyond] = self._blank(1, 1)
            return logits[:, : lengths.max()], lengths
        causal = np.tril(np.ones((count, count), bool))
        for i in range(count):
            alive = lengths[rows] > i
            if not alive.any():
                break
            if alive.mean() < 0.875:  # copying the memory costs about as much as a step
                rows, memory = rows[alive], memory[alive]
                alive = alive[alive]
            step = self._run(
                decoder,
                tokens[rows, : i + 1],
                memory,
                positions=np.array([i]),
                visible=np.ones((len(rows), 1, i + 1), bool),
                content_visible=np.broadcast_to(causal[: i + 1, : i + 1], (len(rows), i + 1, i + 1)),
            )[:, 0]
            found = step.argmax(-1)
            tokens[rows, i + 1] = found
            logits[rows[alive], i] = step[alive]
            if steps is None and early_stop:
                lengths[rows[alive & (found == _END)]] = i + 1
        return logits[:, : lengths.max()], lengths

    def _check(
        self, decoder: onnxruntime.InferenceSession, memory: np.ndarray, guess: np.ndarray, lengths: np.ndarray
    ) -> np.ndarray:
        """Decode like ``_first`` when the tokens it will find, (N, L), are almost known: same result, fewer passes.

        One causal pass predicts all positions given the guess. Where every prediction equals it, decoding step by step
        would have gone the same way. Elsewhere the predictions up to the first difference are those of the steps and
        make a better guess; when that stops helping, the rest is decoded step by step.
        """
        n, length = guess.shape
        index = np.arange(length)
        causal = index <= index[:, None]
        logits = self._blank(n, length)
        rows, first = np.arange(n), True
        while len(rows):
            tokens = np.concatenate([np.full((len(rows), 1), self._begin), guess[:, :-1]], 1)
            visible = np.broadcast_to(causal, (len(rows), length, length))
            found = self._run(decoder, tokens, memory, positions=index, visible=visible, content_visible=visible)
            better = found.argmax(-1)
            # A crop's last token is nobody's context.
            wrong = ((better != guess) & (index < lengths[rows, None] - 1)).any(1)
            logits[rows[~wrong]] = found[~wrong]
            rows, guess, memory = rows[wrong], better[wrong], memory[wrong]
            if not first and 2 * len(rows) > len(wrong):
                rest, _ = self._first(decoder, memory, length, lengths[rows], False)
                logits[rows, : rest.shape[1]] = rest
                break
            first = False
        logits[index >= lengths[:, None]] = self._blank(1, 1)
        return logits

    def _refine(
        self,
        decoder: onnxruntime.InferenceSession,
        memory: np.ndarray,
        logits: np.ndarray,
        lengths: np.ndarray,
        count: int,
        complete: bool,
    ) -> np.ndarray:
        """Predict ``count`` positions again from all characters found but their own."""
        found = logits[:, :-1].argmax(-1)
        tokens = np.concatenate([np.full((len(found), 1), self._begin), found], 1)
        known = (np.cumsum(tokens == _END, 1) == 0) & (np.arange(tokens.shape[1]) < lengths[:, None])
        if complete:
            return self._cloze(decoder, memory, tokens, known, 0, count)
        # Almost always the refined text ends where the first one did, or before.
        likely = min(int(known.sum(1).max()), count)
        refined = self._blank(len(tokens), count)
        refined[:, :likely] = self._cloze(decoder, memory, tokens, known, 0, likely)
        longer = (refined[:, :likely].argmax(-1) != _END).all(1)
        if likely < count and longer.any():
            refined[longer, likely:] = self._cloze(
                decoder, memory[longer], tokens[longer], known[longer], likely, count
            )
        return refined

    def _cloze(
        self,
        decoder: onnxruntime.InferenceSession,
        memory: np.ndarray,
        tokens: np.ndarray,
        known: np.ndarray,
        start: int,
        stop: int,
    ) -> np.ndarray:
        """Predict positions start..stop-1 from all known tokens, (N, L), but their own."""
        index = np.arange(tokens.shape[1])
        positions = np.arange(start, stop)
        visible = known[:, None] & (index != positions[:, None] + 1)
        content_visible = known[:, None] & (index != index[:, None] + 1)
        return self._run(decoder, tokens, memory, positions=positions, visible=visible, content_visible=content_visible)

    def _blank(self, n: int, positions: int) -> np.ndarray:
        """Return logits (n, positions, C) of a certain end token."""
        logits = np.full((n, positions, len(self._symbols)), -np.inf, np.float32)
        logits[..., _END] = 0
        return logits

    @property
    def _begin(self) -> int:
        return len(self.charset) + 1

    def _captions(self, logits: np.ndarray, lengths: np.ndarray) -> list[str]:
        # The published models join the symbols and cut at the spelling of the end token.
        texts = (
            "".join(self._symbols[i] for i in ids[:n]).partition("[E]")[0]
            for ids, n in zip(logits.argmax(-1).tolist(), lengths.tolist())
        )
        kept: str = self.config["caption_charset"]
        fold = str.lower if kept == kept.lower() else str.upper if kept == kept.upper() else str
        return ["".join(c for c in fold(text) if c in kept) for text in texts]


class OnnxRecognizer(OnnxModel):
    """Reads word crops of any size and gives one `OnnxRecognition` for each, in order.

    Args:
        folder: written by ``clip4str export``.
        batch_size: crops in one pass.
        providers: ONNX Runtime's execution providers; the CPU's if None.
        session_options: ``onnxruntime.SessionOptions`` for all graphs (threads, ...).
        charset: the only characters that may be read; None allows all the model knows.

    Raises:
        ValueError: the folder is not an exported model, or ``charset`` holds characters the model does not know.
    """

    def __init__(
        self,
        folder: str | Path,
        batch_size: int = 32,
        providers: Sequence[Any] | None = None,
        session_options: onnxruntime.SessionOptions | None = None,
        charset: str | None = None,
    ) -> None:
        super().__init__(folder, None, providers, session_options, charset)
        self.batch_size = batch_size

    def __call__(self, crops: Iterable[np.ndarray], color: str = "rgb") -> list[OnnxRecognition]:
        """Read all crops.

        Args:
            crops: uint8 arrays (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); a fourth channel is ignored. A crop
                without pixels reads as empty text with confidence 0.
            color: "rgb" or "bgr", the channel order of crops with three or four channels.

        Raises:
            ValueError: a crop has another type or shape; the message gives its index.
        """
        if color not in ("rgb", "bgr"):
            raise ValueError(f"color must be 'rgb' or 'bgr', is {color!r}")
        results: list[OnnxRecognition] = []
        views: list[np.ndarray] = []
        places: list[tuple[int, int]] = []
        for i, crop in enumerate(crops):
            results.append(OnnxRecognition("", 0.0, ()))
            crop = _checked(crop, i)
            if 0 in crop.shape:
                continue
            if color == "bgr":
                crop = crop[..., ::-1]
            is_tall = self.config.get("turn_tall", False) and crop.shape[0] >= _TALL * crop.shape[1]
            for turns in (0, 1, 3) if is_tall else (0,):
                view = resize(np.rot90(crop, turns), self.config["image_size"], self.config["resize_rows_first"])
                views.append(view.transpose(2, 0, 1))
                places.append((i, turns))
                if len(views) == self.batch_size:
                    self._fill(results, places, views)
        self._fill(results, places, views)
        return results

    def _fill(self, results: list[OnnxRecognition], places: list[tuple[int, int]], views: list[np.ndarray]) -> None:
        """Read the images collected so far, put the results in their places, and start anew."""
        if views:
            images = self.normalize(np.stack(views))
            decoding = self.generate(images, complete=False, early_exit=self.config.get("early_exit"))
            for (place, turns), (text, probabilities) in zip(places, self.decode(decoding)):
                recognition = OnnxRecognition(text, math.prod(probabilities), probabilities[: len(text)])
                if not turns or _is_on_end(recognition, results[place]):
                    results[place] = recognition
        places.clear()
        views.clear()


class CaptionEncoder:
    """CLIP's byte-pair encoding (Radford et al., 2021) of short captions.

    Args:
        merges: pairs of symbols, separated by a space, most frequent first.
        context_length: ids of a caption, begin and end token included; longer captions are cut.
        charset: characters that captions can hold. Beyond ASCII, and with ``&``, CLIP repairs text by the package
            ``ftfy``, which is then needed.
    """

    def __init__(self, merges: Sequence[str], context_length: int, charset: str) -> None:
        self.context_length = context_length
        self._repair = _no_repair
        if not charset.isascii() or "&" in charset:
            try:
                import ftfy
            except ImportError as error:
                raise ImportError("this model's captions hold '&' or more than ASCII: pip install ftfy") from error
            self._repair = ftfy.fix_text
        # CLIP writes bytes as printable characters: themselves, or those from 256 on.
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = sorted(set(range(256)) - set(printable))
        self._characters = dict(zip(printable, map(chr, printable))) | {b: chr(256 + i) for i, b in enumerate(others)}
        symbols = list(self._characters.values())
        pairs = [tuple(merge.split(" ")) for merge in merges]
        vocabulary = [*symbols, *(s + "</w>" for s in symbols), *(a + b for a, b in pairs)]
        self._ids = {symbol: i for i, symbol in enumerate(vocabulary)}
        self._ranks = {pair: i for i, pair in enumerate(pairs)}
        self._begin, self._end = len(vocabulary), len(vocabulary) + 1
        self._row = lru_cache(maxsize=1 << 16)(partial(_caption_row, self))

    def __call__(self, captions: Sequence[str]) -> np.ndarray:
        """Return the ids of N captions, (N, context_length) int64."""
        return np.array([self._row(c) for c in captions], np.int64).reshape(-1, self.context_length)

    def encode(self, caption: str) -> list[int]:
        """Return the ids of a caption without begin and end token."""
        caption = html.unescape(html.unescape(self._repair(caption)))
        ids: list[int] = []
        for word in _words(" ".join(caption.split()).lower()):
            if word in _SPECIAL:
                ids.append((self._begin, self._end)[_SPECIAL.index(word)])
            else:
                ids += self._merge(word)
        return ids

    def _merge(self, word: str) -> list[int]:
        symbols = [self._characters[b] for b in word.encode()]
        symbols[-1] += "</w>"
        while len(symbols) > 1:
            ranks = [self._ranks.get(pair, len(self._ranks)) for pair in pairwise(symbols)]
            best = min(ranks)
            if best == len(self._ranks):
                break
            # The leftmost of equal pairs first: merging never makes a pair of an earlier rank.
            i = ranks.index(best)
            symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]
        return [self._ids[s] for s in symbols]


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "model.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder}: is not a folder written by 'clip4str export' ({error})") from error


def _certainty(logits: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return (N,) the lowest probability among each crop's characters and its end token."""
    scores = np.exp(logits - logits.max(-1, keepdims=True))
    best = 1 / scores.sum(-1)
    return np.where(np.arange(logits.shape[1]) < lengths[:, None], best, 1.0).min(1)


def _is_on_end(turned: OnnxRecognition, best: OnnxRecognition) -> bool:
    """Whether the reading of a turned crop is better; narrow letters stay, since turned, a 1 may read as two dots."""
    if (len(best.text) == 1 and best.confidence > 0.5) or sum(map(str.isalnum, turned.text)) < 2:
        return False
    return not best.text or turned.confidence > best.confidence  # nothing at all may be read with confidence


def _no_repair(text: str) -> str:
    return text


def _caption_row(encoder: CaptionEncoder, caption: str) -> tuple[int, ...]:
    ids = encoder.encode(caption)[: encoder.context_length - 2]
    row = [encoder._begin, *ids, encoder._end]
    return tuple(row + [0] * (encoder.context_length - len(row)))


_SPECIAL = ("<|startoftext|>", "<|endoftext|>")
_FIXED = re.compile("|".join([*map(re.escape, _SPECIAL), "'s", "'t", "'re", "'ve", "'m", "'ll", "'d"]), re.IGNORECASE)


def _words(text: str) -> Iterable[str]:
    """Split as CLIP does: special tokens, English contractions, runs of letters, single digits, runs of the rest."""
    i = 0
    while i < len(text):
        if match := _FIXED.match(text, i):
            j = match.end()
        else:
            kind, j = _kind(text[i]), i + 1
            while kind != "N" and j < len(text) and _kind(text[j]) == kind:
                j += 1
        if not text[i].isspace():
            yield text[i:j]
        i = j


def _kind(character: str) -> str:
    if character.isspace():
        return "space"
    category = unicodedata.category(character)[0]
    return category if category in "LN" else "other"


def resize(image: np.ndarray, size: Sequence[int], rows_first: bool = False) -> np.ndarray:
    """Resize as Pillow's bicubic filter does, to the bit: antialiased, 22-bit weights, rounded after each direction.

    Args:
        image: (H, W, C) uint8.
        size: (height, width) of the result.
        rows_first: shrink the height before the width is changed where that saves work, as Pillow 13 does; older
            ones never do.

    Returns:
        (height, width, C) uint8.
    """
    height, width = image.shape[:2]
    across, down = _weights(width, size[1]), _weights(height, size[0])
    planes = image.transpose(2, 0, 1).astype(np.float64)  # products of 22 + 8 bits are exact in float64
    if rows_first and size[0] < height and 2 * (width - size[1]) < height - size[0]:
        planes = _rounded(_rounded(down @ planes) @ across.T)
    else:
        planes = _rounded(down @ _rounded(planes @ across.T))
    return planes.astype(np.uint8).transpose(1, 2, 0)


def _rounded(sums: np.ndarray) -> np.ndarray:
    return np.clip(np.floor((sums + (1 << 21)) / (1 << 22)), 0, 255)


@lru_cache(maxsize=1024)
def _weights(source: int, target: int) -> np.ndarray:
    """Return (target, source) weights of the cubic filter (a = -0.5), in units of 2^-22."""
    scale = source / target
    filter_scale = max(scale, 1.0)
    centre = (np.arange(target)[:, None] + 0.5) * scale
    index = np.arange(source)
    first = (centre - 2 * filter_scale + 0.5).clip(0).astype(int)
    last = (centre + 2 * filter_scale + 0.5).clip(max=source).astype(int)
    x = np.abs((index - centre + 0.5) * (1 / filter_scale))
    near = (1.5 * x - 2.5) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    weights = np.where(x < 1, near, np.where(x < 2, far, 0)) * ((index >= first) & (index < last))
    weights /= np.cumsum(weights, 1)[:, -1:]  # added up from left to right, as Pillow does
    return np.trunc(weights * (1 << 22) + np.copysign(0.5, weights))


def _checked(crop: Any, index: int) -> np.ndarray:
    """Return the crop as (H, W, 3)."""
    if not isinstance(crop, np.ndarray) or crop.dtype != np.uint8:
        raise ValueError(f"crop {index}: is {getattr(crop, 'dtype', type(crop).__name__)}, not an array of uint8")
    if crop.ndim == 2:
        crop = crop[..., None]
    if crop.ndim != 3 or crop.shape[2] not in (1, 3, 4):
        raise ValueError(
            f"crop {index}: has the shape {crop.shape}; expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
        )
    return np.repeat(crop, 3, 2) if crop.shape[2] == 1 else crop[..., :3]
