"""The embedded models, a folder each as ``clip4str export --format reader`` writes it, and their model card."""

from pathlib import Path

__all__ = ["EMBEDDED", "SPLITTER", "embedded_folder"]

EMBEDDED = ("tiny",)
"""Names of the embedded models."""
SPLITTER = Path(__file__).parent / "splitter.onnx"
"""Graph of the network that cuts lines into words; its weights are in ``splitter.safetensors`` beside it."""


def embedded_folder(name: str) -> Path:
    """Return the folder of an embedded model."""
    return Path(__file__).parent / name
