"""Sandboxes as the file system and the shell of `Deep Agents <https://docs.langchain.com/oss/python/deepagents>`_.

.. code-block:: python

    from deepagents import create_deep_agent
    from sandbox_sdk import Client
    from sandbox_sdk.adapters.deepagents import SandboxBackend

    with Client() as client, client.create() as sandbox:
        agent = create_deep_agent(model=model, backend=SandboxBackend(sandbox))

It needs ``pip install 'sandbox-sdk[deepagents]'`` here, and ``/bin/sh`` and ``python3`` in the sandbox: searches,
edits and reads of parts of files are programs of Deep Agents that run there.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from .._arguments import Duration, seconds
from ..async_process import AsyncProcess
from ..async_sandbox import AsyncSandbox
from ..exceptions import (
    CommandTimeoutError,
    FileTransferError,
    InvalidArgumentError,
    SandboxError,
    SandboxFileExistsError,
    SandboxFileNotFoundError,
    SandboxPermissionError,
)
from ..process import Process
from ..sandbox import Sandbox
from ._output import OutputWindow

try:
    from deepagents.backends.protocol import (
        ExecuteResponse,
        FileDownloadResponse,
        FileInfo,
        FileUploadResponse,
        LsResult,
    )
    from deepagents.backends.sandbox import BaseSandbox
except ImportError as error:
    raise ImportError(
        f"{error}: sandbox_sdk.adapters.deepagents needs Deep Agents; pip install 'sandbox-sdk[deepagents]'",
        name=error.name,
    ) from error

if TYPE_CHECKING:
    from .. import types

__all__ = ["SandboxBackend"]

TIMEOUT_EXIT_CODE = 124
"""The exit code of a command that was killed after its timeout, as of timeout(1)."""
ERROR_EXIT_CODE = 125
"""The exit code if the sandbox cannot run commands, as of docker."""
DOWNLOAD_LIMIT = 256 << 20
"""The largest file that is downloaded into memory, in bytes."""


class SandboxBackend(BaseSandbox):
    """A sandbox as the backend of an agent. It stays as it is at the end of the agent: who has created it deletes it.

    The asynchronous methods use the event loop and no threads, and cancelling one ends its command.

    :param sandbox: the sandbox, as :class:`sandbox_sdk.Client` or :class:`sandbox_sdk.AsyncClient` creates it.
    :param working_dir: where commands run; the home directory if it is not given.
    :param timeout: how many seconds a command may take that has no timeout of its own; ``None`` for any number.
    :param output_cap: how many bytes of the output of a command are kept: the first and the last half of that.
    """

    def __init__(
        self,
        sandbox: Sandbox | AsyncSandbox,
        *,
        working_dir: str | None = None,
        timeout: Duration | None = 1800,
        output_cap: int = 4 << 20,
    ) -> None:
        # Two handles of one connection, which belong to the caller's.
        raw = sandbox._raw
        self._sandbox = Sandbox(raw, is_owner=False)
        self._async_sandbox = AsyncSandbox(raw, is_owner=False)
        self._owner = sandbox
        self._working_dir = working_dir
        self._timeout = seconds(timeout, "timeout")
        self._output_cap = output_cap

    @property
    def id(self) -> str:
        """The id of the sandbox."""
        return self._owner.id

    @property
    def sandbox(self) -> Sandbox | AsyncSandbox:
        """The sandbox that it was given."""
        return self._owner

    def execute(self, command: str, *, timeout: int | None = None) -> ExecuteResponse:
        """Run a line of the shell. Its output is both streams, in the order in which they were written; bytes that are
        not UTF-8 become U+FFFD.

        A command that is killed after its timeout has 124 as its exit code, and one that could not be run to its end
        125; the output says why. A signal is 128 plus its number, as in a shell.

        :param timeout: how many seconds it may take; 0 for any number.
        :raises ValueError: the timeout is negative.
        """
        output = OutputWindow(self._output_cap)
        limit = self._limit(timeout)
        try:
            with self._sandbox.popen(_merged(command), shell=True, cwd=self._working_dir, timeout=limit) as process:
                for chunk in process:
                    output.add(chunk.data)
            return _response(output, process)
        except SandboxError as error:
            return _failure(output, error)

    async def aexecute(self, command: str, *, timeout: int | None = None) -> ExecuteResponse:
        """As :meth:`execute`."""
        output = OutputWindow(self._output_cap)
        limit = self._limit(timeout)
        try:
            process = await self._async_sandbox.popen(
                _merged(command), shell=True, cwd=self._working_dir, timeout=limit
            )
            async with process:
                async for chunk in process:
                    output.add(chunk.data)
            return _response(output, process)
        except SandboxError as error:
            return _failure(output, error)

    def upload_files(self, files: list[tuple[str, bytes]]) -> list[FileUploadResponse]:
        """Write files, and create the directories above them. Each is replaced at once, with its mode.

        :returns: for each file how that went: ``invalid_path`` if its path is not absolute, ``is_directory``,
            ``permission_denied``, or what the error says.
        """
        responses = []
        for path, content in files:
            error = _path_error(path)
            if error is None:
                try:
                    self._upload(path, content)
                except SandboxError as failed:
                    error = _error_code(failed, self._is_directory(path))
            responses.append(FileUploadResponse(path=path, error=error))
        return responses

    async def aupload_files(self, files: list[tuple[str, bytes]]) -> list[FileUploadResponse]:
        """As :meth:`upload_files`."""
        responses = []
        for path, content in files:
            error = _path_error(path)
            if error is None:
                try:
                    await self._aupload(path, content)
                except SandboxError as failed:
                    error = _error_code(failed, await self._ais_directory(path))
            responses.append(FileUploadResponse(path=path, error=error))
        return responses

    def download_files(self, paths: list[str]) -> list[FileDownloadResponse]:
        """Read files of at most 256 MiB.

        :returns: for each file its content, or how it failed: ``invalid_path`` if its path is not absolute,
            ``file_not_found``, ``is_directory``, ``permission_denied``, or what the error says.
        """
        responses = []
        for path in paths:
            content, error = None, _path_error(path)
            if error is None:
                try:
                    error = _content_error(self._sandbox.stat(path))
                    content = None if error else self._sandbox.read_bytes(path)
                except SandboxError as failed:
                    error = _error_code(failed, is_directory=False)
            responses.append(FileDownloadResponse(path=path, content=content, error=error))
        return responses

    async def adownload_files(self, paths: list[str]) -> list[FileDownloadResponse]:
        """As :meth:`download_files`."""
        responses = []
        for path in paths:
            content, error = None, _path_error(path)
            if error is None:
                try:
                    error = _content_error(await self._async_sandbox.stat(path))
                    content = None if error else await self._async_sandbox.read_bytes(path)
                except SandboxError as failed:
                    error = _error_code(failed, is_directory=False)
            responses.append(FileDownloadResponse(path=path, content=content, error=error))
        return responses

    def ls(self, path: str) -> LsResult:
        """List a directory, with sizes and times. It needs no program in the sandbox."""
        try:
            return LsResult(entries=[_entry(path, info) for info in self._sandbox.listdir(path)])
        except SandboxError as error:
            return LsResult(error=_ls_error(path, error))

    async def als(self, path: str) -> LsResult:
        """As :meth:`ls`."""
        try:
            return LsResult(entries=[_entry(path, info) for info in await self._async_sandbox.listdir(path)])
        except SandboxError as error:
            return LsResult(error=_ls_error(path, error))

    def _limit(self, timeout: int | None) -> float | None:
        if timeout is None:
            return self._timeout
        if timeout < 0:
            raise ValueError(f"timeout must not be negative, and is {timeout}")
        return float(timeout) if timeout else None

    def _upload(self, path: str, content: bytes) -> None:
        try:
            self._sandbox.write_bytes(path, content)
        except SandboxFileNotFoundError:
            self._sandbox.mkdir(posixpath.dirname(path), parents=True)
            self._sandbox.write_bytes(path, content)

    async def _aupload(self, path: str, content: bytes) -> None:
        try:
            await self._async_sandbox.write_bytes(path, content)
        except SandboxFileNotFoundError:
            await self._async_sandbox.mkdir(posixpath.dirname(path), parents=True)
            await self._async_sandbox.write_bytes(path, content)

    def _is_directory(self, path: str) -> bool:
        try:
            return self._sandbox.stat(path).is_dir
        except SandboxError:
            return False

    async def _ais_directory(self, path: str) -> bool:
        try:
            return (await self._async_sandbox.stat(path)).is_dir
        except SandboxError:
            return False


def _merged(command: str) -> str:
    """The line with standard error in its standard output."""
    return f"exec 2>&1\n{command}"


def _response(output: OutputWindow, process: Process[bytes] | AsyncProcess[bytes]) -> ExecuteResponse:
    code = process.returncode
    return ExecuteResponse(
        output=output.text(),
        exit_code=code if code is None or code >= 0 else 128 - code,
        truncated=output.dropped > 0,
    )


def _failure(output: OutputWindow, error: SandboxError) -> ExecuteResponse:
    """The response for a command that was not run to its end, with what it has written until then."""
    if isinstance(error, CommandTimeoutError):
        code, reason = TIMEOUT_EXIT_CODE, f"the command was killed after {error.timeout:g} s"
    else:
        code, reason = ERROR_EXIT_CODE, f"the command was not run to its end: {error}"
    text = output.text()
    lines = f"{text}\n{reason}" if text else reason
    return ExecuteResponse(output=lines, exit_code=code, truncated=output.dropped > 0)


def _path_error(path: str) -> str | None:
    return None if path.startswith("/") and "\0" not in path else "invalid_path"


def _content_error(info: types.FileInfo) -> str | None:
    """Why a file cannot be downloaded, before it is read."""
    if info.is_dir:
        return "is_directory"
    if not info.is_file:
        # Reading from a pipe or a device may have no end.
        return "it is not a regular file"
    return f"it is larger than {DOWNLOAD_LIMIT} bytes" if info.size > DOWNLOAD_LIMIT else None


def _error_code(error: SandboxError, is_directory: bool) -> str:
    """The code that agents know, or the text."""
    if is_directory:
        return "is_directory"
    if isinstance(error, SandboxFileNotFoundError):
        return "file_not_found"
    if isinstance(error, SandboxPermissionError):
        return "permission_denied"
    is_bad_name = isinstance(error, FileTransferError) and error.reason == "bad-name"
    if is_bad_name or isinstance(error, (InvalidArgumentError, SandboxFileExistsError)):
        return "invalid_path"
    return str(error)


def _entry(path: str, info: types.FileInfo) -> FileInfo:
    # Its name comes from the sandbox, and may not be UTF-8.
    name = info.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    entry = FileInfo(path=posixpath.join(path, name), is_dir=info.is_dir, size=info.size)
    if info.modified is not None:
        entry["modified_at"] = info.modified.isoformat()
    return entry


def _ls_error(path: str, error: SandboxError) -> str:
    codes: dict[type[SandboxError], str] = {
        SandboxFileNotFoundError: "path_not_found",
        SandboxPermissionError: "permission_denied",
    }
    return f"Path '{path}': {codes.get(type(error), str(error))}"
