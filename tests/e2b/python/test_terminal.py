"""Pseudo-terminals."""

import threading
import time

import pytest

from e2b import NotFoundException
from e2b.sandbox.commands.command_handle import PtySize


class Screen:
    """Collects what a terminal prints until it ends."""

    def __init__(self, handle):
        self.text = b""
        self.error = None
        self.thread = threading.Thread(target=self._read, args=(handle,), daemon=True)
        self.thread.start()

    def _read(self, handle):
        try:
            handle.wait(on_pty=self._add)
        except Exception as error:
            self.error = error

    def _add(self, data):
        self.text += bytes(data)

    def shows(self, text, seconds=10):
        deadline = time.monotonic() + seconds
        while text not in self.text:
            assert time.monotonic() < deadline, f"{text} is not in {self.text}"
            time.sleep(0.02)

    def end(self, seconds=10):
        self.thread.join(seconds)
        assert not self.thread.is_alive()
        return self.error


def open_terminal(sandbox, **options):
    handle = sandbox.pty.create(PtySize(rows=24, cols=80), **options)
    return handle, Screen(handle)


def test_shell(sandbox):
    handle, screen = open_terminal(sandbox)
    sandbox.pty.send_stdin(handle.pid, b"echo $((6 * 7)); test -t 0 && echo a''tty\n")
    screen.shows(b"42")
    screen.shows(b"atty")
    sandbox.pty.send_stdin(handle.pid, b"exit\n")
    assert screen.end() is None


def test_exit_code(sandbox):
    handle, screen = open_terminal(sandbox)
    sandbox.pty.send_stdin(handle.pid, b"exit 7\n")
    assert screen.end().exit_code == 7


def test_size_and_resize(sandbox):
    handle, screen = open_terminal(sandbox)
    sandbox.pty.send_stdin(handle.pid, b"stty size\n")
    screen.shows(b"24 80")
    sandbox.pty.resize(handle.pid, PtySize(rows=50, cols=132))
    sandbox.pty.send_stdin(handle.pid, b"stty size\n")
    screen.shows(b"50 132")
    assert sandbox.pty.kill(handle.pid) is True
    screen.end()


def test_environment_and_working_directory(sandbox, directory):
    handle, screen = open_terminal(sandbox, cwd=directory, envs={"COLOUR": "gr\u00fcn"})
    sandbox.pty.send_stdin(handle.pid, b"echo \"[$PWD] [$COLOUR] [$TERM]\"\n")
    screen.shows(f"[{directory}] [gr\u00fcn] [xterm-256color]".encode())
    sandbox.pty.kill(handle.pid)
    screen.end()


def test_interrupt(sandbox):
    handle, screen = open_terminal(sandbox)
    program = b"(trap 'echo got''the''signal; exit' INT; echo start''ed; while :; do sleep 0.1; done)\n"
    sandbox.pty.send_stdin(handle.pid, program)
    screen.shows(b"started")
    sandbox.pty.send_stdin(handle.pid, b"\x03")
    screen.shows(b"gotthesignal")
    sandbox.pty.kill(handle.pid)
    screen.end()


def test_kill(sandbox):
    handle, screen = open_terminal(sandbox)
    assert sandbox.pty.kill(handle.pid) is True
    assert screen.end() is not None
    assert sandbox.pty.kill(handle.pid) is False
    with pytest.raises(NotFoundException):
        sandbox.pty.send_stdin(handle.pid, b"x")


@pytest.mark.since("2.45.0")
def test_connect(sandbox):
    handle, screen = open_terminal(sandbox, timeout=0)
    again = Screen(sandbox.pty.connect(handle.pid))
    sandbox.pty.send_stdin(handle.pid, b"echo bo''th\n")
    screen.shows(b"both")
    again.shows(b"both")
    sandbox.pty.send_stdin(handle.pid, b"exit 4\n")
    assert screen.end().exit_code == 4
    assert again.end().exit_code == 4


@pytest.mark.since("2.58.0")
def test_stream_input(sandbox):
    handle, screen = open_terminal(sandbox)
    sandbox.pty.stream_input(handle.pid, [b"echo one", "''two\n"])
    screen.shows(b"onetwo")
    sandbox.pty.kill(handle.pid)
    screen.end()


def test_flood_of_output(sandbox):
    handle, screen = open_terminal(sandbox)
    sandbox.pty.send_stdin(handle.pid, b"head -c 3000000 /dev/zero | tr '\\0' x; echo; echo the''end\n")
    screen.shows(b"theend", 30)
    assert screen.text.count(b"x") >= 3_000_000
    sandbox.pty.kill(handle.pid)
    screen.end()
