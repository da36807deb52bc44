"""The number format and the engine that a model computes with: ``fp32``, ``bf16``, ``fp8``, ``int8`` or ``auto``."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

from clip4str_plugin.errors import EngineError
from clip4str_plugin.model.cuda_graphs import GraphDecoder
from clip4str_plugin.options import Precision

if TYPE_CHECKING:
    from clip4str_plugin.model.clip4str import CLIP4STR

__all__ = ["PRECISIONS", "Engine", "Precision", "set_precision"]

logger = logging.getLogger(__name__)

Engine = Literal["auto", "torch", "openvino", "cuda_graphs", "compiled"]
_LARGE = 50_000_000  # parameters
PRECISIONS: tuple[str, ...] = get_args(Precision)


def set_precision(
    model: CLIP4STR,
    precision: Precision = "auto",
    engine: Engine = "auto",
    calibration: Iterable[Any] | None = None,
) -> CLIP4STR:
    """Set the number format of a model in place. Call it last: after loading weights and moving to a device.

    ========= ============================================= ==============================================
    precision with OpenVINO (CPU, when installed)           without, or on another device
    ========= ============================================= ==============================================
    fp32      OpenVINO encoders, differences of about 1e-6  PyTorch, the reference
    bf16      OpenVINO encoders, bfloat16 decoders          PyTorch in bfloat16
    fp8       not available                                 GPUs of compute capability 8.9 and above: matrix products
                                                            of CLIP's own encoders in 8 bits, the rest as bf16
    int8      encoders with 8-bit weights and activations,  not available
              bfloat16 decoders in large models
    auto      large models: bf16 where the processor        large models: bf16 where the processor or GPU
              computes in it (AMX, AVX-512 BF16); else fp32 computes in it; else fp32
    ========= ============================================= ==============================================

    A model is large if it has more than 50 million parameters, as those on CLIP's own towers. Small models are fast in
    fp32, and rounding changes more of their results.

    What ``auto`` chose is logged (logger ``clip4str_plugin.model.engines.precision``, level INFO). ``int8`` and ``fp8``
    are never chosen automatically, because they change a few results. OpenVINO's graphs are built once for each set of
    weights and kept in the cache folder (see ``cache_dir``), so only the first start takes long. On a GPU, CLIP's
    own encoders compute in fewer passes over memory (see ``FusedEncoders``), with weights of their own.

    Args:
        model: in float32, evaluation mode and on its device. Where decoders compute in bfloat16, its weights are
            rounded to that.
        precision: as above.
        engine: "auto", or one of: "openvino"; "torch", which launches every operation on its own; "cuda_graphs",
            PyTorch with decoding replayed as CUDA graphs, which "auto" takes on a GPU; "compiled", which also compiles
            CLIP's own encoders (about ten seconds at the first batch, and a C compiler is needed).
        calibration: for ``int8``, crops like those to be read, as a Recognizer takes them: the range of the activations
            is measured on them. By default on rendered words.

    Returns:
        the same model.

    Raises:
        EngineError: the precision cannot be had on this device or with what is installed, or the model's weights have
            been rounded by an earlier call.
    """
    if precision not in PRECISIONS:
        raise EngineError(f"precision is {precision!r}; known are {', '.join(PRECISIONS)}")
    if engine not in get_args(Engine):
        raise EngineError(f"engine is {engine!r}; known are {', '.join(get_args(Engine))}")
    on_cpu = model.device.type == "cpu"
    installed = find_spec("openvino") is not None
    if engine == "openvino" and not (on_cpu and installed):
        why = "is not installed: pip install 'clip4str-plugin[openvino]'" if on_cpu else "only serves the CPU"
        raise EngineError(f"OpenVINO {why}")
    if engine in ("cuda_graphs", "compiled") and model.device.type != "cuda":
        raise EngineError(f"CUDA graphs need a model on a GPU, not on {model.device.type}: move it there first")
    use_openvino = on_cpu and installed and engine != "torch"
    if precision == "int8" and not use_openvino:
        raise EngineError(
            "int8 needs OpenVINO on the CPU: pip install 'clip4str-plugin[openvino]' and leave the engine to choose"
            if on_cpu
            else f"int8 is for the CPU; use bf16 or fp8 on {model.device.type}"
        )
    fused = False
    if model.device.type == "cuda" and engine != "torch":
        from clip4str_plugin.model.engines.fused import FusedEncoders

        fused = FusedEncoders.can_compute(model)
    if precision == "fp8":
        _check_fp8(model.device, fused)
    chosen = precision
    large = sum(weight.numel() for weight in model.parameters()) > _LARGE
    if precision == "auto":
        chosen = "bf16" if large and _computes_in_bf16(model.device) else "fp32"

    if chosen not in ("bf16", "fp8") and model.dtype == torch.bfloat16:
        raise EngineError(f"the model's weights have been rounded to bfloat16: load it anew for {chosen}")

    model.engine = None
    model.graph_decoder = GraphDecoder()
    model.cuda_graphs = {"torch": False, "cuda_graphs": True, "compiled": True}.get(engine)
    if use_openvino:
        from clip4str_plugin.model.engines.openvino import OpenVinoEncoders

        try:
            model.engine = OpenVinoEncoders.build(model, chosen, calibration)
        except EngineError:
            raise
        except Exception as error:  # a tower OpenVINO cannot convert fails in ways of its own
            if engine == "openvino" or chosen == "int8":
                raise
            logger.warning("OpenVINO cannot compute this model, PyTorch does: %s: %s", type(error).__name__, error)
            use_openvino = False
    if fused:
        dtype = torch.float32 if chosen == "fp32" else torch.bfloat16
        model.engine = FusedEncoders(
            model, dtype, fp8=chosen == "fp8", compiled=engine == "compiled" or chosen == "fp8"
        )
    # An engine for the encoders leaves the decoders, which run in bfloat16 only where that is faster. In a small
    # model, int8 is not worth the words that this would change.
    rounded = chosen in ("bf16", "fp8") or (chosen == "int8" and large)
    if rounded and (not use_openvino or _computes_in_bf16(model.device)):
        model.to(torch.bfloat16)
    logger.info(
        "precision %s%s on %s with %s",
        chosen,
        " (chosen automatically)" if precision == "auto" else "",
        model.device,
        "OpenVINO" if use_openvino else "PyTorch",
    )
    return model


def _check_fp8(device: torch.device, fused: bool) -> None:
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 9):
        raise EngineError("fp8 needs a GPU of compute capability 8.9 or above (Ada, Hopper or later); use bf16")
    if not fused:
        raise EngineError("fp8 is for models with CLIP's own two transformers and no adapter; use bf16")


def _computes_in_bf16(device: torch.device) -> bool:
    """Tell whether the device multiplies bfloat16 matrices in hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False
