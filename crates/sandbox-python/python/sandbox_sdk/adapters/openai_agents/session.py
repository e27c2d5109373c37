"""A session: commands, files and the workspace of one sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import tempfile
from pathlib import Path
from typing import Any, NoReturn, cast

from agents.sandbox.errors import (
    ExecTimeoutError,
    ExposedPortUnavailableError,
    WorkspaceArchiveReadError,
    WorkspaceArchiveWriteError,
    WorkspaceReadNotFoundError,
    WorkspaceStartError,
    WorkspaceWriteTypeError,
)
from agents.sandbox.session.base_sandbox_session import BaseSandboxSession
from agents.sandbox.session.pty_types import (
    PtyExecUpdate,
    clamp_pty_yield_time_ms,
    resolve_pty_write_yield_time_ms,
)
from agents.sandbox.session.runtime_helpers import RESOLVE_WORKSPACE_PATH_HELPER, RuntimeHelperScript
from agents.sandbox.types import ExecResult, ExposedPortEndpoint, User

from ... import AsyncSandbox, Forward, SandboxError, SandboxFileNotFoundError, SandboxNotFoundError
from . import archives
from .results import exec_error, exec_result
from .state import SdkSandboxSessionState
from .terminals import Terminal, Terminals

TERMINAL_SIZE = (80, 24)
"""Columns and rows of a new terminal."""
YIELD_TIME = 10.0
"""Seconds for which the output of a new command is waited for, unless the caller says how long."""
MEMORY_LIMIT = 16 << 20
"""The size in bytes of the largest file that is read into memory."""
WRITE_YIELD_TIME = 0.25
"""The same after input was written."""


logger = logging.getLogger(__name__)


class SdkSandboxSession(BaseSandboxSession):
    """The session of one sandbox. Created by :meth:`SdkSandboxClient.create` and :meth:`SdkSandboxClient.resume`."""

    state: SdkSandboxSessionState

    def __init__(
        self, *, state: SdkSandboxSessionState, sandbox: AsyncSandbox, workspace_limit: int, is_new: bool
    ) -> None:
        self.state = state
        self._sandbox = sandbox
        self._workspace_limit = workspace_limit
        self._is_new = is_new
        self._has_root = state.workspace_root_ready
        self._is_ended = False
        self._terminals = Terminals()
        self._forwards: dict[int, Forward] = {}

    # -- the life of the sandbox

    async def start(self) -> None:
        """Set up the workspace. If that fails or is cancelled, a sandbox that was created for it is deleted."""
        try:
            await super().start()
        except BaseException:
            if self._is_new:
                await self.end_sandbox(may_pause=False)
            raise
        self._is_new = False

    async def _prepare_backend_workspace(self) -> None:
        root = self._workspace_root_path()
        try:
            await self._sandbox.mkdir(root, parents=True)
        except SandboxError as error:
            raise WorkspaceStartError(path=root, cause=error, message=f"cannot create {root}: {error}") from error
        self._has_root = True

    def _mark_workspace_root_ready_from_probe(self) -> None:
        super()._mark_workspace_root_ready_from_probe()
        self._has_root = True

    async def running(self) -> bool:
        """Whether commands can be run: the workspace is there, and the sandbox runs and is not paused."""
        if self._is_ended or not self._has_root:
            return False
        try:
            info = await self._sandbox.info()
        except SandboxError:
            return False
        return info.state == "running" and not info.is_paused

    async def _shutdown_backend(self) -> None:
        await self.end_sandbox()

    async def end_sandbox(self, *, may_pause: bool = True) -> None:
        """Delete the sandbox; or pause it, if its options say so. If it cannot be paused, it is deleted."""
        if self._is_ended:
            return
        await self.pty_terminate_all()
        while self._forwards:
            self._forwards.popitem()[1].close()
        if may_pause and self.state.options.pause_on_exit:
            try:
                await self._sandbox.pause()
            except SandboxError as error:
                logger.warning("sandbox %s is deleted, because it cannot be paused: %s", self._sandbox.id, error)
            else:
                self._is_ended = True
                self._sandbox.close()
                return
        with contextlib.suppress(SandboxNotFoundError):
            await self._sandbox.delete()
        self._is_ended = True
        self._sandbox.close()

    # -- commands

    async def _exec_internal(self, *command: str | Path, timeout: float | None = None) -> ExecResult:
        if timeout is not None and timeout <= 0:
            raise ExecTimeoutError(command=command, timeout_s=timeout)
        argv, user = self._split(command)
        try:
            return exec_result(await self._sandbox.run(argv, user=user, timeout=timeout, **await self._place()))
        except SandboxError as error:
            raise exec_error(command, timeout, error) from error

    def _split(self, command: tuple[str | Path, ...]) -> tuple[list[str], str | None]:
        """A program with its arguments, and the user that the framework has put before it, if that is another one than
        the sandbox's own."""
        argv = [str(part) for part in command]
        if argv[:2] != ["sudo", "-u"] or argv[3:4] != ["--"]:
            return argv, None
        return argv[4:], None if argv[2] == self._sandbox.initial_info.user else argv[2]

    async def _place(self) -> dict[str, Any]:
        """Where commands run, and with which variables."""
        root = self._workspace_root_path() if self._has_root else None
        return {"cwd": root, "env": await self.state.manifest.environment.resolve()}

    def supports_pty(self) -> bool:
        return True

    async def pty_exec_start(
        self,
        *command: str | Path,
        timeout: float | None = None,
        shell: bool | list[str] = True,
        user: str | User | None = None,
        tty: bool = False,
        yield_time_s: float | None = None,
        max_output_tokens: int | None = None,
    ) -> PtyExecUpdate:
        """Start a command, and return what it writes within ``yield_time_s`` seconds, at most 1 MiB. If it runs on, the
        result has the number with which :meth:`pty_write_stdin` finds it."""
        argv, runner = self._split(tuple(self._prepare_exec_command(*command, shell=shell, user=user)))
        await self._terminals.make_room()
        try:
            process = await self._sandbox.popen(
                argv, user=runner, pty=TERMINAL_SIZE if tty else None, stdin=tty, timeout=timeout, **await self._place()
            )
            number = self._terminals.add(Terminal(process, is_tty=tty))
            seconds = YIELD_TIME if yield_time_s is None else yield_time_s
            wait = clamp_pty_yield_time_ms(int(seconds * 1000)) / 1000
            return await self._terminals.update(number, wait, max_output_tokens)
        except SandboxError as error:
            raise exec_error(command, timeout, error) from error

    async def pty_write_stdin(
        self,
        *,
        session_id: int,
        chars: str,
        yield_time_s: float | None = None,
        max_output_tokens: int | None = None,
    ) -> PtyExecUpdate:
        """Write to the terminal of a running command, and return what it writes afterwards."""
        terminal = self._terminals.find(session_id)
        seconds = WRITE_YIELD_TIME if yield_time_s is None else yield_time_s
        wait = resolve_pty_write_yield_time_ms(yield_time_ms=int(seconds * 1000), input_empty=not chars) / 1000
        try:
            if chars:
                await terminal.write(chars)
            return await self._terminals.update(session_id, wait, max_output_tokens)
        except SandboxError as error:
            raise exec_error(("write_stdin", str(session_id)), None, error) from error

    async def pty_terminate_all(self) -> None:
        """Kill all commands that run on."""
        await self._terminals.end_all()

    # -- files

    def _runtime_helpers(self) -> tuple[RuntimeHelperScript, ...]:
        return (RESOLVE_WORKSPACE_PATH_HELPER,)

    def _current_runtime_helper_cache_key(self) -> object | None:
        return self.state.sandbox_uid

    async def _validate_path_access(self, path: Path | str, *, for_write: bool = False) -> Path:
        return await self._validate_remote_path_access(path, for_write=for_write)

    async def read(self, path: Path, *, user: str | User | None = None) -> io.IOBase:
        """Read a file of the workspace. If it has more than 16 MiB, the result is a temporary file."""
        if user is not None:
            await self._check_read_with_exec(path, user=user)
        remote = await self._validate_path_access(path)
        try:
            with tempfile.TemporaryDirectory() as directory:
                local = Path(directory) / "content"
                done = await self._sandbox.download(remote, local)
                # Many callers leave it to the garbage collector to close it.
                if done.bytes <= MEMORY_LIMIT:
                    return io.BytesIO(await asyncio.to_thread(local.read_bytes))
                return cast(io.IOBase, local.open("rb"))
        except SandboxFileNotFoundError as error:
            raise WorkspaceReadNotFoundError(path=path, cause=error) from error
        except SandboxError as error:
            raise WorkspaceArchiveReadError(path=path, context={"reason": str(error)}, cause=error) from error

    async def write(self, path: Path, data: io.IOBase, *, user: str | User | None = None) -> None:
        """Write a file of the workspace, and the directories above it."""
        if user is not None:
            await self._check_write_with_exec(path, user=user)
        content = await asyncio.to_thread(data.read)
        if isinstance(content, str):
            content = content.encode()
        if not isinstance(content, (bytes, bytearray)):
            raise WorkspaceWriteTypeError(path=path, actual_type=type(content).__name__)
        remote = await self._validate_path_access(path, for_write=True)
        try:
            try:
                await self._sandbox.write_bytes(remote, content)
            except SandboxFileNotFoundError:
                await self._sandbox.mkdir(remote.parent, parents=True)
                await self._sandbox.write_bytes(remote, content)
        except SandboxError as error:
            raise WorkspaceArchiveWriteError(path=remote, context={"reason": str(error)}, cause=error) from error

    async def persist_workspace(self) -> io.IOBase:
        """Return the workspace as a tar archive, without what is ephemeral. Needs ``tar`` in the sandbox."""
        root, skip = self._workspace_root_path(), sorted(self._persist_workspace_skip_relpaths())
        return await archives.pack(self._sandbox, root, skip, self._workspace_limit)

    async def hydrate_workspace(self, data: io.IOBase) -> None:
        """Extract a tar archive into the workspace. Needs ``tar`` in the sandbox."""
        await archives.unpack(self._sandbox, self._workspace_root_path(), data, self._workspace_limit)
        self._has_root = True

    # -- ports

    async def _resolve_exposed_port(self, port: int) -> ExposedPortEndpoint:
        """Forward a port of the sandbox's loopback interface to one of this machine's, until the session ends."""
        try:
            if port not in self._forwards:
                forward = await self._sandbox.forward(port)
                if self._forwards.setdefault(port, forward) is not forward:
                    forward.close()
            host, local_port = self._forwards[port].address
        except SandboxError as error:
            self._refuse_port(port, error)
        return ExposedPortEndpoint(host=host, port=local_port, tls=False)

    def _refuse_port(self, port: int, error: SandboxError) -> NoReturn:
        raise ExposedPortUnavailableError(
            port=port,
            exposed_ports=self.state.exposed_ports,
            reason="backend_unavailable",
            context={"backend": "sandbox_sdk", "detail": str(error)},
            cause=error,
        ) from error
