"""The output of a command: passed on while it runs, and kept as far as it has room."""

from __future__ import annotations

import codecs
from collections.abc import Awaitable, Callable
from typing import Any, Literal

Stream = Literal["stdout", "stderr"]
Callback = Callable[[str, Any], Awaitable[None]]

LIMIT = 16 << 20
"""How many bytes of each stream are kept: the first and the last half."""


class Text:
    """One stream as text. Bytes that are not UTF-8 become U+FFFD."""

    def __init__(self, name: Stream, limit: int = LIMIT) -> None:
        self.name: Stream = name
        self._half = limit // 2
        self._first = bytearray()
        self._last = bytearray()
        self._dropped = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    async def push(self, data: bytes, callback: Callback | None) -> None:
        """Keep a piece, and pass it on."""
        room = self._half - len(self._first)
        self._first += data[:room]
        self._last += data[room:]
        # The buffer may become twice as large, so that it is not moved for each piece.
        if len(self._last) > 2 * self._half:
            self._drop()
        if callback is not None and (text := self._decoder.decode(data)):
            await callback(text, self.name)

    async def finish(self, callback: Callback | None) -> str:
        """Return what was kept, with a line where some is left out."""
        if callback is not None and (rest := self._decoder.decode(b"", True)):
            await callback(rest, self.name)
        self._drop()
        if not self._dropped:
            return (self._first + self._last).decode("utf-8", "replace")
        gap = f"\n[sandbox: {self._dropped} bytes of {self.name} are left out]\n"
        return self._first.decode("utf-8", "replace") + gap + self._last.decode("utf-8", "replace")

    def _drop(self) -> None:
        excess = max(0, len(self._last) - self._half)
        del self._last[:excess]
        self._dropped += excess
