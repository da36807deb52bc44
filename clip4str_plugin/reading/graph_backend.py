"""Exported graphs as what a recognizer computes with: ONNX Runtime and NumPy, no PyTorch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clip4str_plugin.model.config import CLIP4STRConfig
from clip4str_plugin.model.devices import cpu_threads
from clip4str_plugin.model.preprocess import Color, resize_all
from clip4str_plugin.weights import EMBEDDED, embedded_folder

if TYPE_CHECKING:
    from clip4str_plugin.options import RecognizerOptions
    from clip4str_plugin.reading.backend import ScoredText

__all__ = ["GraphBackend", "find_graphs"]


def find_graphs(source: str | Path) -> Path | None:
    """Return the folder with the graphs of a model, if it has any.

    Args:
        source: what ``load_model`` takes; an embedded model has graphs, and a folder that ``clip4str export`` wrote.
    """
    folder = embedded_folder(str(source)) if str(source) in EMBEDDED else Path(source).expanduser()
    needed = ("image.onnx", "visual.onnx", "config.json", "model.safetensors")
    return folder if all((folder / name).is_file() for name in needed) else None


class GraphBackend:
    """Reads with the graphs of a model, in float32 on the CPU; see `clip4str_plugin.reading.backend.Backend`.

    Args:
        folder: from `find_graphs`.
        options: charset and early exit.

    Raises:
        CheckpointError: the folder cannot be read.
        ValueError: ``charset`` holds characters the model does not know.
    """

    device = "cpu"
    batch_size = 32
    runs_ahead = False
    out_of_memory: tuple[type[Exception], ...] = ()

    def __init__(self, folder: Path, options: RecognizerOptions) -> None:
        self.folder = folder
        self._options = options
        self._load()

    def _load(self) -> None:
        import onnxruntime

        from clip4str_plugin.errors import CheckpointError
        from clip4str_plugin.reading.onnx_recognizer import OnnxModel

        session_options = onnxruntime.SessionOptions()
        # As PyTorch does: the number of threads that the user wants to give to computing, else one a core.
        session_options.intra_op_num_threads = cpu_threads()
        # Threads that spin between two graphs take the processor from the detector, which works at the same time.
        session_options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session_options.log_severity_level = 3
        try:
            values = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
            self.config = CLIP4STRConfig.from_dict(values)
            self._model = OnnxModel(
                self.folder, self.config.to_dict(), session_options=session_options, charset=self._options.charset
            )
        except ValueError as error:
            if str(error).startswith("charset"):
                raise
            raise CheckpointError(f"{self.folder}: its configuration is not usable: {error}") from None
        except Exception as error:  # ONNX Runtime has exceptions of its own
            raise CheckpointError(
                f"{self.folder}: the graphs cannot be loaded, export the model again ({error})"
            ) from None

    def stage(self, crops: Sequence[np.ndarray], color: Color) -> np.ndarray:
        """Resize the crops, (N, 3, H, W) uint8; they are normalised when their turn comes."""
        return resize_all(crops, self.config.image_size, color)

    def read(self, batch: np.ndarray) -> list[ScoredText]:
        """Read a staged batch."""
        model = self._model
        early_exit = self.config.early_exit if self._options.early_exit is None else self._options.early_exit
        decoding = model.generate(model.normalize(batch), complete=False, early_exit=early_exit)
        return model.decode(decoding)

    def free_memory(self) -> None:
        """Do nothing: memory is not the limit here."""

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "_options": self._options}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._load()
