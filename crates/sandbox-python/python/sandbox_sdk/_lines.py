"""The output of a command as lines."""

from __future__ import annotations

from collections import deque
from typing import Any, Generic

from ._completed import Chunk, Stream, T

LINE_CAP = 16 << 20
"""A longer line comes in pieces, so that a command cannot fill the memory of this program."""


class LineSplitter(Generic[T]):
    """Joins pieces of output to lines, for each stream, and keeps those that were not taken yet."""

    def __init__(self) -> None:
        self._lines: deque[Chunk[T]] = deque()
        self._partial: dict[Stream, list[Any]] = {}
        self._sizes: dict[Stream, int] = {}

    def push(self, chunk: Chunk[T]) -> None:
        stream: Stream = chunk.stream
        data: Any = chunk.data
        newline: Any = b"\n" if isinstance(data, bytes) else "\n"
        # Only a newline ends a line, as in a file.
        *ended, rest = data.split(newline)
        if ended:
            self._add(stream, ended[0] + newline)
            self._end(stream)
            self._lines.extend(Chunk(stream, line + newline) for line in ended[1:])
        if rest:
            self._add(stream, rest)

    def pop(self) -> Chunk[T] | None:
        """Take the next line."""
        return self._lines.popleft() if self._lines else None

    def finish(self) -> None:
        """The output has ended, and so has its last line."""
        for stream in list(self._partial):
            self._end(stream)

    def take_back(self) -> Chunk[T] | None:
        """Take what is next, whether it is a whole line or not."""
        if not self._lines:
            self.finish()
        return self.pop()

    def _add(self, stream: Stream, piece: Any) -> None:
        self._partial.setdefault(stream, []).append(piece)
        self._sizes[stream] = self._sizes.get(stream, 0) + len(piece)
        if self._sizes[stream] >= LINE_CAP:
            self._end(stream)

    def _end(self, stream: Stream) -> None:
        pieces = self._partial.pop(stream, None)
        self._sizes.pop(stream, None)
        if pieces:
            self._lines.append(Chunk(stream, pieces[0][:0].join(pieces)))
