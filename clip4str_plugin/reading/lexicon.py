"""How far a text is made of words that a list knows: one more hint at where a line has its blanks."""

from __future__ import annotations

import re
from functools import cache

__all__ = ["unknown_characters"]

_WORD = re.compile(r"[^_\s\-/&.,:;']+")
_AROUND = '!?_()[]{}"*_\\#%$+=<>'
# Characters of a mixture of letters with digits or other signs: some are codes, and some lack a blank.
_MIXED = 0.5
# An underscore within a word may be a rule that two words stand on, and so counts like so many characters.
_UNDERSCORE = 2.0


def unknown_characters(text: str) -> float:
    """Count the characters of a text that belong to no known word.

    Numbers, single letters and punctuation do not count; mixtures, `30mm`, count half. The lists hold English words
    and names. Of another language nearly every word is unknown, together as apart, and so tells nothing.

    >>> unknown_characters("ofpages"), unknown_characters("of"), unknown_characters("pages"), unknown_characters("12")
    (7.0, 0.0, 0.0, 0.0)
    """
    text = text.strip(_AROUND)
    count = _UNDERSCORE * text.count("_")
    for word in _WORD.findall(text):
        core = word.strip(_AROUND)
        if core.isalpha():
            if len(core) > 1 and not _known(core.lower()):
                count += len(core)
        elif any(char.isalpha() for char in core):
            count += _MIXED * len(core)
    return count


def _known(word: str) -> bool:
    return word in _words() or (word.endswith("s") and len(word) > 3 and word[:-1] in _words())


@cache
def _words() -> frozenset[str]:
    from clip4str_plugin.synthetic.corpus import known_words

    return known_words()
