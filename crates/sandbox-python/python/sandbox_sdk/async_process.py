"""Running commands, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Generic

from ._arguments import Duration, Signal, content, seconds, window_size
from ._calls import finish, finish_item
from ._completed import Chunk, T
from ._process_state import OUTPUT_CAP, ProcessState, signal_operation, still_running
from ._sandbox import RawProcess
from .exceptions import ClosedError

__all__ = ["AsyncProcess", "AsyncProcessInput"]


class AsyncProcessInput:
    """The standard input of a running command, as :class:`ProcessInput`."""

    def __init__(self, raw: RawProcess, encoding: str | None) -> None:
        self._raw = raw
        self._encoding = encoding
        self.closed = False

    async def write(self, data: bytes | bytearray | memoryview | str) -> int:
        """As :meth:`ProcessInput.write`."""
        written: int = await finish(self._raw.write(content(data, "data", self._encoding)))
        return written

    def flush(self) -> None:
        """As :meth:`ProcessInput.flush`."""

    async def close(self) -> None:
        """As :meth:`ProcessInput.close`."""
        self.closed = True
        await finish(self._raw.close_stdin())

    async def __aenter__(self) -> AsyncProcessInput:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class AsyncProcess(ProcessState[T], Generic[T]):
    """A running command, as :class:`Process`. Created by :meth:`AsyncSandbox.popen`.

    >>> async def count_to_two():
    ...     async with AsyncClient() as client, await client.create() as sandbox:
    ...         async with await sandbox.popen(["seq", "2"], text=True) as process:
    ...             async for line in process.lines():
    ...                 print(line.data, end="")
    ...         return process.returncode
    >>> asyncio.run(count_to_two())
    1
    2
    0
    """

    stdin: AsyncProcessInput | None
    """The standard input, with ``stdin=subprocess.PIPE``."""

    def __init__(self, raw: RawProcess, args: Any, encoding: str | None, errors: str, has_stdin: bool) -> None:
        super().__init__(raw, args, encoding, errors)
        self.stdin = AsyncProcessInput(raw, encoding) if has_stdin else None

    def __aiter__(self) -> AsyncIterator[Chunk[T]]:
        return self

    async def __anext__(self) -> Chunk[T]:
        """Return the next piece of output. Cancelling it loses none.

        :raises CommandTimeoutError: it ran longer than its timeout.
        :raises CommandExecutionError: the connection was lost.
        """
        with self._reading:
            kept = self._splitter.take_back()
        return kept or await self._receive()

    async def _receive(self) -> Chunk[T]:
        while not self._is_read:
            try:
                event = await finish_item(self._raw.next())
            except ClosedError:
                if self._is_read:
                    break
                raise
            with self._reading:
                chunk = self._take(event)
            if chunk is not None:
                return chunk
        with self._reading:
            if self._rest:
                return self._rest.popleft()
        raise StopAsyncIteration

    def lines(self) -> AsyncIterator[Chunk[T]]:
        """As :meth:`Process.lines`. Cancelling the wait for a line loses nothing."""
        return _AsyncLines(self)

    async def communicate(self, input: bytes | str | None = None, timeout: Duration | None = None) -> tuple[T, T]:
        """As :meth:`Process.communicate`."""
        data = None if input is None else content(input, "input", self._encoding)
        limit = seconds(timeout, "timeout")
        found = await finish(self._raw.communicate(data, OUTPUT_CAP, limit))
        return self._communicated(found, limit)

    async def wait(self, timeout: Duration | None = None) -> int:
        """As :meth:`Process.wait`."""
        if self.returncode is None:
            limit = seconds(timeout, "timeout")
            self.returncode = await finish(self._raw.wait(limit))
            if self.returncode is None:
                raise still_running(limit)
        return self.returncode

    async def poll(self) -> int | None:
        """As :meth:`Process.poll`."""
        if self.returncode is None:
            self.returncode = await finish(self._raw.poll())
        return self.returncode

    async def send_signal(self, signal: Signal) -> None:
        """As :meth:`Process.send_signal`."""
        await finish(signal_operation(self._raw, signal))

    async def terminate(self) -> None:
        """As :meth:`Process.terminate`."""
        await self.send_signal("TERM")

    async def kill(self) -> None:
        """As :meth:`Process.kill`."""
        await self.send_signal("KILL")

    async def resize(self, columns: int, rows: int) -> None:
        """As :meth:`Process.resize`."""
        await finish(self._raw.resize(window_size(columns, "columns"), window_size(rows, "rows")))

    async def close(self) -> None:
        """As :meth:`Process.close`."""
        self._is_read = True
        await finish(self._raw.close())

    async def __aenter__(self) -> AsyncProcess[T]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and not self._is_read:
                if self.stdin is not None and not self.stdin.closed:
                    await self.stdin.close()
                await self.wait()
        finally:
            await self.close()


class _AsyncLines(Generic[T]):
    """Lines of a command's output. No generator, which would end when a wait for a line is cancelled."""

    def __init__(self, process: AsyncProcess[T]) -> None:
        self._process: AsyncProcess[T] = process

    def __aiter__(self) -> AsyncIterator[Chunk[T]]:
        return self

    async def __anext__(self) -> Chunk[T]:
        process: AsyncProcess[T] = self._process
        while True:
            with process._reading:
                line = process._splitter.pop()
            if line is not None:
                return line
            try:
                chunk = await process._receive()
            except StopAsyncIteration:
                with process._reading:
                    line = process._splitter.take_back()
                if line is None:
                    raise
                return line
            with process._reading:
                process._splitter.push(chunk)
