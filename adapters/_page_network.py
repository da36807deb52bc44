"""Networks that see whole pages, on the CPU: in OpenVINO where it is installed, else in ONNX Runtime."""

from __future__ import annotations

import ctypes
import sys
import threading
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from clip4str_adapters._checks import check_number
from clip4str_plugin.model.devices import MOST_THREADS, cpu_threads
from clip4str_plugin.quiet_openvino import import_openvino

__all__ = ["PageNetwork", "load_page_network"]


class PageNetwork(Protocol):
    """A network with one input, a picture; several threads may call it."""

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Run it on (1, 3, H, W) float32 and return its first output."""
        ...

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of what it returns for an input of this shape."""
        ...


def load_page_network(
    source: Any, precision: Literal["auto", "fp32", "bf16"] = "fp32", threads: int | None = None
) -> PageNetwork:
    """Load a network for pictures of any size.

    Args:
        source: the path of an ONNX file; or, where OpenVINO is installed, a graph of its own or what makes one.
        precision: in OpenVINO; "auto" and "bf16" are bfloat16 where the processor has it.
        threads: CPU threads, None for one a core.

    Raises:
        DetectorError: that is no number of threads.
    """
    if threads is not None:
        check_number("threads", threads, 1, MOST_THREADS, whole=True)
    if find_spec("openvino") is None:
        return _InOnnxRuntime(Path(source), threads)
    return _InOpenVino(source, precision, threads)


class _InOpenVino:
    """A graph for the size of the first picture, and of the same one turned; from the next size on one for all sizes.

    The first starts sooner and, knowing its size, uses its memory again: many users have one picture, or scans of one
    size. Making a graph for every size would take as long as small pictures themselves. The memory that the first
    picture took is given back, for that of other networks.
    """

    def __init__(self, source: Any, precision: str, threads: int | None) -> None:
        self._core = import_openvino().Core()
        self._source = source
        self._graph = self._read()
        has_bf16 = precision != "fp32" and "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self._options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "bf16" if has_bf16 else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            # Pages come in any size, and what is kept for each would add up.
            "CPU_RUNTIME_CACHE_CAPACITY": 0,
        }
        if threads is not None:
            self._options["INFERENCE_NUM_THREADS"] = threads
        self._request: Any = None
        self._size: tuple[int, ...] | None = None  # the only one that the graph takes
        self._turned = False
        # One page at a time keeps all cores busy, and its activations fill memory enough.
        self._lock = threading.Lock()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        with self._lock:
            if self._request is None:
                return self._run_alone(batch)
            if self._size not in (None, batch.shape):
                upright = (*self._size[:2], *self._size[:1:-1])
                self._request = self._size = None  # the old one goes before the new one comes
                self._graph = self._read()
                if batch.shape == upright and not self._turned:
                    self._turned = True
                    return self._run_alone(batch)
                self._request = self._compile()
            return self._request.infer([batch], share_inputs=True)[0]

    def _run_alone(self, batch: np.ndarray) -> np.ndarray:
        self._graph.reshape(list(batch.shape))
        self._request, self._size = self._compile(), batch.shape
        result = self._request.infer([batch], share_inputs=True)[0]
        self._request.get_compiled_model().release_memory()
        return result

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        with self._lock:
            graph = self._graph or self._read()
            any_size = graph.input(0).get_partial_shape()
            graph.reshape(list(shape))
            answer = tuple(graph.output(0).get_shape())
            graph.reshape(any_size)
            return answer

    def _read(self) -> Any:
        if isinstance(self._source, Path):
            return self._core.read_model(self._source)
        return self._source() if isinstance(self._source, partial) else self._source.clone()

    def _compile(self) -> Any:
        request = self._core.compile_model(self._graph, "CPU", self._options).create_infer_request()
        self._graph = None  # its weights have been copied
        _give_back_memory()
        return request


def _give_back_memory() -> None:
    """Return freed memory to the system: glibc keeps it, twice a file of weights when one has been read."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries than glibc have none
        if trim is not None:
            trim(0)


class _InOnnxRuntime:
    def __init__(self, path: Path, threads: int | None) -> None:
        from onnxruntime import InferenceSession, SessionOptions

        options = SessionOptions()
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False  # it would keep the memory of the largest picture
        options.intra_op_num_threads = threads or cpu_threads()
        # Threads that wait for the next page by spinning take the processor from the recognizer.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._input, self._output = self._session.get_inputs()[0].name, self._session.get_outputs()[0].name
        _give_back_memory()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return np.asarray(self._session.run([self._output], {self._input: batch})[0])

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self(np.zeros(shape, np.float32)).shape
