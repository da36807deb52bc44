"""OpenVINO without its conversion tools, which take a third of its import and report each one over the network."""

import sys
from typing import Any

__all__ = ["import_openvino"]

_TOOLS = "openvino.tools.ovc"


def import_openvino() -> Any:
    """Import ``openvino``; who calls its ``convert_model`` gets the tools, and their reports, then.

    Raises:
        ImportError: it is not installed.
    """
    if "openvino" not in sys.modules:
        sys.modules[_TOOLS] = None  # type: ignore[assignment]  # as if they were not installed
        try:
            import openvino
        finally:
            del sys.modules[_TOOLS]
        openvino.convert_model = _convert_model
    import openvino

    return openvino


def _convert_model(*args: Any, **options: Any) -> Any:
    from openvino.tools.ovc import convert_model

    return convert_model(*args, **options)
