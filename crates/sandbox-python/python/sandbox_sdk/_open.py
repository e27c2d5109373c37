"""Sandboxes that end with this program, so that none is lost without a warning."""

from __future__ import annotations

import atexit
import warnings
import weakref
from typing import Protocol

from . import _sandbox


class Owner(Protocol):
    """A handle of a sandbox that this program has created."""

    def _describe(self) -> str: ...


_open: weakref.WeakSet[Owner] = weakref.WeakSet()


def add(owner: Owner) -> None:
    _open.add(owner)


def discard(owner: Owner) -> None:
    _open.discard(owner)


def warn(owner: Owner, when: str) -> None:
    """Say that a sandbox was not deleted."""
    warnings.warn(
        f"{when}: {owner._describe()}; it ends by itself soon. Use `with`, or call delete(), or create it with "
        "detached=True to keep it",
        ResourceWarning,
        source=owner,
        stacklevel=3,
    )


@atexit.register
def _exit() -> None:
    # A forked child has neither the sandboxes nor the threads of its parent.
    if _sandbox.is_forked():
        return
    for owner in list(_open):
        _open.discard(owner)
        warn(owner, "the program exits with an open sandbox")
    _sandbox.begin_exit()
