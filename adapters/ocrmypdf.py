"""OCRmyPDF: CLIP4STR as an OCR engine, found through OCRmyPDF's plugin system.

On the command line ``ocrmypdf --ocr-engine clip4str scan.pdf readable.pdf``, in Python
``ocrmypdf.ocr("scan.pdf", "readable.pdf", ocr_engine="clip4str", clip4str_model="tiny")``. Without that choice
everything stays as it is: Tesseract reads. With it, neither Tesseract nor Ghostscript need be installed.

OCRmyPDF imports this module whenever it starts, so it must not load anything: the engine is in
`clip4str_adapters.ocrmypdf_engine`.
"""

from collections.abc import Callable
from typing import Any, get_args

from ocrmypdf import hookimpl
from pydantic import BaseModel, TypeAdapter

from clip4str_adapters._settings import Settings

__all__ = ["ENGINE", "HOST", "Clip4StrOptions"]

HOST = "ocrmypdf"

# What `--ocr-engine` calls us.
ENGINE = "clip4str"


class Clip4StrOptions(Settings):
    """Settings of the engine; on the command line ``--clip4str-model`` and so on."""


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
        kinds = [kind for kind in get_args(field.annotation) or (field.annotation,) if kind is not type(None)]
        choices = kinds if isinstance(kinds[0], str) else None
        parse = str if choices else {bool: TypeAdapter(bool).validate_python}.get(kinds[0], kinds[0])
        group.add_argument(option, type=parse, choices=choices, default=field.default, help=field.description)


@hookimpl(tryfirst=True)
def get_ocr_engine(options: Any) -> Any:
    """Give our engine to those who asked for it; None leaves the choice to others."""
    if options is None or options.ocr_engine != ENGINE:
        return None
    from clip4str_adapters.ocrmypdf_engine import ClipOcrEngine

    return ClipOcrEngine()
