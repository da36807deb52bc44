"""Write rendered words as a set: to look at them, to compare models, or to publish where real crops may not be."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from clip4str_plugin.data.tools import new_set
from clip4str_plugin.synthetic.fonts import find_fonts
from clip4str_plugin.synthetic.renderer import WordRenderer

__all__ = ["write_rendered_set"]


def write_rendered_set(
    target: str | Path, count: int, seed: int = 0, fonts: Sequence[str | os.PathLike[str]] | None = None
) -> None:
    """Write the first words of a stream as a set that ``open_dataset`` opens.

    The same seed, fonts and version of the package give the same set. A training draws its own stream from
    ``data.seed``; give another seed here to get words it has not seen.

    Args:
        target: new folder, with ``labels.tsv`` and images as PNG.
        count: words to render.
        seed: names the stream.
        fonts: font files; those of this machine if None.

    Raises:
        Clip4StrError: no font is usable.
        DatasetError: the target exists.
    """
    renderer = WordRenderer(find_fonts() if fonts is None else fonts, seed)
    with new_set(target) as add:
        for index in range(count):
            add(*renderer(index))
