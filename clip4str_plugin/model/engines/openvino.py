"""Both encoders on OpenVINO: exported once, kept in the cache, for any batch size."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from clip4str_plugin.cache import cache_dir
from clip4str_plugin.errors import EngineError
from clip4str_plugin.model.encoders import caption_tokens
from clip4str_plugin.model.engines.calibration import calibration_inputs
from clip4str_plugin.quiet_openvino import import_openvino

if TYPE_CHECKING:
    import openvino as ov

    from clip4str_plugin.model.clip4str import CLIP4STR
else:
    ov = import_openvino()

__all__ = ["OpenVinoEncoders", "convert"]

logger = logging.getLogger(__name__)

# Folders in place of a cache that cannot be written; removed when Python ends.
_SCRATCH: list[tempfile.TemporaryDirectory[str]] = []
_FORMAT = 4  # of the graphs in the cache; to be raised when they are made differently
_CONVOLUTIONS = ("Convolution", "GroupConvolution")


class _ImageTower(nn.Module):
    def __init__(self, model: CLIP4STR) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.encode_image(images)


class _TextTower(nn.Module):
    def __init__(self, model: CLIP4STR) -> None:
        super().__init__()
        self.clip = model.clip_model

    def forward(self, ids: Tensor) -> Tensor:
        return caption_tokens(self.clip, ids)


class OpenVinoEncoders:
    """The image and the text tower of a model, with the weights they had when this was built.

    May be used from several threads at once, copied and pickled.

    Args:
        graphs: OpenVINO graphs of the image tower and, for models with a cross-modal branch, of the text tower.
        bf16: compute in bfloat16 rather than float32.
        threads: of the processor; PyTorch's number if None.
    """

    def __init__(self, graphs: dict[str, ov.Model], bf16: bool, threads: int | None = None) -> None:
        self._graphs = graphs
        self._options = {
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
            # PyTorch's decoders run in turn with the encoders and use as many.
            "INFERENCE_NUM_THREADS": threads or torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        core = ov.Core()
        self._compiled = {name: core.compile_model(graph, "CPU", self._options) for name, graph in graphs.items()}
        self._requests = threading.local()

    @classmethod
    def build(cls, model: CLIP4STR, precision: str, calibration: Iterable[Any] | None = None) -> OpenVinoEncoders:
        """Export, quantise if asked, and compile the encoders of a model in float32 on the CPU.

        Args:
            model: gives the weights.
            precision: "fp32", "bf16" or "int8".
            calibration: crops for int8, see ``set_precision``.

        Raises:
            EngineError: the model has been rounded already, or a package for int8 is missing.
        """
        if model.dtype != torch.float32:
            raise EngineError(f"the model's weights are {model.dtype}: load it anew to change its precision")
        has_bf16 = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and not has_bf16:
            logger.warning("this processor has no bfloat16 arithmetic: bf16 computes in float32")
        folder = _cached(model, "int8" if precision == "int8" else "fp32", calibration)
        core = ov.Core()
        graphs = {name: core.read_model(folder / f"{name}.xml") for name in _towers(model)}
        in_bf16 = precision == "bf16"
        if precision == "int8" and _is_quantised(graphs["image"]):
            # With AMX, OpenVINO's 8-bit products beside bfloat16 ones came out 30 % off.
            in_bf16 = not torch.cpu._is_amx_tile_supported()
        return cls(graphs, in_bf16 and has_bf16)

    def image_tokens(self, images: Tensor) -> Tensor:
        """As ``CLIP4STR.encode_image``: (N, 3, H, W) to (N, M, D) float32 on the CPU."""
        return self._run("image", images.detach().to("cpu", torch.float32))

    def caption_tokens(self, ids: Tensor) -> Tensor:
        """As ``encoders.caption_tokens``: (N, L) int64 to (N, L, D) float32 on the CPU."""
        return self._run("text", ids.cpu())

    def _run(self, name: str, inputs: Tensor) -> Tensor:
        compiled = self._compiled[name]
        if len(inputs) == 0:
            return torch.empty(0, *(d.get_length() for d in list(compiled.output(0).get_partial_shape())[1:]))
        request = getattr(self._requests, name, None)
        if request is None:
            request = compiled.create_infer_request()
            setattr(self._requests, name, request)
        # The output is copied: the next call of this thread overwrites it.
        result = request.infer([inputs.contiguous().numpy()], share_inputs=True)[0]
        return torch.from_numpy(result)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        graphs = {}
        with tempfile.TemporaryDirectory() as folder:
            for name, graph in self._graphs.items():
                path = Path(folder) / f"{name}.xml"
                ov.save_model(graph, path, compress_to_fp16=False)
                graphs[name] = (path.read_bytes(), path.with_suffix(".bin").read_bytes())
        return _unpickle, (graphs, self._options["INFERENCE_PRECISION_HINT"] == "bf16")


def _unpickle(graphs: dict[str, tuple[bytes, bytes]], bf16: bool) -> OpenVinoEncoders:
    core = ov.Core()
    return OpenVinoEncoders({name: core.read_model(*parts) for name, parts in graphs.items()}, bf16)


def _towers(model: CLIP4STR) -> dict[str, tuple[nn.Module, Tensor]]:
    """Return the towers a model uses and an example of their input, by name."""
    towers: dict[str, tuple[nn.Module, Tensor]] = {
        "image": (_ImageTower(model), torch.zeros(2, 3, *model.config.image_size))
    }
    if model.config.cross_branch and not model.config.raw_token_memory:
        towers["text"] = (_TextTower(model), torch.zeros(2, model.config.context_length, dtype=torch.long))
    return towers


def _cached(model: CLIP4STR, kind: str, calibration: Iterable[Any] | None) -> Path:
    """Return the folder with a model's graphs, after making them if they are not there yet."""
    crops = None if calibration is None else list(calibration)
    folder = cache_dir() / "openvino" / f"{_fingerprint(model, crops)}-{kind}"
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(folder.parent, os.W_OK):
            raise PermissionError(f"{folder.parent} cannot be written")
    except OSError as error:
        logger.warning("graphs cannot be kept and are made at every start: %s; set CLIP4STR_CACHE", error)
        scratch = tempfile.TemporaryDirectory(prefix="clip4str-")
        _SCRATCH.append(scratch)
        folder = Path(scratch.name) / folder.name
    logger.info("preparing %s graphs for OpenVINO, once for these weights: %s", kind, folder)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        towers = _towers(model)
        inputs = calibration_inputs(model, crops) if kind == "int8" else {}
        for name, (tower, example) in towers.items():
            graph = _export(tower, example)
            if kind == "int8":
                graph = _quantise(graph, inputs[name])
            ov.save_model(graph, Path(made) / f"{name}.xml", compress_to_fp16=False)
        os.chmod(made, 0o755)  # a cache may be shared, and temporary folders are their owner's alone
        try:
            os.rename(made, folder)
        except OSError:  # another process was faster
            if not folder.is_dir():
                raise
        else:
            os.mkdir(made)  # for the context manager to remove
    return folder


def _fingerprint(model: CLIP4STR, crops: list[Any] | None) -> str:
    """Return a name for what determines a graph: weights, configuration, calibration crops and software."""
    digest = hashlib.sha256()
    about = [_FORMAT, ov.get_version(), torch.__version__, model.config.to_dict()]
    digest.update(json.dumps(about, sort_keys=True).encode())
    for name, weight in model.state_dict().items():
        if name.startswith(("visual_decoder.", "cross_decoder.")):
            continue
        digest.update(name.encode())
        digest.update(weight.detach().contiguous().flatten().view(torch.uint8).numpy())
    for crop in crops or ():
        digest.update(np.ascontiguousarray(crop).tobytes())
    return digest.hexdigest()[:32]


def _export(tower: nn.Module, example: Tensor) -> ov.Model:
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

    with torch.no_grad():
        program = torch.export.export(tower.eval(), (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    with _without_remarks():
        decoder = TorchFXPythonDecoder.from_exported_program(program)
    graph = convert(decoder)
    graph.reshape([-1, *example.shape[1:]])
    return graph


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Keep to itself what OpenVINO says of operations that a newer PyTorch lacks: a traceback each, to the root logger.

    ``logging.warning`` would also give the root logger a handler, and with it every program that uses this one.
    """

    def is_other(record: logging.LogRecord) -> bool:
        return record.module != "fx_decoder"

    root, handler = logging.getLogger(), logging.NullHandler()
    root.addFilter(is_other)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.removeFilter(is_other)


def convert(decoder: Any) -> ov.Model:
    """Convert a PyTorch model as ``openvino.convert_model`` does, which would also report its use over the network.

    Args:
        decoder: of OpenVINO, around the model.
    """
    from openvino._offline_transformations import apply_moc_transformations
    from openvino.frontend import FrontEndManager

    frontend = FrontEndManager().load_by_framework("pytorch")
    graph = frontend.convert(frontend.load(decoder))
    apply_moc_transformations(graph, cf=False, smart_reshape=True)
    return graph


def _kinds(graph: ov.Model) -> list[str]:
    return [node.get_type_name() for node in graph.get_ops()]


def _is_quantised(graph: ov.Model) -> bool:
    return "FakeQuantize" in _kinds(graph)


def _quantise(graph: ov.Model, inputs: list[np.ndarray]) -> ov.Model:
    """Round weights and activations to 8 bits; the activations' ranges are those met on the inputs.

    Convolutions stay as they are, and so does a tower that is mostly convolutions: what else it computes takes too
    little of the time for 8 bits to be worth the words they change.
    """
    kinds = _kinds(graph)
    if sum(kind in _CONVOLUTIONS for kind in kinds) > kinds.count("MatMul"):
        return graph
    os.environ.setdefault("NNCF_CI", "1")  # else it reports its use over the network
    try:
        import nncf
        from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
    except ImportError as error:
        raise EngineError(f"int8 needs nncf ({error}): pip install 'clip4str-plugin[openvino]'") from error
    # Its own function for this also raises the level of the handlers of the application.
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf.quantize(
        graph,
        nncf.Dataset(inputs),
        subset_size=len(inputs),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        # Little of the time and, in a convolutional stem, most of the error.
        ignored_scope=nncf.IgnoredScope(types=list(_CONVOLUTIONS), validate=False),
        fast_bias_correction=True,
        # Processors without VNNI add products in 16 bits, which overflow unless weights keep to half of their range.
        advanced_parameters=AdvancedQuantizationParameters(overflow_fix=OverflowFix.ENABLE),
    )
