"""What blocking and asyncio processes share."""

from __future__ import annotations

import codecs
import threading
from collections import deque
from typing import Any, Generic

from ._arguments import Signal
from ._completed import Chunk, Stream, T
from ._lines import LineSplitter
from ._sandbox import Operation, RawJob, RawProcess
from .exceptions import OperationTimeoutError

OUTPUT_CAP = 16 << 20
"""How much of each stream `communicate` keeps."""


class ProcessState(Generic[T]):
    """The output of a running command, and how it ended."""

    args: Any
    """The command, as it was passed."""
    returncode: int | None
    """The exit code, or minus the number of the signal that ended it; ``None`` until its end was read."""
    notices: list[str]
    """What the output lacks, one sentence each."""

    def __init__(self, raw: RawProcess, args: Any, encoding: str | None, errors: str) -> None:
        self._raw = raw
        self.args = args
        self.returncode = None
        self.notices = []
        self._encoding = encoding
        self._errors = errors
        self._is_read = False
        # What was received is decoded and split in its order, also if several threads read.
        self._reading = threading.Lock()
        self._splitter: LineSplitter[T] = LineSplitter()
        self._rest: deque[Chunk[Any]] = deque()
        self._decoders: dict[Stream, codecs.IncrementalDecoder] = {}
        if encoding is not None:
            decoder = codecs.getincrementaldecoder(encoding)
            self._decoders = {"stdout": decoder(errors), "stderr": decoder(errors)}

    def _take(self, event: tuple[str, Any] | None) -> Chunk[T] | None:
        """Note an event; return it if it is output."""
        if event is None:
            self._is_read = True
            return None
        kind, value = event
        if kind == "exited":
            self.returncode = value
            # The end of a text may lack bytes of a character.
            for name, decoder in self._decoders.items():
                rest = decoder.decode(b"", True)
                if rest:
                    self._rest.append(Chunk(name, rest))
            return None
        if kind == "notice":
            self.notices.append(value)
            return None
        stream: Stream = "stdout" if kind == "stdout" else "stderr"
        if self._encoding is None:
            return Chunk(stream, value)
        text = self._decoders[stream].decode(value)
        return Chunk(stream, text) if text else None  # type: ignore[arg-type]

    def _communicated(self, found: tuple[int | None, bytes, bytes, int] | None, limit: float | None) -> tuple[T, T]:
        if found is None:
            raise still_running(limit)
        self.returncode, stdout, stderr, dropped = found
        self._is_read = True
        left: dict[Stream, list[Any]] = {"stdout": [], "stderr": []}
        with self._reading:
            while (chunk := self._splitter.take_back()) is not None:
                left[chunk.stream].append(chunk.data)
        if dropped:
            self.notices.append(f"{dropped} bytes of output beyond {OUTPUT_CAP} of a stream were discarded")
        return self._output("stdout", left["stdout"], stdout), self._output("stderr", left["stderr"], stderr)

    def _output(self, stream: Stream, left: list[Any], data: bytes) -> T:
        """Collected output in the form that the caller chose, after what was received before it."""
        if self._encoding is None:
            return b"".join([*left, data])  # type: ignore[return-value]
        # The first bytes may be the rest of a character.
        text = self._decoders[stream].decode(data, True)
        return plain_lines("".join([*left, text]))  # type: ignore[return-value]

    def __repr__(self) -> str:
        state = "running" if self.returncode is None else f"returncode={self.returncode}"
        return f"<{type(self).__name__} {state}>"


def plain_lines(text: str) -> str:
    """With ``\\n`` at the end of each line, as :mod:`subprocess` has it."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def signal_operation(target: RawProcess | RawJob, signal: Signal) -> Operation:
    if isinstance(signal, str):
        return target.send_named_signal(signal)
    if isinstance(signal, bool) or not isinstance(signal, int):
        raise TypeError(f"a signal must be a number or a name, not {type(signal).__name__}")
    return target.send_signal(int(signal))


def still_running(limit: float | None) -> OperationTimeoutError:
    return OperationTimeoutError(
        f"the command still runs after {limit} s", operation="waiting for the command", timeout=limit
    )
