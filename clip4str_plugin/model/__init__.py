"""The CLIP4STR model: configuration, charset, encoders, decoder and weight files.

Nothing here reads images: crops arrive as normalised tensors.
"""

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
