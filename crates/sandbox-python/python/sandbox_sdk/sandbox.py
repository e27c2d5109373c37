"""Sandboxes."""

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
from ._calls import wait
from ._sandbox_files import SandboxFiles
from ._sandbox_state import completed, text_form
from .exceptions import CommandExecutionError
from .handles import Forward, Job
from .process import Process
from .types import CompletedProcess, Diagnosis, JobInfo, SandboxInfo, Usage

__all__ = ["Sandbox"]


class Sandbox(SandboxFiles):
    """An isolated place to run commands and keep files for a while. Created by :meth:`Client.create`.

    In a ``with`` block it is deleted at the end, unless it was found with :meth:`Client.get`: then only the handle is
    closed. Methods may be called from many threads at once.

    >>> with client.create() as sandbox:
    ...     sandbox.write_text("numbers.txt", "1 2 3")
    ...     sandbox.run(["wc", "-w", "numbers.txt"], text=True).stdout
    '3 numbers.txt\\n'
    """

    @overload
    def run(
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
    def run(
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

    def run(self, args: Args, *, check: bool = False, **options: Any) -> CompletedProcess[Any]:
        """Run a program with its arguments, without a shell, to its end, as :func:`subprocess.run`.

        >>> sbx.run(["sort", "-n"], input="3\\n1\\n2\\n", text=True).stdout
        '1\\n2\\n3\\n'
        >>> sbx.run(["sleep", "60"], timeout=0.1)
        Traceback (most recent call last):
        ...
        sandbox_sdk.exceptions.CommandTimeoutError: the command ran longer than 100ms; its process group was killed

        :param args: the program and its arguments.
        :param input: what it reads; text only with ``text=True``. Without it, it reads end of file.
        :param cwd: the working directory, absolute or relative to the home directory.
        :param env: variables in addition to those of the sandbox.
        :param timeout: seconds after which its process group is killed.
        :param check: raise an exception unless its exit code is 0.
        :param text: return texts, not bytes; so do ``encoding`` (UTF-8) and ``errors`` (``replace``).
        :param output_cap: keep at most this many bytes of each stream, the first and the last half. 16 MiB.
        :param output_grace: seconds for which output is read after its end while another process holds it open. One.
        :param pty: run it in a terminal of 80 columns and 24 rows, or of these.
        :raises CommandTimeoutError: it ran longer than ``timeout``.
        :raises CommandExecutionError: the connection was lost before its end, or its exit code is not 0 with ``check``.
        :raises SandboxNotFoundError: the sandbox has ended.
        """
        return self._run(args, argv(args), check, **options)

    @overload
    def shell(
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
    def shell(
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

    def shell(self, command: str | bytes, *, check: bool = False, **options: Any) -> CompletedProcess[Any]:
        """Run a line in the sandbox's ``/bin/sh``, with pipes, variables and globs. Options are those of :meth:`run`.

        Never put untrusted text into the line: pass it as an argument of :meth:`run`.

        >>> sbx.shell("printf 'b\\\\na\\\\n' | sort", text=True).stdout
        'a\\nb\\n'
        """
        return self._run(command, line(command), check, **options)

    def _run(
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
            found = wait(self._raw.run(request))
        except CommandExecutionError as error:
            error.cmd = args
            raise
        return completed(args, found, encoding, errors, check)

    @overload
    def popen(
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
    ) -> Process[bytes]: ...

    @overload
    def popen(
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
    ) -> Process[str]: ...

    def popen(
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
    ) -> Process[Any]:
        """Start a command and return while it runs, as :class:`subprocess.Popen`: to read its output as it is written,
        to write its input, and to send signals.

        >>> import subprocess
        >>> with sbx.popen("while read name; do echo hello $name; done", shell=True,
        ...                stdin=subprocess.PIPE, text=True) as process:
        ...     _ = process.stdin.write("Ada\\n")
        ...     next(process.lines()).data
        'hello Ada\\n'

        :param shell: ``args`` is a line of the shell.
        :param stdin: :data:`subprocess.PIPE`, to write its input; otherwise it reads end of file.
        :param pty: run it in a terminal of 80 columns and 24 rows, or of these; its output is one stream.
        :param term: the type of the terminal, the value of ``$TERM``.
        :raises CommandExecutionError: it could not be started.
        """
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
        return Process(wait(self._raw.popen(request)), args, encoding, errors, has_stdin=is_piped)

    def start_job(
        self,
        args: Args | str | bytes,
        *,
        shell: bool = False,
        cwd: StrPath | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Job:
        """Start a command as a background job, which outlives this program. Its output goes to a log in the sandbox.

        :raises UnsupportedError: the sandbox runs an SSH server that is not the SDK's own.
        """
        program = line(args) if shell else argv(args)  # type: ignore[arg-type]
        return Job(wait(self._raw.start_job(command_options(program, cwd=cwd, env=env))))

    def jobs(self) -> list[JobInfo]:
        """List the background jobs, oldest first, also those of other programs."""
        return [JobInfo._from(record) for record in wait(self._raw.jobs())]

    def job(self, id: str) -> Job:
        """Return a handle of a job, without a request."""
        return Job(wait(self._raw.job(id)))

    def forward(self, port: int, *, host: str = "127.0.0.1", local_port: int = 0) -> Forward:
        """Forward a port of this machine to ``port`` inside the sandbox, until it is closed.

        >>> with sbx.forward(8000) as web:
        ...     web.host
        '127.0.0.1'

        :param host: the local IP address. One other than loopback lets the network in.
        :param local_port: the local port; 0 takes a free one.
        :raises BackendError: the local port cannot be opened.
        """
        return Forward(wait(self._raw.forward(port, host, local_port)))

    def info(self) -> SandboxInfo:
        """Ask for the current description.

        >>> sbx.info().state
        'running'

        :raises SandboxNotFoundError: it has ended.
        """
        return SandboxInfo._from(wait(self._raw.info()))

    def extend(self, ttl: Duration) -> SandboxInfo:
        """Move the end of its ``ttl`` to this many seconds from now, at most to the end of its ``max_lifetime``."""
        return SandboxInfo._from(wait(self._raw.extend(certain_seconds(ttl, "ttl"))))

    def set_ttl(self, ttl: Duration) -> SandboxInfo:
        """Have it end this many seconds from now, also earlier than it would have ended."""
        return SandboxInfo._from(wait(self._raw.set_ttl(certain_seconds(ttl, "ttl"))))

    def set_on_expiry(self, on_expiry: str) -> None:
        """Set what happens at the end of its ``ttl``: ``end`` or ``pause``."""
        wait(self._raw.set_on_expiry(on_expiry))

    def annotate(self, annotations: Mapping[str, str]) -> SandboxInfo:
        """Set annotations. Those with other keys stay."""
        return SandboxInfo._from(wait(self._raw.annotate(texts(annotations, "annotations"))))

    def pause(self) -> bool:
        """Stop all of its processes where they are, as ``docker pause``. Its ``ttl`` stands still. Returns whether it
        was not paused already.

        :raises RefusedError: not all processes can be stopped.
        :raises UnsupportedError: it runs an SSH server that is not the SDK's own.
        """
        changed: bool = wait(self._raw.pause())
        return changed

    def resume(self, ttl: Duration | None = None) -> bool:
        """Continue its processes. Returns whether it was paused.

        :param ttl: how many seconds it lives from now on; what was left, if it is not given.
        """
        changed: bool = wait(self._raw.resume(seconds(ttl, "ttl")))
        return changed

    def is_paused(self) -> bool:
        """Ask its server whether it is paused."""
        paused: bool = wait(self._raw.is_paused())
        return paused

    def usage(self) -> Usage:
        """Measure how much processor time, memory and disk it uses."""
        return Usage._from(wait(self._raw.usage()))

    def diagnose(self) -> Diagnosis:
        """Ask its backend to explain its state, for example why it has ended."""
        return Diagnosis._from(wait(self._raw.diagnose()))

    def logs(self, tail: int | None = None) -> str:
        """Return the log of its SSH server, at most the last 16 MiB.

        :param tail: only this many lines from the end.
        """
        log: str = wait(self._raw.logs(tail))
        return log

    def delete(self) -> None:
        """End its processes and remove its files. Returns when nothing is left. Deleting one that no longer exists
        succeeds.

        :raises SandboxDeletionError: it may still exist.
        """
        wait(self._raw.delete())
        self._release()

    def shutdown(self) -> None:
        """The same as :meth:`delete`, under the name of the original SDK."""
        self.delete()

    def close(self) -> None:
        """Close this handle and keep the sandbox. An attached one ends when no client is connected any more."""
        self._close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is None:
            return
        try:
            if self._is_owner:
                self.delete()
        finally:
            self._close()
