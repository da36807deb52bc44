"""The word renderer: an endless, repeatable stream of labelled word crops."""

import math
import os
from collections.abc import Sequence
from itertools import accumulate
from random import Random

import cv2
import numpy as np

from clip4str_plugin.errors import Clip4StrError
from clip4str_plugin.synthetic.corpus import CHARSET, Corpus
from clip4str_plugin.synthetic.degrade import degrade
from clip4str_plugin.synthetic.draw import DrawnWord, draw_word
from clip4str_plugin.synthetic.fonts import Face, inspect_fonts
from clip4str_plugin.synthetic.geometry import bend, outline_points, project
from clip4str_plugin.synthetic.paint import choose_style, layers, paint
from clip4str_plugin.synthetic.textures import TextureBank

__all__ = ["WordRenderer"]

_MAX_SIZE = (128, 420)
_TRIES = 20
_MIN_SEPARATION = 11.0  # grey levels; words fainter than this cannot be read by people either


def _separation(crop: np.ndarray, ink: np.ndarray) -> float:
    """Returns the distance in mean grey level between the ink and the rest of a crop."""
    gray = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    inside = cv2.threshold(ink, 127, 255, cv2.THRESH_BINARY)[1]
    return abs(cv2.mean(gray, inside)[0] - cv2.mean(gray, 255 - inside)[0])


class WordRenderer:
    """Renders word crops as a camera would see them, together with their labels.

    The word of an index depends on the seed, the fonts and the index alone, so any number of processes can share one
    stream without talking to each other. An instance can be pickled and forked.

    Rendering uses one thread, and OpenCV is told so for the whole process as soon as an instance is made: a process
    forked from it would wait for ever for threads of OpenCV that did not come along.

    Args:
        fonts: font files, usually `clip4str_plugin.synthetic.find_fonts`'s answer.
        seed: names the stream.
        cache: file that keeps the findings about fonts; by default in the user's cache folder.
        charset: see ``Corpus``.

    Raises:
        Clip4StrError: no font is usable.

    >>> renderer = WordRenderer(find_fonts(), seed=0)  # doctest: +SKIP
    >>> crop, label = renderer(0)  # doctest: +SKIP
    >>> crop.dtype, crop.shape[2]  # doctest: +SKIP
    (dtype('uint8'), 3)
    """

    def __init__(
        self,
        fonts: Sequence[str | os.PathLike[str]],
        seed: int = 0,
        cache: str | os.PathLike[str] | None = None,
        charset: str = CHARSET,
    ) -> None:
        faces = inspect_fonts(fonts, cache)
        if not faces:
            raise Clip4StrError(
                f"none of the {len(fonts)} fonts given draws Latin letters; "
                "install fonts (for example Debian's fonts-dejavu-core) or give other files"
            )
        self.seed = seed
        cv2.setNumThreads(1)
        folders: dict[str, dict[str, list[Face]]] = {}
        for face in faces:
            folders.setdefault(os.path.dirname(face.path), {}).setdefault(face.family, []).append(face)
        # Large families, and folders of one designer's many display faces, get more than one share, but fewer shares
        # than they have members.
        self._families: list[list[Face]] = []
        weights: list[float] = []
        for families in folders.values():
            shares = [math.sqrt(len(family)) for family in families.values()]
            self._families += families.values()
            weights += [share / math.sqrt(sum(shares)) for share in shares]
        self._family_weights = list(accumulate(weights))
        self._corpus = Corpus(charset)
        self._bank = TextureBank(seed=0)

    def __call__(self, index: int) -> tuple[np.ndarray, str]:
        """Returns word number ``index`` of the stream: crop (H, W, 3) uint8 RGB and its label."""
        return self.render(Random(f"{self.seed}:{index}"))

    def render(self, rng: Random) -> tuple[np.ndarray, str]:
        """Renders one word with the chance of ``rng``.

        Args:
            rng: source of chance; its state alone decides the word.

        Returns:
            The crop, (H, W, 3) uint8 RGB of varying size, and its label of 1 to 25 characters.
        """
        # OpenCV's threads cost more than they bring on images of this size. (In a process that was started anew.)
        if cv2.getNumThreads() > 1:
            cv2.setNumThreads(1)
        target = min(max(math.exp(rng.gauss(3.05, 0.5)), 8.0), 80.0)
        word, label = self._word(rng, target)
        style = choose_style(rng)
        mask, points = word.mask, outline_points(word.box)
        if rng.random() < 0.14:
            mask, points = bend(rng, mask, points)
        second_from = rng.choice(word.cuts) if word.cuts else None
        masks = layers(style, mask, word.cap_height, second_from)
        view, (height, width) = project(rng, points, word.cap_height, target, _MAX_SIZE)
        masks = cv2.warpPerspective(masks, view, (width, height), flags=cv2.INTER_LINEAR)
        # The view may have shrunk a long word to the largest size.
        cap = min(target, abs(float(np.linalg.det(view[:2, :2]))) ** 0.5 * word.cap_height)
        image = paint(rng, style, self._bank, masks)
        ink = masks[:, :, 0] if masks.ndim == 3 else masks
        for _attempt in range(3):
            crop = degrade(rng, self._bank, image, cap, style.contrast)
            if _separation(crop, ink) >= _MIN_SEPARATION:
                break
        else:
            # Three unlucky draws of light and fading: a clean picture of the word is better than none.
            crop = np.clip(image, 0, 255).astype(np.uint8)
        return crop, label

    def _word(self, rng: Random, cap_height: float) -> tuple[DrawnWord, str]:
        for _attempt in range(_TRIES):
            label = self._corpus(rng)
            for _ in range(3):
                face = self._face(rng)
                drawable = set(face.characters)
                if not drawable.issuperset(label) and drawable.issuperset(label.upper()):
                    label = label.upper()
                if drawable.issuperset(label):
                    break
            else:
                label = "".join(char for char in label if char in drawable)
            if label and (word := draw_word(rng, label, face, cap_height, self._corpus.word)):
                return word, label
        raise Clip4StrError(f"font {face.path!r} draws none of {_TRIES} labels; leave it out of the fonts")

    def _face(self, rng: Random) -> Face:
        family = rng.choices(self._families, cum_weights=self._family_weights)[0]
        return family[rng.randrange(len(family))]
