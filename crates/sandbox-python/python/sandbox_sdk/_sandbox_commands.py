"""The commands of a sandbox."""

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
from ._calls import wait
from ._checks import text
from ._sandbox_state import SandboxState, completed, text_form
from .exceptions import CommandExecutionError
from .handles import Job
from .process import Process
from .types import CompletedProcess, JobInfo

if TYPE_CHECKING:
    from typing_extensions import Unpack


class SandboxCommands(SandboxState):
    """Commands: to run, to stream, and in the background."""

    @overload
    def run(
        self,
        args: Args,
        *,
        input: bytes | None = None,
        text: Literal[False] = False,
        **options: Unpack[RunOptions],
    ) -> CompletedProcess[bytes]: ...

    @overload
    def run(
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
    def run(
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
    def run(
        self,
        args: Args,
        *,
        input: bytes | str | None = None,
        text: bool = False,
        encoding: None = None,
        errors: str,
        **options: Unpack[RunOptions],
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
        :param user: the user of the sandbox to run it as, by name or number, in whose home directory it starts. Another
            one than the sandbox's own needs a server that is root, as in a Pod whose image is root.
        :param check: raise an exception unless its exit code is 0.
        :param text: return texts, not bytes; so do ``encoding`` (UTF-8) and ``errors`` (``replace``).
        :param output_cap: keep at most this many bytes of each stream, the first and the last half. 16 MiB.
        :param output_grace: seconds for which output is read after its end while another process holds it open. One.
        :param pty: run it in a terminal of 80 columns and 24 rows, or of these.
        :raises CommandTimeoutError: it ran longer than ``timeout``.
        :raises CommandExecutionError: the connection was lost before its end, or its exit code is not 0 with ``check``.
        :raises RefusedError: there is no such user: its ``reason`` is ``unknown-user``.
        :raises UnsupportedError: the sandbox cannot run commands as another user.
        :raises SandboxNotFoundError: the sandbox has ended.
        """
        return self._run(args, argv(args), check, **options)

    @overload
    def shell(
        self,
        command: str | bytes,
        *,
        input: bytes | None = None,
        text: Literal[False] = False,
        **options: Unpack[RunOptions],
    ) -> CompletedProcess[bytes]: ...

    @overload
    def shell(
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
    def shell(
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
    def shell(
        self,
        command: str | bytes,
        *,
        input: bytes | str | None = None,
        text: bool = False,
        encoding: None = None,
        errors: str,
        **options: Unpack[RunOptions],
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
        text: Literal[False] = False,
        **options: Unpack[PopenOptions],
    ) -> Process[bytes]: ...

    @overload
    def popen(
        self,
        args: Args | str | bytes,
        *,
        text: Literal[True],
        encoding: str | None = None,
        errors: str | None = None,
        **options: Unpack[PopenOptions],
    ) -> Process[str]: ...

    @overload
    def popen(
        self,
        args: Args | str | bytes,
        *,
        text: bool = False,
        encoding: str,
        errors: str | None = None,
        **options: Unpack[PopenOptions],
    ) -> Process[str]: ...

    @overload
    def popen(
        self,
        args: Args | str | bytes,
        *,
        text: bool = False,
        encoding: None = None,
        errors: str,
        **options: Unpack[PopenOptions],
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
        user: str | int | None = None,
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
            user=user,
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
        user: str | int | None = None,
    ) -> Job:
        """Start a command as a background job, which outlives this program. Its output goes to a log in the sandbox.

        :raises UnsupportedError: the sandbox runs an SSH server that is not the SDK's own.
        """
        program = line(args) if shell else argv(args)  # type: ignore[arg-type]
        return Job(wait(self._raw.start_job(command_options(program, cwd=cwd, env=env, user=user))))

    def jobs(self) -> list[JobInfo]:
        """List the background jobs, oldest first, also those of other programs."""
        return [JobInfo._from(record) for record in wait(self._raw.jobs())]

    def job(self, id: str) -> Job:
        """Return a handle of a job, without a request."""
        return Job(wait(self._raw.job(text(id, "id"))))
