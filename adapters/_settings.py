"""The options of reading and recognizing for hosts that want their settings as a Pydantic model."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from clip4str_plugin.options import Confidence, Orientation, Precision, ReadOptions, RecognizerOptions

__all__ = ["Settings"]


class Settings(BaseModel):
    """Model, detector, and the fields of ``RecognizerOptions`` and ``ReadOptions``."""

    model: Annotated[str, Field(description="name or path of a CLIP4STR model")] = "tiny"
    detector: Annotated[str, Field(description="text detector, e.g. rapidocr or doctr:fast_base")] = "rapidocr"
    device: Annotated[str, Field(description="where the model runs: auto, cpu, cuda ...")] = RecognizerOptions.device
    precision: Annotated[Precision, Field(description="of the arithmetic")] = RecognizerOptions.precision
    batch_size: Annotated[int | None, Field(gt=0, description="words in one pass through the model")] = (
        RecognizerOptions.batch_size
    )
    confidence: Annotated[Confidence, Field(description="how a word's follows from those of its characters")] = (
        RecognizerOptions.confidence
    )
    charset: Annotated[str | None, Field(description="the only characters to read; all by default")] = None
    early_exit: Annotated[float | None, Field(ge=0, le=1, description="words read this surely are not corrected")] = (
        None
    )
    turn_tall: Annotated[bool | None, Field(description="read tall crops turned as well")] = None
    orientation: Annotated[Orientation, Field(description="which words are read in other directions, too")] = (
        ReadOptions.orientation
    )
    other_views: Annotated[bool, Field(description="read doubtful words again from other views")] = (
        ReadOptions.other_views
    )
    min_confidence: Annotated[float, Field(ge=0, le=1, description="words read less surely are left out")] = (
        ReadOptions.min_confidence
    )
    keep_doubtful: Annotated[bool, Field(description="keep them all the same")] = ReadOptions.keep_doubtful

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    def options(self) -> dict[str, Any]:
        """All but the model and the detector, as `clip4str_plugin.Reader` takes them."""
        return {name: getattr(self, name) for name in Settings.model_fields if name not in ("model", "detector")}
