"""The commands of a sandbox, for asyncio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

from ._arguments import (
    Args,
    Duration,
    PopenOptions,
    RunOptions,
    StrPath,
    argv,
    command_options,
    content,
    line,
    stdin_option,
    terminal,
)
from ._calls import finish
from ._checks import text
from ._sandbox_state import SandboxState, completed, text_form
from .async_handles import AsyncJob
from .async_process import AsyncProcess
from .exceptions import CommandExecutionError
from .types import CompletedProcess, JobInfo

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AsyncSandboxCommands(SandboxState):
    """Commands: to run, to stream, and in the background."""

    @overload
    async def run(
        self,
        args: Args,
        *,
        input: bytes | None = None,
        text: Literal[False] = False,
        **options: Unpack[RunOptions],
    ) -> CompletedProcess[bytes]: ...

    @overload
    async def run(
        self,
        args: Args,
        *,
        input: bytes | str | None = None,
        text: Literal[True],
        encoding: str | None = None,
        errors: str | None = None,
        **options: Unpack[RunOptions],
    ) -> CompletedProcess[str]: ...

    @overload
    async def run(
        self,
        args: Args,
        *,
        input: bytes | str | None = None,
        text: bool = False,
        encoding: str,
        errors: str | None = None,
        **options: Unpack[RunOptions],
    ) -> CompletedProcess[str]: ...

    @overload
    async def run(
        self,
        args: Args,
        *,
        input: bytes | str | None = None,
        text: bool = False,
        encoding: None = None,
        errors: str,
        **options: Unpack[RunOptions],
    ) -> CompletedProcess[str]: ...

    async def run(self, args: Args, *, check: bool = False, **options: Any) -> CompletedProcess[Any]:
        """As :meth:`Sandbox.run`."""
        return await self._run(args, argv(args), check, **options)

    @overload
    async def shell(
        self,
        command: str | bytes,
        *,
        input: bytes | None = None,
        text: Literal[False] = False,
        **options: Unpack[RunOptions],
    ) -> CompletedProcess[bytes]: ...

    @overload
    async def shell(
        self,
        command: str | bytes,
        *,
        input: bytes | str | None = None,
        text: Literal[True],
        encoding: str | None = None,
        errors: str | None = None,
        **options: Unpack[RunOptions],
    ) -> CompletedProcess[str]: ...

    @overload
    async def shell(
        self,
        command: str | bytes,
        *,
        input: bytes | str | None = None,
        text: bool = False,
        encoding: str,
        errors: str | None = None,
        **options: Unpack[RunOptions],
    ) -> CompletedProcess[str]: ...

    @overload
    async def shell(
        self,
        command: str | bytes,
        *,
        input: bytes | str | None = None,
        text: bool = False,
        encoding: None = None,
        errors: str,
        **options: Unpack[RunOptions],
    ) -> CompletedProcess[str]: ...

    async def shell(self, command: str | bytes, *, check: bool = False, **options: Any) -> CompletedProcess[Any]:
        """As :meth:`Sandbox.shell`."""
        return await self._run(command, line(command), check, **options)

    async def _run(
        self,
        args: Any,
        program: list[bytes] | bytes,
        check: bool,
        *,
        input: bytes | str | None = None,
        text: bool = False,
        encoding: str | None = None,
        errors: str | None = None,
        pty: bool | tuple[int, int] | None = None,
        **options: Any,
    ) -> CompletedProcess[Any]:
        encoding, errors = text_form(text, encoding, errors)
        data = None if input is None else content(input, "input", encoding)
        request = command_options(program, input=data, pty=terminal(pty), **options)
        try:
            found = await finish(self._raw.run(request))
        except CommandExecutionError as error:
            error.cmd = args
            raise
        return completed(args, found, encoding, errors, check)

    @overload
    async def popen(
        self,
        args: Args | str | bytes,
        *,
        text: Literal[False] = False,
        **options: Unpack[PopenOptions],
    ) -> AsyncProcess[bytes]: ...

    @overload
    async def popen(
        self,
        args: Args | str | bytes,
        *,
        text: Literal[True],
        encoding: str | None = None,
        errors: str | None = None,
        **options: Unpack[PopenOptions],
    ) -> AsyncProcess[str]: ...

    @overload
    async def popen(
        self,
        args: Args | str | bytes,
        *,
        text: bool = False,
        encoding: str,
        errors: str | None = None,
        **options: Unpack[PopenOptions],
    ) -> AsyncProcess[str]: ...

    @overload
    async def popen(
        self,
        args: Args | str | bytes,
        *,
        text: bool = False,
        encoding: None = None,
        errors: str,
        **options: Unpack[PopenOptions],
    ) -> AsyncProcess[str]: ...

    async def popen(
        self,
        args: Any,
        *,
        shell: bool = False,
        stdin: int | bool | None = None,
        cwd: StrPath | None = None,
        env: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
        user: str | int | None = None,
        text: bool = False,
        encoding: str | None = None,
        errors: str | None = None,
        pty: bool | tuple[int, int] | None = None,
        term: str | None = None,
    ) -> AsyncProcess[Any]:
        """As :meth:`Sandbox.popen`."""
        encoding, errors = text_form(text, encoding, errors)
        is_piped = stdin_option(stdin)
        request = command_options(
            line(args) if shell else argv(args),
            cwd=cwd,
            env=env,
            timeout=timeout,
            user=user,
            is_stdin_piped=is_piped,
            pty=terminal(pty),
            term=term,
        )
        return AsyncProcess(await finish(self._raw.popen(request)), args, encoding, errors, has_stdin=is_piped)

    async def start_job(
        self,
        args: Args | str | bytes,
        *,
        shell: bool = False,
        cwd: StrPath | None = None,
        env: Mapping[str, str] | None = None,
        user: str | int | None = None,
    ) -> AsyncJob:
        """As :meth:`Sandbox.start_job`."""
        program = line(args) if shell else argv(args)  # type: ignore[arg-type]
        return AsyncJob(await finish(self._raw.start_job(command_options(program, cwd=cwd, env=env, user=user))))

    async def jobs(self) -> list[JobInfo]:
        """As :meth:`Sandbox.jobs`."""
        return [JobInfo._from(record) for record in await finish(self._raw.jobs())]

    async def job(self, id: str) -> AsyncJob:
        """As :meth:`Sandbox.job`."""
        return AsyncJob(await finish(self._raw.job(text(id, "id"))))
