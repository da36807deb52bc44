"""The folder where downloaded weights and prepared graphs are kept."""

import os
from pathlib import Path

__all__ = ["cache_dir"]


def cache_dir() -> Path:
    """Return the folder of downloaded weights: $CLIP4STR_CACHE, or clip4str in $XDG_CACHE_HOME or ~/.cache."""
    own = os.environ.get("CLIP4STR_CACHE")
    folder = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "clip4str"
    return folder.expanduser()
