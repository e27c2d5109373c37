"""Sandboxes, for asyncio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, overload

from ._arguments import (
    Args,
    Duration,
    StrPath,
    argv,
    certain_seconds,
    command_options,
    content,
    line,
    seconds,
    stdin_option,
    terminal,
    texts,
)
from ._calls import finish
from ._async_sandbox_files import AsyncSandboxFiles
from ._sandbox_state import completed, text_form
from .exceptions import CommandExecutionError
from .handles import Forward
from .async_handles import AsyncJob
from .async_process import AsyncProcess
from .types import CompletedProcess, Diagnosis, JobInfo, SandboxInfo, Usage

__all__ = ["AsyncSandbox"]


class AsyncSandbox(AsyncSandboxFiles):
    """An isolated place to run commands and keep files for a while, as :class:`Sandbox`. Created by
    :meth:`AsyncClient.create`. Cancelling a task drops the call that it awaits: a command is ended, a half-written file is
    removed.

    >>> async def greet():
    ...     async with AsyncClient() as client, await client.create() as sandbox:
    ...         return (await sandbox.run(["echo", "hello"])).stdout
    >>> asyncio.run(greet())
    b'hello\\n'
    """

    @overload
    async def run(
        self,
        args: Args,
        *,
        input: bytes | None = None,
        cwd: StrPath | None = None,
        env: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
        check: bool = False,
        text: Literal[False] = False,
        encoding: None = None,
        errors: None = None,
        output_cap: int | None = None,
        output_grace: Duration | None = None,
        pty: bool | tuple[int, int] | None = None,
    ) -> CompletedProcess[bytes]: ...

    @overload
    async def run(
        self,
        args: Args,
        *,
        input: bytes | str | None = None,
        cwd: StrPath | None = None,
        env: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
        check: bool = False,
        text: bool = True,
        encoding: str | None = None,
        errors: str | None = None,
        output_cap: int | None = None,
        output_grace: Duration | None = None,
        pty: bool | tuple[int, int] | None = None,
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
        cwd: StrPath | None = None,
        env: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
        check: bool = False,
        text: Literal[False] = False,
        encoding: None = None,
        errors: None = None,
        output_cap: int | None = None,
        output_grace: Duration | None = None,
        pty: bool | tuple[int, int] | None = None,
    ) -> CompletedProcess[bytes]: ...

    @overload
    async def shell(
        self,
        command: str | bytes,
        *,
        input: bytes | str | None = None,
        cwd: StrPath | None = None,
        env: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
        check: bool = False,
        text: bool = True,
        encoding: str | None = None,
        errors: str | None = None,
        output_cap: int | None = None,
        output_grace: Duration | None = None,
        pty: bool | tuple[int, int] | None = None,
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
        shell: bool = False,
        stdin: int | bool | None = None,
        cwd: StrPath | None = None,
        env: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
        text: Literal[False] = False,
        encoding: None = None,
        errors: None = None,
        pty: bool | tuple[int, int] | None = None,
        term: str | None = None,
    ) -> AsyncProcess[bytes]: ...

    @overload
    async def popen(
        self,
        args: Args | str | bytes,
        *,
        shell: bool = False,
        stdin: int | bool | None = None,
        cwd: StrPath | None = None,
        env: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
        text: bool = True,
        encoding: str | None = None,
        errors: str | None = None,
        pty: bool | tuple[int, int] | None = None,
        term: str | None = None,
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
    ) -> AsyncJob:
        """As :meth:`Sandbox.start_job`."""
        program = line(args) if shell else argv(args)  # type: ignore[arg-type]
        return AsyncJob(await finish(self._raw.start_job(command_options(program, cwd=cwd, env=env))))

    async def jobs(self) -> list[JobInfo]:
        """As :meth:`Sandbox.jobs`."""
        return [JobInfo._from(record) for record in await finish(self._raw.jobs())]

    async def job(self, id: str) -> AsyncJob:
        """As :meth:`Sandbox.job`."""
        return AsyncJob(await finish(self._raw.job(id)))

    async def forward(self, port: int, *, host: str = "127.0.0.1", local_port: int = 0) -> Forward:
        """As :meth:`Sandbox.forward`."""
        return Forward(await finish(self._raw.forward(port, host, local_port)))

    async def info(self) -> SandboxInfo:
        """As :meth:`Sandbox.info`."""
        return SandboxInfo._from(await finish(self._raw.info()))

    async def extend(self, ttl: Duration) -> SandboxInfo:
        """As :meth:`Sandbox.extend`."""
        return SandboxInfo._from(await finish(self._raw.extend(certain_seconds(ttl, "ttl"))))

    async def set_ttl(self, ttl: Duration) -> SandboxInfo:
        """As :meth:`Sandbox.set_ttl`."""
        return SandboxInfo._from(await finish(self._raw.set_ttl(certain_seconds(ttl, "ttl"))))

    async def set_on_expiry(self, on_expiry: str) -> None:
        """As :meth:`Sandbox.set_on_expiry`."""
        await finish(self._raw.set_on_expiry(on_expiry))

    async def annotate(self, annotations: Mapping[str, str]) -> SandboxInfo:
        """As :meth:`Sandbox.annotate`."""
        return SandboxInfo._from(await finish(self._raw.annotate(texts(annotations, "annotations"))))

    async def pause(self) -> bool:
        """As :meth:`Sandbox.pause`."""
        changed: bool = await finish(self._raw.pause())
        return changed

    async def resume(self, ttl: Duration | None = None) -> bool:
        """As :meth:`Sandbox.resume`."""
        changed: bool = await finish(self._raw.resume(seconds(ttl, "ttl")))
        return changed

    async def is_paused(self) -> bool:
        """As :meth:`Sandbox.is_paused`."""
        paused: bool = await finish(self._raw.is_paused())
        return paused

    async def usage(self) -> Usage:
        """As :meth:`Sandbox.usage`."""
        return Usage._from(await finish(self._raw.usage()))

    async def diagnose(self) -> Diagnosis:
        """As :meth:`Sandbox.diagnose`."""
        return Diagnosis._from(await finish(self._raw.diagnose()))

    async def logs(self, tail: int | None = None) -> str:
        """As :meth:`Sandbox.logs`."""
        log: str = await finish(self._raw.logs(tail))
        return log

    async def delete(self) -> None:
        """As :meth:`Sandbox.delete`."""
        await finish(self._raw.delete())
        self._release()

    async def shutdown(self) -> None:
        """As :meth:`Sandbox.shutdown`."""
        await self.delete()

    def close(self) -> None:
        """As :meth:`Sandbox.close`."""
        self._close()

    async def __aenter__(self) -> AsyncSandbox:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._handle is None:
            return
        try:
            if self._is_owner:
                await self.delete()
        finally:
            self._close()
