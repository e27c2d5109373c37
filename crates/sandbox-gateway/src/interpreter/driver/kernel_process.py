"""A kernel as a process of its own, as the server sees it."""

import os
import signal
import socket
import subprocess
import sys

from .wire import LineReader, encode

MODULES = {"python": "python_kernel", "bash": "bash_kernel"}
# What a pipe can hold at most, of which two are read before each event.
PIPE_CAPACITY = 1024 * 1024
CHUNK = 32 * 1024


class KernelProcess:
    """A process with a link and two pipes. All descriptors are read without blocking."""

    def __init__(self, language, cwd):
        self.is_ready = False
        self.end_reason = None
        # Whether it runs code.
        self.is_busy = False
        # Code goes to the kernel on one socket, events and their confirmations on another: threads of user code send
        # events while the kernel waits for code.
        self.requests, their_requests = socket.socketpair()
        self.link, theirs = socket.socketpair()
        directory = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        program = (
            "import sys; sys.path.insert(0, sys.argv[1]); "
            "from sandbox_interpreter.%s import main; main(int(sys.argv[2]), int(sys.argv[3]))" % MODULES[language]
        )
        stdout_reader, stdout_writer = os.pipe()
        stderr_reader, stderr_writer = os.pipe()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, directory, str(their_requests.fileno()), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=stdout_writer,
                stderr=stderr_writer,
                pass_fds=(their_requests.fileno(), theirs.fileno()),
                cwd=cwd,
                # A group of its own, which can be interrupted and killed as one.
                start_new_session=True,
            )
        except OSError:
            self.requests.close()
            self.link.close()
            os.close(stdout_reader)
            os.close(stderr_reader)
            raise
        finally:
            their_requests.close()
            theirs.close()
            os.close(stdout_writer)
            os.close(stderr_writer)
        self.stdout = stdout_reader
        self.stderr = stderr_reader
        for descriptor in (self.stdout, self.stderr):
            os.set_blocking(descriptor, False)
        self.reader = LineReader(self.link)

    def next_event(self):
        event = self.reader.pop()
        if event is not None and event.get("event") == "done":
            self.is_busy = False
        return event

    def receive(self):
        return self.reader.fill()

    def execute(self, code, env):
        self.is_busy = True
        self.requests.sendall(encode({"code": code, "env": env}))

    def confirm(self):
        self.link.sendall(b"{}\n")

    def read_output(self, ready, on_output):
        """Reads one chunk of each pipe that is ready."""
        for name in ("stdout", "stderr"):
            if getattr(self, name) in ready:
                self.read_chunk(name, on_output)

    def drain(self, on_output):
        """Reads what is in the pipes now."""
        for name in ("stdout", "stderr"):
            rest = PIPE_CAPACITY
            while rest > 0:
                count = self.read_chunk(name, on_output)
                if not count:
                    break
                rest -= count

    def read_chunk(self, name, on_output):
        descriptor = getattr(self, name)
        if descriptor is None:
            return 0
        try:
            data = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return 0
        if not data:
            # Closed by the kernel and by all its children.
            os.close(descriptor)
            setattr(self, name, None)
            return 0
        on_output(name, data)
        return len(data)

    def is_alive(self):
        return self.process.poll() is None

    def end_text(self):
        """Says how the process has ended."""
        if self.end_reason is not None:
            return self.end_reason
        try:
            code = self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return "the kernel closed its connection"
        if code >= 0:
            return "the kernel exited with code %d" % code
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = "signal %d" % -code
        hint = " (is the sandbox out of memory?)" if name == "SIGKILL" else ""
        return "the kernel was ended by %s%s" % (name, hint)

    def signal(self, number):
        """Signals the kernel and its children."""
        try:
            os.killpg(self.process.pid, number)
        except (ProcessLookupError, PermissionError):
            pass

    def kill(self, reason):
        self.end_reason = reason
        if self.process.returncode is None:
            self.signal(signal.SIGKILL)

    def close(self):
        self.signal(signal.SIGKILL)
        self.process.wait()
        self.requests.close()
        self.link.close()
        for descriptor in (self.stdout, self.stderr):
            if descriptor is not None:
                os.close(descriptor)
