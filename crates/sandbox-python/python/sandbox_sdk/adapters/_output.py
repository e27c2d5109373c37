"""Output of any length in bounded memory: a sandbox decides how much there is."""

from __future__ import annotations


class OutputWindow:
    """Keeps the first and the last half of an output.

    >>> window = OutputWindow(8)
    >>> window.add(b"0123456789"); window.add(b"abcdef")
    >>> window.text(), window.dropped
    ('0123\\n[8 bytes are left out]\\ncdef', 8)
    """

    def __init__(self, cap: int) -> None:
        """:param cap: how many bytes are kept."""
        self._half = max(cap // 2, 1)
        self._head = bytearray()
        self._tail = bytearray()
        self._total = 0

    def add(self, data: bytes) -> None:
        """Append to the output."""
        self._total += len(data)
        if len(self._head) < self._half:
            room = self._half - len(self._head)
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        # Cutting at twice the size moves each byte once at most.
        if len(self._tail) > 2 * self._half:
            del self._tail[: -self._half]

    @property
    def dropped(self) -> int:
        """How many bytes are left out."""
        return self._total - len(self._head) - min(len(self._tail), self._half)

    def text(self) -> str:
        """The output as text, with a line where something is left out. Bytes that are not UTF-8 become U+FFFD."""
        head = bytes(self._head)
        dropped = self.dropped
        if not dropped:
            return (head + self._tail).decode("utf-8", "replace")
        tail = bytes(self._tail[-self._half :])
        note = f"\n[{dropped} bytes are left out]\n"
        return head.decode("utf-8", "replace") + note + tail.decode("utf-8", "replace")
