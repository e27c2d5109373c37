"""The exceptions of this package, all below :class:`SandboxError`.

The seven of the original SDK have their names here: :class:`SandboxError`, :class:`SandboxNotFoundError`,
:class:`SSHConnectionError`, :class:`SandboxCreationError`, :class:`SandboxDeletionError`,
:class:`CommandExecutionError`, :class:`FileTransferError`. Where Python has a class for the same thing, such as
:class:`TimeoutError` or :class:`FileNotFoundError`, the exception is one of these as well.

What is needed to handle an error is in its fields. Texts in them can come from inside a sandbox, and are untrusted.
"""

from __future__ import annotations

__all__ = [
    "BackendError",
    "ClosedError",
    "CommandExecutionError",
    "CommandTimeoutError",
    "ConfigError",
    "FileTransferError",
    "ForkError",
    "InvalidArgumentError",
    "OperationTimeoutError",
    "PoolEmptyError",
    "RefusedError",
    "SSHConnectionError",
    "SandboxCreationError",
    "SandboxCreationTimeoutError",
    "SandboxDeletionError",
    "SandboxError",
    "SandboxExistsError",
    "SandboxFileExistsError",
    "SandboxFileNotFoundError",
    "SandboxNotFoundError",
    "SandboxPermissionError",
    "UnsupportedError",
]


class SandboxError(Exception):
    """Something failed. ``str()`` of it is one sentence with the causes behind it.

    >>> from sandbox_sdk import SandboxError
    >>> error = SandboxError("it cannot be reached", causes=("connection refused",), is_retryable=True)
    >>> str(error), error.is_retryable
    ('it cannot be reached: connection refused', True)
    """

    message: str
    """The sentence, without the causes."""
    sandbox_id: str | None = None
    """The id of the sandbox, if the error is about one."""
    causes: tuple[str, ...] = ()
    """The causes, the direct one first."""
    is_retryable: bool = False
    """Whether the same call may succeed later. Never true of a command: whether to repeat one is the caller's
    decision."""
    retry_after: float | None = None
    """How many seconds to wait before a retry, if the error is retryable."""

    def __init__(self, message: str = "", **fields: object) -> None:
        super().__init__(message)
        self.message = message
        for name, value in fields.items():
            if name.startswith("_") or not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} has no field {name!r}")
            setattr(self, name, value)

    def __str__(self) -> str:
        text = self.message
        for cause in self.causes:
            if cause not in text:
                text += f": {cause}"
        return text


class SandboxNotFoundError(SandboxError):
    """There is no such sandbox, or it has ended and was removed."""


class SandboxExistsError(SandboxError):
    """There is already a sandbox with this name."""


class SandboxCreationError(SandboxError):
    """A sandbox could not be created. Nothing is left behind."""

    stage: str | None = None
    """What failed: ``provision``, ``connect``, ``isolate`` or ``personalise``."""
    reason: str | None = None
    """The kind of failure: ``image-pull``, ``unschedulable``, ``quota``, ``rejected``, ``isolation``,
    ``not-enforced``, ``crashed``, ``unreachable``, ``setup``, ``timeout``, ``evicted``, ``unavailable`` or
    ``other``."""
    events: tuple[str, ...] = ()
    """The latest events, oldest first."""
    log_tail: str = ""
    """The last lines of the log of its SSH server."""


class SandboxCreationTimeoutError(SandboxCreationError, TimeoutError):
    """A creation took longer than its ``create_timeout``."""


class PoolEmptyError(SandboxError):
    """No sandbox waited in a pool that creates none for a caller, or the pool was closed."""

    reason: str | None = None
    """Why the pool's latest creation failed, as in :attr:`SandboxCreationError.reason`."""


class SandboxDeletionError(SandboxError):
    """A sandbox could not be deleted, and may still exist."""


class SSHConnectionError(SandboxError, ConnectionError):
    """A connection could not be opened, or was lost."""

    stage: str | None = None
    """What failed: ``dial``, ``host-key``, ``auth`` or ``channel``."""
    diagnosis: str | None = None
    """What has happened to the sandbox, according to its backend."""


class CommandExecutionError(SandboxError):
    """A command could not be run to its end, or it failed and ``check=True`` made that an error."""

    reason: str | None = None
    """How: ``failed`` (it did not end with 0), ``not-started``, ``timed-out``, ``lost`` (the connection was lost before
    the end; the command may have done its work, and was not repeated) or ``already-ended``."""
    cmd: object = None
    """The command, as it was passed."""
    returncode: int | None = None
    """The exit code, or minus the number of the signal that ended it."""
    stdout: bytes | str | None = None
    """Its standard output, if it failed."""
    stderr: bytes | str | None = None
    """Its standard error, if it failed."""


class CommandTimeoutError(CommandExecutionError, TimeoutError):
    """A command ran longer than its ``timeout``, and was killed."""

    timeout: float | None = None
    """The timeout in seconds."""
    is_killed: bool = False
    """Whether the process group was killed. Otherwise it may still be running."""


class FileTransferError(SandboxError):
    """A file could not be transferred or changed."""

    direction: str | None = None
    """``upload``, ``download``, or ``inside`` if the file was read or changed in the sandbox."""
    reason: str | None = None
    """The kind of failure: ``not-found``, ``permission-denied``, ``already-exists``, ``no-space``, ``bad-name``,
    ``size-changed``, ``too-large``, ``lost`` or ``other``."""
    path: str | None = None
    """The path, on the side where it failed."""


class SandboxFileNotFoundError(FileTransferError, FileNotFoundError):
    """There is no such file."""


class SandboxPermissionError(FileTransferError, PermissionError):
    """Permission was denied."""


class SandboxFileExistsError(FileTransferError, FileExistsError):
    """The file already exists."""


class ConfigError(SandboxError, ValueError):
    """The settings are invalid. The message has a line for each mistake."""


class InvalidArgumentError(SandboxError, ValueError):
    """An argument is invalid."""

    argument: str | None = None
    """The name of the argument."""
    value: str | None = None
    """Its value; secrets are replaced."""


class UnsupportedError(SandboxError):
    """The backend, the server or the system cannot do this."""

    operation: str | None = None
    """What was asked for."""
    hint: str | None = None
    """What to do instead."""


class RefusedError(SandboxError):
    """The server in the sandbox refuses a request, for example while the sandbox is paused."""

    reason: str | None = None
    """The kind of refusal, such as ``paused`` or ``limit-reached``."""


class OperationTimeoutError(SandboxError, TimeoutError):
    """An operation took too long."""

    operation: str | None = None
    """The operation, as a noun phrase."""
    timeout: float | None = None
    """The timeout in seconds."""


class BackendError(SandboxError):
    """The backend, or the system that it uses, failed."""

    backend: str | None = None
    """The backend: ``local`` or ``k8s``."""
    operation: str | None = None
    """What it could not do, as a verb phrase."""


class ClosedError(SandboxError):
    """The object was closed, so nothing more can be done with it."""


class ForkError(SandboxError):
    """This process was forked from one that uses this package, and has none of its connections.

    Start the process anew instead, with ``multiprocessing.set_start_method("spawn")``.
    """
