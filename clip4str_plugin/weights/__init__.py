"""The embedded models, a folder each as ``clip4str export --format reader`` writes it, and their model card."""

from pathlib import Path

__all__ = ["EMBEDDED", "embedded_folder"]

EMBEDDED = ("tiny",)
"""Names of the embedded models."""


def embedded_folder(name: str) -> Path:
    """Return the folder of an embedded model."""
    return Path(__file__).parent / name
