"""Rebuild ``words.txt.gz`` and ``names.txt.gz`` from Debian's ``scowl`` package (licence: ``SCOWL.txt``)."""

import gzip
import re
from pathlib import Path

SCOWL = Path("/usr/share/dict/scowl")
TIERS = {10: ("10",), 20: ("20",), 35: ("35",), 50: ("40", "50")}
WORD = re.compile(r"[A-Za-z]{1,25}")

__all__: list[str] = []


def _read(*names: str) -> list[str]:
    lines = [line for name in names for line in (SCOWL / name).read_text("latin-1").splitlines()]
    return sorted({line for line in lines if WORD.fullmatch(line)})


def _write(name: str, lines: list[str]) -> None:
    # A fixed time stamp and no file name keep the bytes the same from build to build.
    data = gzip.compress("\n".join(lines).encode(), 9, mtime=0)
    (Path(__file__).parent / name).write_bytes(data)


def _main() -> None:
    words: list[str] = []
    for tier, levels in TIERS.items():
        fresh = _read(*(f"{kind}-words.{level}" for level in levels for kind in ("english", "american")))
        words += [f"#{tier}", *fresh]
    _write("words.txt.gz", words)
    _write("names.txt.gz", _read("english-upper.50", "english-proper-names.50", "american-upper.50"))


if __name__ == "__main__":
    _main()
