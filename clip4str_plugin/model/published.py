"""The checkpoints published by the authors of the CLIP4STR code: where they are, and what was measured on them."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["ALIASES", "BENCHMARKS", "LICENCE", "PUBLISHED", "SOURCE", "PublishedModel"]

# Test sets in the order of the published tables, each with its number of words.
BENCHMARKS = MappingProxyType(
    {
        "IIIT5k": 3000,
        "SVT": 647,
        "IC13_1015": 1015,
        "IC15_1811": 1811,
        "IC15_2077": 2077,
        "SVTP": 645,
        "CUTE80": 288,
        "HOST": 2416,
        "WOST": 2416,
        "COCOv1.4": 9825,
        "ArT": 35149,
        "Uber": 80551,
    }
)

SOURCE = "README of github.com/VamosC/CLIP4STR at commit 7497c15"

LICENCE = (
    "The code the checkpoints come from is Apache-2.0. No licence for the weights themselves is known to us, and "
    "they were trained on collections with terms of their own: settle that before commercial use."
)

_WIT = "OpenAI WIT-400M"
_SYNTH = "MJSynth and SynthText"
_REAL = "3.3 M real words (the PARSeq collection)"
_RBU = "RBU: 6.5 M real words (that collection, benchmark training and validation sets, Union14M-L)"
_GITHUB = "https://github.com/VamosC/CLIP4STR/releases/download/1.0.0/"
_HUGGING_FACE = "https://huggingface.co/mzhaoshuai/CLIP4STR/resolve/main/"
_ZENODO = "https://zenodo.org/records/8369439"
_ZENODO_INDEX = "https://zenodo.org/api/records/8369439"


@dataclass(frozen=True)
class PublishedModel:
    """One published checkpoint.

    Attributes:
        name: what ``load_model`` calls it.
        geometry: size class, a key of ``GEOMETRIES``.
        encoder: CLIP model whose encoders the training started from.
        training_data: labelled words it was trained on.
        url: the file, or with ``index`` the page a person finds it on.
        filename: its name in the cache.
        hash_prefix: hexadecimal digits that its published name ends in. PyTorch's convention makes them the beginning
            of the file's SHA-256; the authors don't say so.
        accuracy: published word accuracy in percent (0-9, a-z, case ignored) by test set; see ``BENCHMARKS``.
        index: where the address of the file has to be looked up by ``hash_prefix``: a Zenodo record's description
            (JSON). Its file names are not published elsewhere.
    """

    name: str
    geometry: str
    encoder: str
    training_data: str
    url: str
    filename: str
    hash_prefix: str
    accuracy: MappingProxyType[str, float]
    index: str | None = None


def _accuracy(*percent: float) -> MappingProxyType[str, float]:
    return MappingProxyType(dict(zip(BENCHMARKS, percent, strict=True)))


_MODELS = (
    PublishedModel(
        name="base16-synth",
        geometry="base16",
        encoder=f"ViT-B/16, {_WIT}",
        training_data=_SYNTH,
        url=_GITHUB + "clip4str_base16x16_synth_a5e3386222.ckpt",
        filename="clip4str_base16x16_synth_a5e3386222.ckpt",
        hash_prefix="a5e3386222",
        accuracy=_accuracy(97.70, 95.36, 96.06, 87.47, 84.02, 91.47, 94.44, 80.01, 86.75, 66.69, 72.82, 43.52),
    ),
    PublishedModel(
        name="base16-real",
        geometry="base16",
        encoder=f"ViT-B/16, {_WIT}",
        training_data=_REAL,
        url=_GITHUB + "clip4str_base16x16_d70bde1f2d.ckpt",
        filename="clip4str_base16x16_d70bde1f2d.ckpt",
        hash_prefix="d70bde1f2d",
        accuracy=_accuracy(99.20, 98.30, 98.23, 91.44, 90.61, 96.90, 99.65, 77.36, 87.87, 80.80, 85.74, 86.70),
    ),
    PublishedModel(
        name="base16-rbu",
        geometry="base16",
        encoder="ViT-B/16, DataComp-1B",
        training_data=_RBU,
        url=_HUGGING_FACE + "clip4str_base_6e9fe947ac.pt",
        filename="clip4str_base_6e9fe947ac.pt",
        hash_prefix="6e9fe947ac",
        accuracy=_accuracy(99.5, 98.3, 98.6, 91.4, 91.1, 98.0, 99.0, 79.3, 88.8, 81.3, 85.8, 92.1),
    ),
    PublishedModel(
        name="large14-synth",
        geometry="large14",
        encoder=f"ViT-L/14, {_WIT}",
        training_data=_SYNTH,
        url=_ZENODO,
        filename="clip4str_large14x14_synth_3544c362f0.ckpt",
        hash_prefix="3544c362f0",
        accuracy=_accuracy(97.57, 95.36, 96.75, 88.02, 84.40, 91.78, 94.44, 81.08, 87.38, 67.45, 73.48, 44.59),
        index=_ZENODO_INDEX,
    ),
    PublishedModel(
        name="large14-real",
        geometry="large14",
        encoder=f"ViT-L/14, {_WIT}",
        training_data=_REAL,
        url=_ZENODO,
        filename="clip4str_large14x14_f125500adc.ckpt",
        hash_prefix="f125500adc",
        accuracy=_accuracy(99.43, 98.15, 98.52, 91.66, 91.14, 97.36, 98.96, 79.22, 89.07, 81.97, 85.83, 87.36),
        index=_ZENODO_INDEX,
    ),
    PublishedModel(
        name="large14-rbu",
        geometry="large14",
        encoder="ViT-L/14, DataComp-1B",
        training_data=_RBU,
        url=_HUGGING_FACE + "clip4str_large_3c9d881b88.pt",
        filename="clip4str_large_3c9d881b88.pt",
        hash_prefix="3c9d881b88",
        accuracy=_accuracy(99.6, 98.6, 99.0, 91.9, 91.4, 98.1, 99.7, 81.1, 90.6, 82.7, 86.4, 92.2),
    ),
    PublishedModel(
        name="huge14-laion-rbu",
        geometry="huge14",
        encoder="ViT-H/14, LAION-2B",
        training_data=_RBU,
        url=_HUGGING_FACE + "clip4str_huge_5eef9f86e2.pt",
        filename="clip4str_huge_5eef9f86e2.pt",
        hash_prefix="5eef9f86e2",
        accuracy=_accuracy(99.7, 98.6, 98.9, 91.6, 91.1, 98.5, 99.7, 80.6, 90.0, 82.5, 86.2, 91.2),
    ),
    PublishedModel(
        name="huge14-dfn-rbu",
        geometry="huge14",
        encoder="ViT-H/14, DFN-5B",
        training_data=_RBU,
        url=_HUGGING_FACE + "clip4str_huge_3e942729b1.pt",
        filename="clip4str_huge_3e942729b1.pt",
        hash_prefix="3e942729b1",
        accuracy=_accuracy(99.5, 99.1, 98.9, 91.7, 91.0, 98.0, 99.0, 82.6, 90.9, 83.0, 86.4, 91.7),
    ),
)

# Short for the model of each size that reads the most words of all published test sets together.
ALIASES = MappingProxyType({"base16": "base16-rbu", "large14": "large14-rbu", "huge14": "huge14-dfn-rbu"})

_BY_NAME = {model.name: model for model in _MODELS}

# By name, then by alias.
PUBLISHED = MappingProxyType({**_BY_NAME, **{alias: _BY_NAME[name] for alias, name in ALIASES.items()}})
