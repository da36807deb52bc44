"""A web page and an HTTP service around a reader, started by ``clip4str serve``; needs the extra ``serve``."""

from clip4str_plugin.service.app import create_app
from clip4str_plugin.service.limits import Limits

__all__ = ["Limits", "create_app"]
