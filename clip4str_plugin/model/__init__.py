"""The CLIP4STR model: configuration, charset, encoders, decoder and weight files.

Nothing here reads images: crops arrive as normalised tensors. The names below are resolved on first use, so that
configurations and charsets can be had without PyTorch.
"""

from typing import TYPE_CHECKING

from clip4str_plugin.lazy import lazy_names

if TYPE_CHECKING:
    from clip4str_plugin.model.checkpoint import available_models, load_model, save_pretrained
    from clip4str_plugin.model.clip4str import CLIP4STR, Decoding
    from clip4str_plugin.model.config import GEOMETRIES, CLIP4STRConfig, clip_config

__all__ = [
    "CLIP4STR",
    "GEOMETRIES",
    "CLIP4STRConfig",
    "Decoding",
    "available_models",
    "clip_config",
    "load_model",
    "save_pretrained",
]

_HOME = {
    "CLIP4STR": "clip4str",
    "Decoding": "clip4str",
    "GEOMETRIES": "config",
    "CLIP4STRConfig": "config",
    "clip_config": "config",
    "available_models": "checkpoint",
    "load_model": "checkpoint",
    "save_pretrained": "checkpoint",
}


__getattr__ = lazy_names(__name__, _HOME)
