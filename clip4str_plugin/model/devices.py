"""Choose the device, without importing PyTorch where there is no GPU."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

__all__ = ["pick_device"]


def pick_device(name: str = "auto") -> str:
    """Return the device to compute on, after checking that it can be used.

    Args:
        name: "cpu", "cuda", "cuda:1" ...; "auto" is the GPU where there is one.

    Raises:
        ValueError: the device cannot be used.
    """
    if name == "cpu" or (name == "auto" and not _may_have_gpu()):
        return "cpu"
    try:
        import torch
    except ImportError as error:
        if name == "auto":
            return "cpu"
        raise ValueError(f"the device {name!r} cannot be used: {error}") from None
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"the device {name!r} cannot be used: {str(error).splitlines()[0]}") from None
    return name


@cache
def _may_have_gpu() -> bool:
    """Whether a driver that PyTorch's "cuda" could use is there: NVIDIA's with a card, or AMD's."""
    if "torch" in sys.modules or os.path.exists("/dev/kfd"):
        return True
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
