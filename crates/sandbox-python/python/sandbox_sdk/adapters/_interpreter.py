"""Stateful Python in a sandbox: pieces of code that share their variables. It needs ``python3`` there, 3.8 or newer."""

from __future__ import annotations

import contextlib
import json
import pathlib
import secrets
import subprocess
import threading
from dataclasses import dataclass

from ..exceptions import CommandExecutionError, SandboxError
from ..process import Process
from ..sandbox import Sandbox
from ._output import OutputWindow

REPLY_CAP = 64 << 20
"""The largest reply, in bytes: a sandbox could send any number."""
INTERRUPT_GRACE = 5.0
"""How many seconds code may go on after it was interrupted."""
DRIVER = pathlib.Path(__file__).with_name("_interpreter_driver.py")


@dataclass(frozen=True)
class Reply:
    """How a piece of code has ended. Everything in it comes from the sandbox."""

    logs: str
    """What it has printed."""
    value: str | None = None
    """The ``repr`` of the value of its last statement, if that is an expression and not ``None``."""
    image: str | None = None
    """The same as a PNG image in base64, if it is an image."""
    error: str | None = None
    """The name of the class of the exception that ended it."""
    message: str = ""
    """The text of that exception."""
    traceback: str = ""
    """Its traceback."""
    is_timed_out: bool = False
    """Whether it was interrupted because of its timeout."""


class InterpreterEndedError(SandboxError):
    """The interpreter has ended, and its variables are lost. The next piece of code gets a new one."""

    logs: str = ""
    """What the code had printed until then."""


class Interpreter:
    """A running interpreter in a sandbox. One piece of code runs at a time."""

    def __init__(self, sandbox: Sandbox, *, python: str = "python3", log_cap: int) -> None:
        """Start it.

        :param log_cap: how many bytes of what a piece of code prints are kept.
        :raises CommandExecutionError: it could not be started.
        """
        command = [python, "-c", DRIVER.read_text("utf-8")]
        self._process: Process[bytes] = sandbox.popen(command, stdin=subprocess.PIPE)
        self._log_cap = log_cap
        self.is_open = True

    def run(self, code: str, timeout: float | None) -> Reply:
        """Run a piece of code. Ctrl-C ends the interpreter, too.

        :param timeout: after so many seconds the code is interrupted by ``KeyboardInterrupt``, and five seconds later
            the interpreter is killed.
        :raises InterpreterEndedError: the interpreter has ended.
        :raises SandboxError: the sandbox cannot be reached.
        """
        deadline = _Deadline(self._process, timeout)
        try:
            with deadline:
                return self._exchange(code, deadline)
        except BaseException:
            # A late reply would be taken for that of the next piece of code.
            self.close()
            raise

    def close(self) -> None:
        """End it."""
        if self.is_open:
            self.is_open = False
            self._process.close()

    def _exchange(self, code: str, deadline: _Deadline) -> Reply:
        mark = f"\0{secrets.token_hex(16)}\0"
        request = json.dumps({"code": code, "mark": mark}) + "\n"
        logs = _Logs(self._log_cap, mark.encode("ascii"))
        replies = bytearray()
        received = 0
        found: Reply | None = None
        assert self._process.stdin is not None
        # If it has ended between two pieces of code, that is read below.
        with contextlib.suppress(CommandExecutionError):
            self._process.stdin.write(request.encode("ascii"))
        for chunk in self._process:
            if chunk.stream == "stderr":
                logs.add(chunk.data)
            else:
                received += len(chunk.data)
                if received > REPLY_CAP:
                    raise InterpreterEndedError(f"the reply is larger than {REPLY_CAP} bytes", logs=logs.text())
                replies += chunk.data
                while found is None and b"\n" in chunk.data and b"\n" in replies:
                    line, _, replies = replies.partition(b"\n")
                    found = _parse(bytes(line), mark)
            if found is not None and logs.is_complete:
                return Reply(
                    logs.text(),
                    found.value,
                    found.image,
                    found.error,
                    found.message,
                    found.traceback,
                    deadline.is_over,
                )
        how = "was killed after its timeout" if deadline.is_over else f"has ended with {self._process.returncode}"
        raise InterpreterEndedError(f"the Python interpreter {how}; its variables are lost", logs=logs.text())


class _Logs:
    """What a piece of code prints, up to the mark that ends it."""

    def __init__(self, cap: int, mark: bytes) -> None:
        self._window = OutputWindow(cap)
        self._mark = mark
        self._pending = b""
        self.is_complete = False

    def add(self, data: bytes) -> None:
        if not self.is_complete:
            data = self._pending + data
            text, mark, rest = data.partition(self._mark)
            self.is_complete = bool(mark)
            # The mark may be split between chunks.
            kept = 0 if mark else min(len(self._mark) - 1, len(data))
            self._pending = data[len(data) - kept :]
            # What threads print after the mark is not lost either.
            data = text + rest if mark else data[: len(data) - kept]
        self._window.add(data)

    def text(self) -> str:
        if not self.is_complete:
            self._window.add(self._pending)
            self._pending = b""
        return self._window.text()


class _Deadline:
    """Interrupts a process after a time, and kills it if it goes on."""

    def __init__(self, process: Process[bytes], timeout: float | None) -> None:
        self._process = process
        self._timeout = timeout
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()
        self._is_met = False
        self.is_over = False

    def __enter__(self) -> _Deadline:
        if self._timeout is not None:
            self._schedule(self._timeout, "INT")
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._is_met = True
            if self._timer is not None:
                self._timer.cancel()

    def _schedule(self, seconds: float, signal: str) -> None:
        self._timer = threading.Timer(seconds, self._send, [signal])
        self._timer.daemon = True
        self._timer.start()

    def _send(self, signal: str) -> None:
        with self._lock:
            if self._is_met:
                return
            self.is_over = True
            if signal == "INT":
                self._schedule(INTERRUPT_GRACE, "KILL")
        # Who waits for the reply gets an error as well.
        with contextlib.suppress(SandboxError):
            self._process.send_signal(signal)


def _parse(line: bytes, mark: str) -> Reply | None:
    """The reply in a line; nothing if it is another's. Code can write lines of its own."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("mark") != mark:
        return None

    def text(name: str) -> str | None:
        value = found.get(name)
        # Halves of surrogate pairs could not be printed.
        return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else None

    return Reply("", text("value"), text("image"), text("error"), text("message") or "", text("traceback") or "")
