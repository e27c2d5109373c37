"""What commands return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar

from .exceptions import CommandExecutionError

T = TypeVar("T", str, bytes)
Stream = Literal["stdout", "stderr"]


@dataclass
class CompletedProcess(Generic[T]):
    """A command that has ended, as :class:`subprocess.CompletedProcess`.

    >>> done = sbx.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    >>> done.returncode, done.stdout, done.stderr
    (3, b'out\\n', b'err\\n')
    """

    args: Any
    """The command, as it was passed."""
    returncode: int
    """The exit code; minus the number of the signal if one ended the command."""
    stdout: T
    """Its standard output, at most ``output_cap`` bytes: then the first and the last half of that."""
    stderr: T
    """Its standard error, limited in the same way."""
    stdout_dropped: int = 0
    """How many bytes of standard output were discarded."""
    stderr_dropped: int = 0
    """How many bytes of standard error were discarded."""
    output_held: bool = False
    """Whether another process still held the output open when it was given up, so that some may be missing."""
    environment_truncated: bool = False
    """Whether the command ran without some variables of the sandbox, whose environment is too large."""

    def check_returncode(self) -> None:
        """Raise :class:`CommandExecutionError` unless the exit code is 0.

        >>> try:
        ...     sbx.run(["false"]).check_returncode()
        ... except CommandExecutionError as error:
        ...     print(error, error.returncode, error.cmd)
        the command failed with exit code 1 1 ['false']
        """
        if self.returncode:
            raise CommandExecutionError(
                _failure_text(self.returncode, self.stderr),
                reason="failed",
                cmd=self.args,
                returncode=self.returncode,
                stdout=self.stdout,
                stderr=self.stderr,
            )


def _failure_text(returncode: int, stderr: str | bytes) -> str:
    how = f"exit code {returncode}" if returncode >= 0 else f"signal {-returncode}"
    text = stderr.decode("utf-8", "replace") if isinstance(stderr, bytes) else stderr
    last = text.strip()[-1000:]
    # It comes from inside the sandbox: only its line breaks are kept.
    safe = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in last)
    return f"the command failed with {how}" + (f": {safe}" if safe else "")


if TYPE_CHECKING:

    class Chunk(NamedTuple, Generic[T]):
        stream: Stream
        data: T

else:
    # Python 3.10 has no generic NamedTuple.
    class Chunk(NamedTuple):
        """A piece of the output of a running command."""

        stream: Stream
        """Where it was written. With a terminal everything is ``stdout``."""
        data: str | bytes
        """What was written."""

        def __class_getitem__(cls, _kind):
            return cls
