"""Lines of JSON over a stream socket."""

import json

# Longer than any line of the gateway or of a kernel that keeps to its own limits.
MAX_LINE = 32 * 1024 * 1024


class Broken(Exception):
    """The peer sent something that is no line of JSON."""


def encode(message):
    """Returns a line. Raises ValueError for what JSON has no form for, as NaN."""
    text = json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace") + b"\n"


class LineReader:
    """Splits what arrives at a socket into messages."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = bytearray()
        self.searched = 0

    def pop(self):
        """Returns the next message that has arrived whole, or None."""
        end = self.buffer.find(b"\n", self.searched)
        if end < 0:
            self.searched = len(self.buffer)
            if self.searched > MAX_LINE:
                raise Broken("a line is longer than %d bytes" % MAX_LINE)
            return None
        line = bytes(self.buffer[:end])
        del self.buffer[: end + 1]
        self.searched = 0
        try:
            message = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise Broken("not JSON: %s" % error)
        if not isinstance(message, dict):
            raise Broken("not an object")
        return message

    def fill(self):
        """Waits for more data; returns whether there was any before the end."""
        data = self.sock.recv(1 << 18)
        self.buffer += data
        return bool(data)

    def read(self):
        """Waits for a message; returns None at the end."""
        while True:
            message = self.pop()
            if message is not None:
                return message
            if not self.fill():
                return None
