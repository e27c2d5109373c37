"""A kernel's end of its connection to the server.

A kernel has its own descriptor for it, which no child process inherits, so that nothing that user code prints is
taken for a message. Standard output and error are pipes to the server. Each message waits for the server's
confirmation, before which the server has read the pipes: so what is printed, displayed and raised arrives in the
order in which it happened.
"""

import io
import os
import signal
import socket
import sys
import threading

from .wire import LineReader, encode

# Of one message, encoded. A browser shows nothing larger, and the gateway holds a line in memory.
MAX_MESSAGE = 16 * 1024 * 1024


class Link:
    """Sends events, and receives code to run."""

    def __init__(self, requests, events):
        self.requests = socket.socket(fileno=requests)
        self.sock = socket.socket(fileno=events)
        for sock in (self.requests, self.sock):
            sock.set_inheritable(False)
        self.request_reader = LineReader(self.requests)
        self.reader = LineReader(self.sock)
        self.lock = threading.RLock()
        # Interrupts wait while a message is under way: half a message would be the end of the protocol.
        self.masks = 0
        self.is_interrupted = False
        self.can_interrupt = False
        self.last_stream = None
        os.register_at_fork(after_in_child=self.forget)

    def forget(self):
        """A forked child is not the kernel: what it prints is output like that of any child process."""
        if self.sock is not None:
            self.requests.close()
            self.sock.close()
            self.sock = None
        self.lock = threading.RLock()

    def handle_interrupts(self):
        signal.signal(signal.SIGINT, self.on_interrupt)

    def on_interrupt(self, _signum, _frame):
        if self.masks:
            self.is_interrupted = True
        elif self.can_interrupt:
            raise KeyboardInterrupt

    def receive(self):
        """Waits for a request; None if the server has ended."""
        return self.request_reader.read()

    def emit(self, message):
        """Sends a message, and waits until the server has it."""
        if self.sock is None:
            return
        line = encode(message)
        is_main = threading.current_thread() is threading.main_thread()
        if is_main:
            self.masks += 1
        try:
            with self.lock:
                self.sock.sendall(line)
                if self.reader.read() is None:
                    # Without the server there is nobody to run code for.
                    os._exit(0)
        except (BrokenPipeError, ConnectionResetError):
            os._exit(0)
        finally:
            if is_main:
                self.masks -= 1
        if is_main and not self.masks and self.is_interrupted:
            self.is_interrupted = False
            if self.can_interrupt:
                raise KeyboardInterrupt

    def emit_bundle(self, bundle, is_main):
        """Sends representations by MIME type. Says what is left out because it is too large or no JSON."""
        flush_streams()
        bundle = dict(bundle)
        for mime in list(bundle):
            try:
                size = len(encode(bundle[mime]))
                problem = None
            except (TypeError, ValueError, RecursionError) as error:
                size, problem = 0, "it is not JSON: %s" % error
            if size > MAX_MESSAGE - 4096:
                problem = "it has %d bytes, of at most %d" % (size, MAX_MESSAGE)
            if problem is not None:
                del bundle[mime]
                print("%s left out: %s" % (mime, problem), file=sys.stderr, flush=True)
        while bundle and len(encode(bundle)) > MAX_MESSAGE - 4096:
            largest = max(bundle, key=lambda mime: len(encode(bundle[mime])))
            del bundle[largest]
            print("%s left out: the result is larger than %d bytes" % (largest, MAX_MESSAGE), file=sys.stderr, flush=True)
        if bundle:
            self.emit({"event": "bundle", "main": is_main, "data": bundle})

    def switch_to(self, stream):
        """Called before each write: keeps the order of what goes to the two pipes."""
        if self.last_stream is not stream:
            if self.last_stream is not None:
                self.emit({"event": "sync"})
            self.last_stream = stream

    def open_streams(self):
        """Replaces standard output and error by streams that keep their order."""
        sys.stdout = OutputStream(self, 1)
        sys.stderr = OutputStream(self, 2)


class OrderedPipe(io.RawIOBase):
    """One of the pipes to the server."""

    def __init__(self, link, descriptor):
        super().__init__()
        self.link = link
        self.descriptor = descriptor

    def writable(self):
        return True

    def fileno(self):
        return self.descriptor

    def write(self, data):
        self.link.switch_to(self.descriptor)
        count = os.write(self.descriptor, data)
        if self.descriptor == 2:
            # A child process may write to standard output next, which the server reads first.
            self.link.emit({"event": "sync"})
        return count


class OutputStream(io.TextIOWrapper):
    """Standard output or error, sent by line as on a terminal."""

    def __init__(self, link, descriptor):
        pipe = io.BufferedWriter(OrderedPipe(link, descriptor))
        super().__init__(pipe, encoding="utf-8", errors="backslashreplace", line_buffering=True)
        self.mode = "w"


def flush_streams():
    """Flushes standard output and error, whatever user code has put in their place."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, ValueError, OSError):
            pass
