"""Precisions and engines: the same model, computed faster.

The PyTorch path is the reference. An engine replaces its two encoders, nothing else: see `Encoders`.
"""

from clip4str_plugin.model.engines.precision import PRECISIONS, Precision, set_precision

__all__ = ["PRECISIONS", "Precision", "set_precision"]
