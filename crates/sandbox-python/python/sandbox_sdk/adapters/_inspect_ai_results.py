"""Results and errors as Inspect wants them."""

from __future__ import annotations

import errno
from typing import NoReturn

from inspect_ai.util import (
    ExecResult,
    OutputLimitExceededError,
    SandboxEnvironmentLimits,
    SandboxUnavailableError,
    SandboxUserUnsupportedError,
)

from ..exceptions import (
    FileTransferError,
    InvalidArgumentError,
    RefusedError,
    SandboxError,
    SandboxFileExistsError,
    SandboxFileNotFoundError,
    SandboxNotFoundError,
    SandboxPermissionError,
    SSHConnectionError,
    UnsupportedError,
)
from ..types import CompletedProcess, FileInfo


def exec_result(cmd: list[str], done: CompletedProcess[bytes], limit: int) -> ExecResult[str]:
    stdout, stderr = _last(done.stdout, limit), _last(done.stderr, limit)
    if len(done.stdout) > limit or len(done.stderr) > limit:
        raise OutputLimitExceededError(SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE_STR, stdout + stderr)
    # What the server returns for a program that it cannot start, as shells do.
    if done.returncode == 126 and "permission denied" in stderr.lower():
        raise PermissionError(errno.EACCES, "Permission denied", cmd[0])
    # A signal is 128 plus its number, as in a shell.
    code = done.returncode if done.returncode >= 0 else 128 - done.returncode
    return ExecResult(success=code == 0, returncode=code, stdout=stdout, stderr=stderr)


def _last(data: bytes, limit: int) -> str:
    return data[max(len(data) - limit, 0) :].decode("utf-8", "replace")


def check_regular(info: FileInfo, file: str) -> None:
    if info.is_dir:
        raise IsADirectoryError(errno.EISDIR, "Is a directory", file)
    if not info.is_file:
        # Reading from a pipe or a device may have no end.
        raise OSError(errno.EINVAL, "Not a regular file", file)


def check_size(size: int) -> None:
    if size > SandboxEnvironmentLimits.MAX_READ_FILE_SIZE:
        raise OutputLimitExceededError(SandboxEnvironmentLimits.MAX_READ_FILE_SIZE_STR, None)


def raise_file_error(error: SandboxError, file: str) -> NoReturn:
    """Raise the exception that Inspect wants, with the path that it knows."""
    raise_if_unavailable(error)
    if isinstance(error, SandboxFileNotFoundError):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", file) from error
    if isinstance(error, SandboxPermissionError):
        raise PermissionError(errno.EACCES, "Permission denied", file) from error
    if isinstance(error, SandboxFileExistsError):
        raise NotADirectoryError(errno.ENOTDIR, "Not a directory", file) from error
    if isinstance(error, FileTransferError) and error.reason == "too-large":
        raise OutputLimitExceededError(SandboxEnvironmentLimits.MAX_READ_FILE_SIZE_STR, None) from error
    raise error


def raise_if_unavailable(error: SandboxError) -> None:
    is_lost = getattr(error, "reason", None) == "lost"
    if is_lost or isinstance(error, (SandboxNotFoundError, SSHConnectionError)):
        raise SandboxUnavailableError(str(error)) from error


def raise_if_user_unsupported(error: SandboxError, user: str) -> None:
    is_unknown = isinstance(error, RefusedError) and error.reason == "unknown-user"
    is_invalid = isinstance(error, InvalidArgumentError) and error.argument == "user"
    if is_unknown or is_invalid or isinstance(error, UnsupportedError):
        raise SandboxUserUnsupportedError(f"cannot run as user {user!r}: {error}") from error
