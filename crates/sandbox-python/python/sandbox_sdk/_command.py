"""Finds the programs of the same wheel: the command `sandbox`, from which local sandboxes are started, and the servers
for Pods."""

from __future__ import annotations

import functools
import os
import sysconfig

DISTRIBUTION = "sandbox-sdk"
NAME = "sandbox"


@functools.lru_cache(maxsize=1)
def find_command() -> str | None:
    """The path of the command; ``None`` if this package was not installed from a wheel."""
    for path in (_installed_path(), os.path.join(sysconfig.get_path("scripts"), NAME)):
        if path is not None and os.access(path, os.X_OK):
            return path
    return None


def find_servers() -> str | None:
    """The directory of the servers that are uploaded into Pods; ``None`` if the wheel has none."""
    path = os.path.join(os.path.dirname(__file__), "servers")
    return path if os.path.isdir(path) else None


def _installed_path() -> str | None:
    """Where the installer put it, as it has noted: the user's directory, that of an environment, or any other."""
    # Importing this takes longer than importing the package.
    from importlib.metadata import PackageNotFoundError, files

    try:
        installed = files(DISTRIBUTION) or []
    except PackageNotFoundError:
        return None
    for file in installed:
        if file.name == NAME and file.parts[0] == "..":
            return os.path.realpath(os.fspath(file.locate()))
    return None
