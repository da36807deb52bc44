"""Networks that see whole pages, on the CPU: in OpenVINO where it is installed, else in ONNX Runtime."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

__all__ = ["PageNetwork", "load_page_network"]

PageNetwork: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""(1, 3, H, W) float32 to the network's first output; several threads may call it."""


def load_page_network(
    graph: Any,
    precision: Literal["auto", "fp32", "bf16"] = "fp32",
    threads: int | None = None,
    alike: bool = True,
) -> PageNetwork:
    """Load a network for pictures of any size.

    Args:
        graph: the path of an ONNX file; or a graph of OpenVINO's, where that is installed.
        precision: in OpenVINO; "auto" and "bf16" are bfloat16 where the processor has it.
        threads: CPU threads, None for one a core.
        alike: the pictures may all have one size.
    """
    if find_spec("openvino") is None:
        return _InOnnxRuntime(Path(graph), threads)
    return _InOpenVino(graph, precision, threads, alike)


class _InOpenVino:
    """One graph for the size of the first picture alone, from the second size on one for all sizes.

    The first starts in half the time and, knowing its size, uses its memory again: many users have one picture, or
    scans of one size. Making a graph for every size would take as long as the pictures themselves.
    """

    def __init__(self, graph: Any, precision: str, threads: int | None, alike: bool) -> None:
        import openvino as ov

        self._core = ov.Core()
        self._graph = self._core.read_model(graph) if isinstance(graph, (str, os.PathLike)) else graph
        self._any_size = self._graph.input(0).get_partial_shape()
        has_bf16 = precision != "fp32" and "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self._options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "bf16" if has_bf16 else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            # Pages come in any size, and what is kept for each would add up.
            "CPU_RUNTIME_CACHE_CAPACITY": 0,
        }
        if threads is not None:
            self._options["INFERENCE_NUM_THREADS"] = threads
        self._size: Any = None
        self._request = None if alike else self._compile(self._any_size)
        # One page at a time keeps all cores busy, and its activations fill memory enough.
        self._lock = threading.Lock()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        with self._lock:
            if self._request is None:
                self._size = batch.shape
                self._request = self._compile(list(batch.shape))
            elif self._size not in (None, batch.shape):
                self._size = self._request = None  # the old graph goes before the new one comes
                self._request = self._compile(self._any_size)
            return self._request.infer([batch], share_inputs=True)[0]

    def _compile(self, size: Any) -> Any:
        self._graph.reshape(size)
        return self._core.compile_model(self._graph, "CPU", self._options).create_infer_request()


class _InOnnxRuntime:
    def __init__(self, path: Path, threads: int | None) -> None:
        from onnxruntime import InferenceSession, SessionOptions

        options = SessionOptions()
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False  # it would keep the memory of the largest picture
        options.intra_op_num_threads = threads or int(os.environ.get("OMP_NUM_THREADS") or 0)
        # Threads that wait for the next page by spinning take the processor from the recognizer.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._input, self._output = self._session.get_inputs()[0].name, self._session.get_outputs()[0].name

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return np.asarray(self._session.run([self._output], {self._input: batch})[0])
