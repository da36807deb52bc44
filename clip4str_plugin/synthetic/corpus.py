"""What the synthetic words say: words, names, numbers, codes and addresses in the cases of real signs."""

import gzip
import string
from functools import lru_cache
from importlib.resources import files
from itertools import accumulate
from random import Random

__all__ = ["CHARSET", "CURRENCY", "MAX_LABEL_LENGTH", "Corpus", "known_words"]

CHARSET = string.digits + string.ascii_letters + string.punctuation
"""The 94 printable ASCII characters without the space."""

CURRENCY = "€£"
"""Signs beyond them that bills carry, for models whose charset holds them."""

MAX_LABEL_LENGTH = 25

_CONSONANTS = ["b", "c", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z", "x", "qu", "y", "j",
               "ch", "sh", "th", "st", "br", "cr", "tr", "gr", "pl", "kl", "fl"]  # fmt: skip
_VOWELS = ["a", "e", "i", "o", "u", "a", "e", "o", "ee", "oo", "ou", "ai", "y", "ia", "io"]
_CODAS = ["", "", "", "n", "r", "s", "l", "t", "x", "m", "ck", "ng", "ll", "tt", "nd"]
_DOMAINS = ["com", "com", "com", "org", "net", "co.uk", "de", "fr", "it", "com.au", "com.sg", "edu", "gov", "info",
            "io", "eu", "ca", "jp", "in", "tv", "biz"]  # fmt: skip
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_UNITS = ["kg", "g", "km", "m", "cm", "mm", "ml", "cl", "L", "V", "W", "kW", "Hz", "MB", "GB", "mph", "km/h", "°", "%"]
_ENDS = [".", ",", "!", ":", "?", ";", "...", "!!", "-", "*", "'", '"', ")", "&", "/", "+"]
_END_WEIGHTS = [26, 22, 18, 10, 7, 4, 4, 2, 2, 2, 1, 1, 2, 1, 1, 1]


@lru_cache(maxsize=1)
def _word_lists() -> tuple[list[list[str]], list[str]]:
    """Returns the word lists from the commonest to the rarest, and the names."""
    data = files(__package__) / "data"
    tiers = [[word for word in (data / "signs.txt").read_text("utf-8").split() if word.isalpha()]]
    for line in gzip.decompress((data / "words.txt.gz").read_bytes()).decode("ascii").split("\n"):
        if line.startswith("#"):
            tiers.append([])
        else:
            tiers[-1].append(line)
    names = gzip.decompress((data / "names.txt.gz").read_bytes()).decode("ascii").split("\n")
    return tiers, names


def known_words() -> frozenset[str]:
    """Returns the words and names of all lists in small letters; of those of two letters the common ones only."""
    tiers, names = _word_lists()
    common = {word.lower() for word in tiers[0]}
    return frozenset(
        word for words in [*tiers, names] for word in map(str.lower, words) if len(word) > 2 or word in common
    )


class Corpus:
    """Draws labels of 1 to 25 characters.

    The mix follows what street signs, shop fronts, packages and web pictures carry: mostly short common words, half of
    them in capitals, about one label in seven with digits and one in six with punctuation.

    Args:
        charset: holds what labels may; ``CHARSET`` is always taken, of other characters those of ``CURRENCY``, and
            with them one label in twenty is an amount of euros or pounds.

    >>> from random import Random
    >>> corpus = Corpus()
    >>> label = corpus(Random(1))
    >>> 1 <= len(label) <= 25 and set(label) <= set(CHARSET)
    True
    """

    def __init__(self, charset: str = CHARSET) -> None:
        self._currency = [sign for sign in CURRENCY if sign in charset]
        self._characters = CHARSET + "".join(self._currency)
        self._allowed = frozenset(self._characters)
        tiers, self._names = _word_lists()
        self._tiers = tiers
        self._tier_weights = list(accumulate([36, 26, 15, 14, 9]))
        kinds = [
            (self.word, 58),
            (self.name, 10),
            (self.brand, 4),
            (self.number, 6),
            (self.price, 1.4),
            (self.date, 1),
            (self.time, 0.7),
            (self.phone, 1),
            (self.code, 3),
            (self.address, 1.5),
            (self.random_letters, 3.5),
            (self.random_characters, 1.4),
            (self.punctuated, 7),
            (self.single, 1.5),
        ]
        if self._currency:
            kinds.append((self.currency, 5))
        self._kinds = [kind for kind, _ in kinds]
        self._kind_weights = list(accumulate(weight for _, weight in kinds))

    def __call__(self, rng: Random) -> str:
        """Returns one label."""
        while True:
            label = rng.choices(self._kinds, cum_weights=self._kind_weights)[0](rng)
            if 0 < len(label) <= MAX_LABEL_LENGTH and self._allowed.issuperset(label):
                return label

    def _plain(self, rng: Random) -> str:
        tier = rng.choices(self._tiers, cum_weights=self._tier_weights)[0]
        word = rng.choice(tier)
        for _ in range(2):
            # Lists hold each word once; in use the short ones are far more frequent.
            if len(word) > 6 and rng.random() < 0.5:
                word = rng.choice(tier)
        return word

    def _cased(self, rng: Random, word: str, upper: float = 0.54, title: float = 0.27, lower: float = 0.16) -> str:
        draw = rng.random()
        if draw < upper:
            return word.upper()
        if draw < upper + title:
            return word[:1].upper() + word[1:]
        if draw < upper + title + lower:
            return word.lower()
        if len(word) > 5 and rng.random() < 0.6:
            cut = rng.randint(2, len(word) - 2)
            return word[:cut].capitalize() + word[cut:].capitalize()
        return "".join(c.upper() if rng.random() < 0.5 else c.lower() for c in word)

    def word(self, rng: Random) -> str:
        """A word; now and then two joined ones."""
        word = self._plain(rng)
        draw = rng.random()
        if draw < 0.03:
            other = self._plain(rng)
            return self._cased(rng, word) + self._cased(rng, other) if draw < 0.02 else word + other.lower()
        return self._cased(rng, word)

    def name(self, rng: Random) -> str:
        """A name of a person or place, sometimes in the possessive."""
        name = rng.choice(self._names)
        draw = rng.random()
        if draw < 0.12:
            name += "'s"
        return name.upper() if rng.random() < 0.5 else name

    def brand(self, rng: Random) -> str:
        """An invented name that can be pronounced."""
        parts = [rng.choice(_CONSONANTS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(rng.randint(1, 4))]
        word = "".join(parts)
        if rng.random() < 0.2:
            word = rng.choice(_VOWELS)[:1] + word
        return self._cased(rng, word)

    def number(self, rng: Random) -> str:
        """A number: house numbers, years, amounts, percentages, ordinals, measures."""
        draw = rng.random()
        if draw < 0.5:
            return str(rng.randrange(10 ** rng.randint(1, 4)))
        if draw < 0.6:
            return str(rng.randint(1900, 2030))
        if draw < 0.68:
            return f"{rng.randint(1000, 9_999_999):,}"
        if draw < 0.76:
            return f"{rng.randint(0, 999)}.{rng.randint(0, 99):0{rng.randint(1, 2)}d}"
        if draw < 0.82:
            return f"{rng.choice([5, 10, 15, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 100, rng.randint(1, 99)])}%"
        if draw < 0.87:
            value = rng.randint(1, 99)
            teen = 10 < value % 100 < 14
            end = "th" if teen else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
            return f"{value}{end if rng.random() < 0.6 else end.upper()}"
        if draw < 0.94:
            return f"{rng.randint(1, 999)}{rng.choice(_UNITS)}"
        return "".join(rng.choices(string.digits, k=rng.randint(4, 12)))

    def price(self, rng: Random) -> str:
        """A price."""
        value = rng.choice([rng.randint(1, 99), rng.randint(1, 999), rng.randint(1, 9999)])
        cents = rng.choice(["00", "50", "99", "95", "90", f"{rng.randrange(100):02d}"])
        text = str(value) if rng.random() < 0.3 else f"{value:,}.{cents}"
        sign = rng.choice(["$", "$", "$", "S$", "US$", "Rs.", "RM", "EUR", ""])
        return sign + text + rng.choice(["", "", "", "", "/-", "+", "*"])

    def currency(self, rng: Random) -> str:
        """An amount with one of the signs of ``CURRENCY``, before or behind it, or the sign alone.

        Raises:
            IndexError: the charset holds none.
        """
        sign = rng.choice(self._currency)
        if rng.random() < 0.08:
            return sign
        value = int(10 ** rng.uniform(0, 4.5))
        point, mark = rng.choice([(".", ","), (".", ","), (",", ".")])
        cents = rng.choice(["00", "50", "99", "95", "90", f"{rng.randrange(100):02d}"])
        amount = str(value) if rng.random() < 0.3 else f"{value:,}".replace(",", mark) + point + cents
        before, behind = rng.choice(["", "", "", "", "-", "+", "("]), rng.choice(["", "", "", "", "*", "/kg", ",", "-"])
        return rng.choice([before + sign + amount, amount + sign + behind])

    def date(self, rng: Random) -> str:
        """A date in one of the common spellings."""
        day, month, year = rng.randint(1, 31), rng.randint(1, 12), rng.randint(1950, 2030)
        short = rng.choice([f"{year % 100:02d}", str(year)])
        mark = rng.choice("/.-")
        month_name = _MONTHS[month - 1] if rng.random() < 0.5 else _MONTHS[month - 1].upper()
        return rng.choice(
            [
                f"{day:02d}{mark}{month:02d}{mark}{short}",
                f"{month}{mark}{day}{mark}{short}",
                f"{year}-{month:02d}-{day:02d}",
                f"{day}{mark}{month_name}{mark}{short}",
                f"{day}{month_name}{short}",
                f"{day:02d}{mark}{month:02d}",
                f"{year}-{(year + 1) % 100:02d}",
                f"'{year % 100:02d}",
            ]
        )

    def time(self, rng: Random) -> str:
        """A time of day or opening hours."""
        hour, minute = rng.randint(0, 23), rng.choice([0, 0, 15, 30, 45, rng.randrange(60)])
        half = rng.choice(["am", "pm", "AM", "PM", "a.m.", "p.m."])
        twelve = hour % 12 or 12
        return rng.choice(
            [
                f"{hour:02d}:{minute:02d}",
                f"{twelve}:{minute:02d}{half}",
                f"{twelve}{half}",
                f"{twelve}.{minute:02d}{half}",
                f"{hour:02d}{minute:02d}hrs",
                f"{twelve}{half}-{rng.randint(1, 12)}{half}",
                f"{hour:02d}:{minute:02d}:{rng.randrange(60):02d}",
            ]
        )

    def phone(self, rng: Random) -> str:
        """A telephone number or a part of one."""
        digits = "".join(rng.choices(string.digits, k=11))
        a, b, c = digits[:3], digits[3:7], digits[7:]
        return rng.choice(
            [
                f"{a}-{b}",
                f"{b}-{c}",
                f"{a}-{digits[3:6]}-{c}",
                f"({a})",
                f"({a}){digits[3:6]}-{c}",
                f"+{digits[:2]}",
                f"+{digits}",
                f"0{digits[1:]}",
                f"{a}.{digits[3:6]}.{c}",
                f"1-800-{rng.choice(self._tiers[0])[:7].upper()}",
                digits[:8],
                b,
            ]
        )

    def code(self, rng: Random) -> str:
        """A number plate, a unit number, a flight, a part number."""

        def letters(count: int) -> str:
            return "".join(rng.choices(string.ascii_uppercase, k=count))

        def digits(count: int) -> str:
            return "".join(rng.choices(string.digits, k=count))

        mark = rng.choice(["", "-", "-", "/", "."])
        return rng.choice(
            [
                lambda: letters(rng.randint(1, 3)) + mark + digits(rng.randint(1, 4)),
                lambda: letters(2) + digits(2) + letters(3),
                lambda: f"#{digits(2)}-{digits(rng.randint(2, 3))}",
                lambda: f"{letters(1)}{digits(1)}/{letters(1)}{digits(1)}",
                lambda: digits(rng.randint(1, 3)) + mark + letters(rng.randint(1, 2)),
                lambda: f"{digits(rng.randint(1, 4))}/{digits(rng.randint(1, 4))}",
                lambda: f"{digits(rng.randint(1, 3))}-{digits(rng.randint(1, 4))}",
                lambda: "".join(rng.choices(string.ascii_uppercase + string.digits, k=rng.randint(3, 10))),
                lambda: letters(rng.randint(2, 4)),
                lambda: ".".join(letters(rng.randint(2, 4))) + rng.choice(["", "."]),
                lambda: f"{letters(1)}&{letters(1)}",
                lambda: f"No.{digits(rng.randint(1, 3))}",
                lambda: f"[{digits(2)}]",
                lambda: f"{digits(1)}x{digits(rng.randint(1, 2))}",
            ]
        )()

    def address(self, rng: Random) -> str:
        """A web or mail address, an account name, a hash tag."""
        host = self._plain(rng).lower() if rng.random() < 0.6 else self.brand(rng).lower()
        if rng.random() < 0.25:
            host += rng.choice(["-", "", ""]) + self._plain(rng).lower()
        domain = rng.choice(_DOMAINS)
        text = rng.choice(
            [
                f"www.{host}.{domain}",
                f"www.{host}.{domain}",
                f"{host}.{domain}",
                f"{rng.choice(['info', 'sales', 'mail', self._plain(rng).lower()])}@{host}.{domain}",
                f"@{host}",
                f"#{host}",
                f"http://{host}.{domain}",
                f"{host}.{domain}/{self._plain(rng).lower()}",
                f"{host}_{rng.randint(1, 99)}",
                f".{domain}",
            ]
        )
        return text.upper() if rng.random() < 0.12 else text

    def random_letters(self, rng: Random) -> str:
        """Letters without sense, so that the reader does not lean on its vocabulary alone."""
        length = min(rng.randint(1, 8) + (rng.randint(0, 17) if rng.random() < 0.15 else 0), MAX_LABEL_LENGTH)
        return self._cased(rng, "".join(rng.choices(string.ascii_lowercase, k=length)), 0.4, 0.15, 0.3)

    def random_characters(self, rng: Random) -> str:
        """Any characters of the charset."""
        return "".join(rng.choices(self._characters, k=rng.randint(1, 10)))

    def single(self, rng: Random) -> str:
        """One character."""
        return rng.choice(CHARSET[:62] if rng.random() < 0.75 else self._characters)

    def punctuated(self, rng: Random) -> str:
        """A word with punctuation at an end or inside."""
        word = self._cased(rng, self._plain(rng)) if rng.random() < 0.85 else self.number(rng)
        draw = rng.random()
        if draw < 0.5:
            return word + rng.choices(_ENDS, _END_WEIGHTS)[0]
        if draw < 0.6:
            pair = rng.choice(["()", "[]", '""', "''", "()", '""', "{}", "<>", "**", "--", "||"])
            return rng.choice([pair[0] + word + pair[1], pair[0] + word, word + pair[1]])
        if draw < 0.66:
            return rng.choice("#@&+*-'\"(~^`\\|=_$!") + word
        if draw < 0.78:
            return word + "'" + rng.choice(["s", "S", "s", "t", "ll", "re", "ve", "d", "S"])
        other = self._plain(rng)
        other = other.upper() if word.isupper() else other.lower() if word.islower() else other.capitalize()
        return word + rng.choice("-----&/./.:_+=") + other
