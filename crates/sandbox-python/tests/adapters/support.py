"""What the tests of several adapters need."""

import http.server
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from sandbox_sdk import Client


def running() -> list[str]:
    """The sandboxes that have not ended."""
    with Client() as client:
        return [info.id for info in client.list() if info.state != "ended"]


def wait_until_gone(process: str) -> str:
    """A line for a shell that waits for the end of a process, and fails if it goes on. Its id may be a substitution."""
    return f"for i in $(seq 100); do kill -0 {process} 2>/dev/null || exit 0; sleep 0.1; done; exit 1"


def fetch(url: str) -> bytes:
    """What a server says, which may have to start first."""
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.read()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


class Greeter(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"greetings")

    def log_message(self, *_):
        pass


@contextmanager
def greeter() -> Iterator[int]:
    """A server on this machine that a sandbox may reach, or not; its port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Greeter) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
