"""What blocking and asyncio handles of sandboxes share: who must delete the sandbox, and the forms of results."""

from __future__ import annotations

from typing import Any

from . import _checks, _open, _sandbox
from ._process_state import plain_lines
from ._sandbox import RawSandbox
from .exceptions import ClosedError
from .types import CompletedProcess, SandboxInfo


class SandboxState:
    """A handle of a sandbox."""

    def __init__(self, raw: RawSandbox, *, is_owner: bool, is_detached: bool = False) -> None:
        self._handle: RawSandbox | None = raw
        self._id = raw.id
        self._uid = raw.uid
        self._is_owner = is_owner
        self._is_open = is_owner and not is_detached
        if self._is_open:
            _open.add(self)

    @property
    def id(self) -> str:
        """Its id, with which :meth:`Client.get` finds it."""
        return self._id

    @property
    def uid(self) -> str:
        """The id of this instance. An ``id`` can be reused, a ``uid`` cannot."""
        return self._uid

    @property
    def initial_info(self) -> SandboxInfo:
        """Its description from when this handle was opened, without a request."""
        return SandboxInfo._from(self._raw.known_info())

    @property
    def _raw(self) -> RawSandbox:
        # Read once: another thread may close it.
        handle = self._handle
        if handle is None:
            raise ClosedError(f"the handle of sandbox {self._id} is closed", sandbox_id=self._id)
        return handle

    def _release(self) -> None:
        """The sandbox was deleted, or given up on purpose."""
        self._is_open = False
        _open.discard(self)

    def _close(self) -> None:
        self._release()
        self._handle = None

    def _describe(self) -> str:
        return f"sandbox {self._id} was not deleted"

    def __del__(self) -> None:
        if getattr(self, "_is_open", False) and not _sandbox.is_forked():
            _open.warn(self, "a sandbox was forgotten")

    def __repr__(self) -> str:
        state = " closed" if self._handle is None else ""
        return f"<{type(self).__name__} {self._id}{state}>"


def text_form(text: bool, encoding: str | None, errors: str | None) -> tuple[str | None, str]:
    """The encoding of texts, if the caller wants texts. A sandbox can send any bytes, so by default those that are none
    become U+FFFD."""
    _checks.encoding(encoding, errors)
    wants_text = text or encoding is not None or errors is not None
    return (encoding or "utf-8" if wants_text else None), errors or "replace"


def completed(
    args: Any, found: tuple[Any, ...], encoding: str | None, errors: str, check: bool
) -> CompletedProcess[Any]:
    code, stdout, stderr, stdout_dropped, stderr_dropped, held, truncated = found
    if encoding is not None:
        stdout = plain_lines(stdout.decode(encoding, errors))
        stderr = plain_lines(stderr.decode(encoding, errors))
    done = CompletedProcess(args, code, stdout, stderr, stdout_dropped, stderr_dropped, held, truncated)
    if check:
        done.check_returncode()
    return done
