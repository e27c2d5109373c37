"""Sandboxes that end with this program, so that none is lost without a warning."""

from __future__ import annotations

import atexit
import threading
import warnings
import weakref
from typing import Protocol

from . import _sandbox


class Owner(Protocol):
    """A handle of a sandbox that this program has created."""

    _is_open: bool

    def _describe(self) -> str: ...


_open: weakref.WeakSet[Owner] = weakref.WeakSet()
# A set must not grow while another thread lists it; a signal handler may create sandboxes, too.
_lock = threading.RLock()


def add(owner: Owner) -> None:
    with _lock:
        _open.add(owner)


def discard(owner: Owner) -> None:
    with _lock:
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
    with _lock:
        left = list(_open)
        _open.clear()
    for owner in left:
        # Once, not again when it is forgotten.
        owner._is_open = False
        warn(owner, "the program exits with an open sandbox")
    _sandbox.begin_exit()
