"""Running commands."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Generic

from ._arguments import Duration, Signal, content, seconds, window_size
from ._calls import wait, wait_for_item
from ._completed import Chunk, T
from ._lines import LineSplitter
from ._process_state import OUTPUT_CAP, ProcessState, signal_operation, still_running
from ._sandbox import RawProcess
from .exceptions import ClosedError

__all__ = ["Process", "ProcessInput"]


class ProcessInput:
    """The standard input of a running command. Closing it, or leaving its ``with`` block, is end of file."""

    def __init__(self, raw: RawProcess, encoding: str | None) -> None:
        self._raw = raw
        self._encoding = encoding
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview | str) -> int:
        """Write, and return the number of bytes. Blocks while the command does not read.

        :raises ClosedError: it was closed.
        :raises CommandExecutionError: the command no longer reads.
        """
        written: int = wait(self._raw.write(content(data, "data", self._encoding)))
        return written

    def flush(self) -> None:
        """Nothing is kept back, so there is nothing to do."""

    def close(self) -> None:
        """End the input."""
        self.closed = True
        wait(self._raw.close_stdin())

    def __enter__(self) -> ProcessInput:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Process(ProcessState[T], Generic[T]):
    """A running command, as :class:`subprocess.Popen`. Created by :meth:`Sandbox.popen`.

    Iterate over it to get its output as it is written. If it is closed or forgotten before its end, the command gets a
    hangup, as from a terminal that is closed.

    >>> with sbx.popen(["sh", "-c", "echo one; sleep 0.1; echo two >&2"], text=True) as process:
    ...     for stream, data in process:
    ...         print(stream, data.strip())
    stdout one
    stderr two
    >>> process.returncode
    0
    """

    stdin: ProcessInput | None
    """The standard input, with ``stdin=subprocess.PIPE``."""

    def __init__(self, raw: RawProcess, args: Any, encoding: str | None, errors: str, has_stdin: bool) -> None:
        super().__init__(raw, args, encoding, errors)
        self.stdin = ProcessInput(raw, encoding) if has_stdin else None

    def __iter__(self) -> Iterator[Chunk[T]]:
        return self

    def __next__(self) -> Chunk[T]:
        """Return the next piece of output.

        :raises CommandTimeoutError: it ran longer than its timeout.
        :raises CommandExecutionError: the connection was lost.
        """
        with self._reading:
            return self._splitter.take_back() or self._receive()

    def _receive(self) -> Chunk[T]:
        while not self._is_read:
            try:
                event = wait_for_item(self._raw.next())
            except ClosedError:
                if self._is_read:
                    break
                raise
            chunk = self._take(event)
            if chunk is not None:
                return chunk
        if self._rest:
            return self._rest.popleft()
        raise StopIteration

    def lines(self) -> Iterator[Chunk[T]]:
        """Return its output line by line, with the line breaks. One longer than 16 MiB comes in pieces. What is not
        taken is there for the next call.

        >>> process = sbx.popen(["printf", "a\\\\nb"], text=True)
        >>> [line.data for line in process.lines()]
        ['a\\n', 'b']
        """
        return _Lines(self)

    def communicate(self, input: bytes | str | None = None, timeout: Duration | None = None) -> tuple[T, T]:
        """Write ``input``, close the standard input, read the output to its end, and wait for the command. Returns
        standard output and standard error, each at most 16 MiB from its beginning; what is beyond is in
        :attr:`notices`.

        >>> import subprocess
        >>> process = sbx.popen(["tr", "a-z", "A-Z"], stdin=subprocess.PIPE, text=True)
        >>> process.communicate("hello")
        ('HELLO', '')

        :param timeout: seconds. The command goes on after it, and `communicate` can be called again.
        :raises OperationTimeoutError: the timeout has passed.
        """
        data = None if input is None else content(input, "input", self._encoding)
        limit = seconds(timeout, "timeout")
        found = wait(self._raw.communicate(data, OUTPUT_CAP, limit))
        return self._communicated(found, limit)

    def wait(self, timeout: Duration | None = None) -> int:
        """Discard the output that was not read yet, wait for the end, and return :attr:`returncode`.

        >>> sbx.popen(["sleep", "0.01"]).wait()
        0

        :param timeout: seconds. The command goes on after it.
        :raises OperationTimeoutError: the timeout has passed.
        """
        if self.returncode is None:
            limit = seconds(timeout, "timeout")
            self.returncode = wait(self._raw.wait(limit))
            if self.returncode is None:
                raise still_running(limit)
        return self.returncode

    def poll(self) -> int | None:
        """Return :attr:`returncode` if the command has ended, else ``None``, without waiting. While more than 1 MiB of
        its output is unread, its end is not seen."""
        if self.returncode is None:
            self.returncode = wait(self._raw.poll())
        return self.returncode

    def send_signal(self, signal: Signal) -> None:
        """Send a signal to its process group.

        >>> import signal
        >>> process = sbx.popen(["sleep", "60"])
        >>> process.send_signal(signal.SIGTERM)
        >>> process.wait()
        -15

        :raises CommandExecutionError: it has ended.
        """
        wait(signal_operation(self._raw, signal))

    def terminate(self) -> None:
        """Send SIGTERM to its process group."""
        self.send_signal("TERM")

    def kill(self) -> None:
        """Send SIGKILL to its process group."""
        self.send_signal("KILL")

    def resize(self, columns: int, rows: int) -> None:
        """Set the size of its terminal."""
        wait(self._raw.resize(window_size(columns, "columns"), window_size(rows, "rows")))

    def close(self) -> None:
        """Stop listening to it, also in threads that wait for it: iterations end, and other calls raise
        :exc:`ClosedError`. A command that still runs gets a hangup."""
        self._is_read = True
        wait(self._raw.close())

    def __enter__(self) -> Process[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and not self._is_read:
                if self.stdin is not None and not self.stdin.closed:
                    self.stdin.close()
                self.wait()
        finally:
            self.close()


class _Lines(Generic[T]):
    """Lines of a command's output. No generator, because several threads must be able to use it at once."""

    def __init__(self, process: Process[T]) -> None:
        self._process: Process[T] = process

    def __iter__(self) -> Iterator[Chunk[T]]:
        return self

    def __next__(self) -> Chunk[T]:
        process: Process[T] = self._process
        splitter: LineSplitter[T] = process._splitter
        with process._reading:
            while (line := splitter.pop()) is None:
                try:
                    splitter.push(process._receive())
                except StopIteration:
                    splitter.finish()
                    line = splitter.pop()
                    if line is None:
                        raise
                    return line
            return line
