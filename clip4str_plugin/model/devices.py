"""Choose the device, without importing PyTorch where there is no GPU."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

__all__ = ["MOST_THREADS", "cpu_threads", "pick_device"]

MOST_THREADS = 1024
"""Libraries fail with far more threads than any processor has."""


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
        if torch.empty(0, device=name).is_meta:
            raise RuntimeError("it holds no numbers")
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"the device {name!r} cannot be used: {str(error).splitlines()[0]}") from None
    return name


def cpu_threads() -> int:
    """Return the number of threads that ``OMP_NUM_THREADS`` asks for, 0 if it leaves that open.

    OpenMP takes a list as well, whose first number is that of the outermost loops; what is no number it passes over.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(int(first), MOST_THREADS) if first.isascii() and first.isdigit() else 0


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
