"""The errors that are raised on purpose; each message names the input and the remedy."""

__all__ = [
    "CheckpointError",
    "Clip4StrError",
    "DatasetError",
    "DetectorError",
    "DownloadError",
    "EngineError",
    "ExportError",
    "HostError",
    "ImageError",
    "PolygonError",
]


class Clip4StrError(Exception):
    """Base of every error this package raises on purpose."""


class CheckpointError(Clip4StrError, ValueError):
    """A weight file is unreadable, unsafe or does not fit the model."""


class DownloadError(Clip4StrError, OSError):
    """Published weights could not be fetched or are damaged."""


class ImageError(Clip4StrError, ValueError):
    """An image, page or crop cannot be used."""


class PolygonError(Clip4StrError, ValueError):
    """A polygon does not enclose a readable region."""


class DetectorError(Clip4StrError):
    """A detector is unknown or cannot be loaded."""


class HostError(Clip4StrError, ImportError):
    """A host that an adapter serves is not installed or cannot be imported."""


class DatasetError(Clip4StrError, ValueError):
    """A set of labelled crops is missing or damaged."""


class ExportError(Clip4StrError, ValueError):
    """A model cannot be exported as asked."""


class EngineError(Clip4StrError, ValueError):
    """A precision or an engine is not available on this machine."""
