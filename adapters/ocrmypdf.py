"""OCRmyPDF: CLIP4STR as an OCR engine, found through OCRmyPDF's plugin system.

On the command line ``ocrmypdf --ocr-engine clip4str scan.pdf readable.pdf``, in Python
``ocrmypdf.ocr("scan.pdf", "readable.pdf", ocr_engine="clip4str", clip4str_model="tiny")``. Without that choice
everything stays as it is: Tesseract reads. With it, neither Tesseract nor Ghostscript need be installed.

OCRmyPDF imports this module whenever it starts, so it must not load anything: the engine is in
:mod:`clip4str_adapters.ocrmypdf_engine`.
"""

from collections.abc import Callable
from typing import Annotated, Any

from ocrmypdf import hookimpl
from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ENGINE", "HOST", "Clip4StrOptions"]

HOST = "ocrmypdf"

# What `--ocr-engine` calls us.
ENGINE = "clip4str"


class Clip4StrOptions(BaseModel):
    """Settings of the engine; on the command line ``--clip4str-model`` and so on."""

    model: Annotated[str, Field(description="name or path of a CLIP4STR model")] = "tiny"
    detector: Annotated[str, Field(description="text detector, e.g. rapidocr or doctr:fast_base")] = "rapidocr"
    device: Annotated[str, Field(description="where the model runs: cpu, cuda ...")] = "cpu"
    batch_size: Annotated[int, Field(gt=0, description="words in one pass through the model")] = 32
    # As clip4str_plugin.reading.reader.MIN_CONFIDENCE, which takes long to import.
    min_confidence: Annotated[float, Field(ge=0, le=1, description="words read less surely are left out")] = 0.5

    model_config = ConfigDict(protected_namespaces=())


@hookimpl
def initialize(plugin_manager: Any) -> None:
    """Let OCRmyPDF look for Tesseract only where Tesseract is to read; by itself it insists on it always."""
    for check in plugin_manager.hook.check_options.get_hookimpls():
        if check.plugin_name == "ocrmypdf.builtin_plugins.tesseract_ocr":
            # Changed in place: registering the plugin anew would put it before others.
            check.function = _unless_ours(check.function)


def _unless_ours(check: Callable[..., None]) -> Callable[..., None]:
    def check_options(options: Any) -> None:
        if options.ocr_engine != ENGINE:
            check(options)

    return check_options


@hookimpl
def register_options() -> dict[str, type[BaseModel]]:
    """Tell OCRmyPDF about our settings: it gathers them in ``options.clip4str``."""
    return {ENGINE: Clip4StrOptions}


@hookimpl
def add_options(parser: Any) -> None:
    """Add our settings to the command line, and ourselves to the engines to choose from."""
    for action in parser._actions:  # OCRmyPDF fixes the list of engines and has no hook for it
        if "--ocr-engine" in action.option_strings and ENGINE not in action.choices:
            action.choices = [*action.choices, ENGINE]
    group = parser.add_argument_group("CLIP4STR", "Settings of --ocr-engine clip4str")
    for name, field in Clip4StrOptions.model_fields.items():
        option = f"--{ENGINE}-{name.replace('_', '-')}"
        group.add_argument(option, type=field.annotation, default=field.default, help=field.description)


@hookimpl(tryfirst=True)
def get_ocr_engine(options: Any) -> Any:
    """Give our engine to those who asked for it; None leaves the choice to others."""
    if options is None or options.ocr_engine != ENGINE:
        return None
    from clip4str_adapters.ocrmypdf_engine import ClipOcrEngine

    return ClipOcrEngine()
