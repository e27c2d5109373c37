"""Results and errors in the form of the framework."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agents.sandbox.errors import ExecTimeoutError, ExecTransportError
from agents.sandbox.types import ExecResult

from ... import CommandTimeoutError, CompletedProcess, SandboxError


def exit_code(returncode: int) -> int:
    """An exit code as a shell has it: 128 and the signal's number if a signal has ended the command."""
    return returncode if returncode >= 0 else 128 - returncode


def exec_result(done: CompletedProcess[bytes]) -> ExecResult:
    """What a command has written. What is missing of it is said at the end of standard error."""
    lacks = [
        f"{dropped} bytes of {name} are left out in its middle"
        for name, dropped in (("stdout", done.stdout_dropped), ("stderr", done.stderr_dropped))
        if dropped
    ]
    if done.output_held:
        lacks.append("another process holds the output open, and what it writes later is not here")
    if done.environment_truncated:
        lacks.append("the command ran without some variables of the sandbox, which has too many")
    notices = "".join(f"\n[sandbox: {lack}]" for lack in lacks)
    return ExecResult(stdout=done.stdout, stderr=done.stderr + notices.encode(), exit_code=exit_code(done.returncode))


def exec_error(command: Sequence[str | Path], timeout: float | None, error: SandboxError) -> Exception:
    """Why a command has no result."""
    if isinstance(error, CommandTimeoutError):
        return ExecTimeoutError(command=command, timeout_s=timeout, cause=error)
    # A command that may have been started must not be repeated.
    return ExecTransportError(command=command, cause=error, message=str(error), retryable=False)
