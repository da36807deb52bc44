"""Plugins found through entry points; a broken one never affects the others.

An entry point is a line in the metadata of an installed distribution: group, name and the object behind the name.
Listing them imports nothing; only `Plugin.load` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from clip4str_plugin.errors import HostError

__all__ = ["Plugin", "find_plugins", "import_host"]


@dataclass(frozen=True)
class Plugin:
    """One entry point of one installed distribution.

    Attributes:
        group: the entry-point group, e.g. ``"clip4str.detectors"``.
        name: the name inside the group.
        value: what it points to, ``"package.module:attribute"`` or ``"package.module"``.
        distribution: name of the distribution that declares it.
        version: version of that distribution.
    """

    group: str
    name: str
    value: str
    distribution: str
    version: str
    _entry_point: EntryPoint = field(repr=False, compare=False)

    def load(self) -> Any:
        """Import and return the object behind the entry point; whatever its import raises goes through."""
        return self._entry_point.load()

    def problem(self) -> str | None:
        """Say in one line why the plugin cannot be used here; None if it can.

        The module is imported. One that serves a host names the host's import package in a module attribute ``HOST``,
        which lets a missing host be told from a working plugin without loading the host.
        """
        from importlib.util import find_spec

        try:
            self.load()
            host = getattr(import_module(self._entry_point.module), "HOST", None)
            if host is not None and find_spec(host) is None:
                return f"{host} is not installed"
        except BaseException as error:  # a plugin may even call sys.exit() while it is imported
            if isinstance(error, KeyboardInterrupt):
                raise
            return f"{type(error).__name__}: {error}".splitlines()[0]
        return None


def find_plugins(group: str, name: str | None = None) -> list[Plugin]:
    """List the installed entry points of a group, sorted by name, importing none of them.

    >>> from clip4str_plugin.plugins import find_plugins
    >>> [(plugin.name, plugin.distribution) for plugin in find_plugins("clip4str.detectors", "rapidocr")]
    [('rapidocr', 'clip4str-plugin')]

    Args:
        group: the entry-point group.
        name: only the entry points of this name.
    """
    chosen = entry_points(group=group) if name is None else entry_points(group=group, name=name)
    found = [
        Plugin(
            group,
            entry.name,
            entry.value,
            entry.dist.name if entry.dist else "unknown",
            entry.dist.version if entry.dist else "unknown",
            entry,
        )
        for entry in chosen
    ]
    return sorted(found, key=lambda plugin: (plugin.name, plugin.distribution))


def import_host(module: str, extra: str) -> Any:
    """Import a module of a host, with the remedy in the error if the host is missing or broken.

    Args:
        module: dotted name of the host's module.
        extra: the extra of this package that installs the host.

    Raises:
        HostError: the module cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise HostError(
            f"cannot import {module} ({error}); install its host: pip install 'clip4str-plugin[{extra}]'"
        ) from error
