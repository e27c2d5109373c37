"""One client and one sandbox for the tests that only need any."""

import http.server
import os
import pathlib
import ssl
import subprocess
import sys
import tempfile
import threading
import time

import pytest

from sandbox_sdk import Client, Sandbox

# A certificate for 127.0.0.1 and localhost, and its key, which only these tests use.
CERTIFICATE = pathlib.Path(__file__).with_name("loopback.pem")


@pytest.fixture(scope="session", autouse=True)
def state_dir():
    """Sandboxes of these tests only; the path is short because a socket lies in it."""
    with tempfile.TemporaryDirectory(prefix="sdk-") as directory:
        os.environ["XDG_STATE_HOME"] = directory
        # Upstreams and transforms need authorities to trust, which this machine may not have.
        os.environ["SSL_CERT_FILE"] = str(CERTIFICATE)
        yield directory
        # Those of programs that have ended end two seconds after them.
        deadline = time.monotonic() + 20
        with Client() as client:
            while left := [info.id for info in client.list() if info.state == "running"]:
                assert time.monotonic() < deadline, f"a test has left sandboxes: {left}"
                time.sleep(0.1)


@pytest.fixture(scope="session")
def client(state_dir):
    with Client() as client:
        yield client


@pytest.fixture(scope="session")
def shared(client):
    with client.create() as sandbox:
        yield sandbox


@pytest.fixture
def sbx(shared) -> Sandbox:
    """The shared sandbox. A test uses a directory of its own for its files."""
    return shared


@pytest.fixture
def home(shared, request) -> str:
    """A new directory in the shared sandbox."""
    path = f"test-{abs(hash(request.node.nodeid))}"
    shared.mkdir(path)
    return path


@pytest.fixture
def child(state_dir):
    """Runs a program of Python with this package, whose attached sandboxes end two seconds after it."""
    environment = {**os.environ, "SANDBOX_ATTACH_TIMEOUT": "2s"}

    def run(program: str, *options: str):
        return subprocess.run(
            [sys.executable, *options, "-c", program], capture_output=True, text=True, timeout=60, env=environment
        )

    return run


class Origin(http.server.BaseHTTPRequestHandler):
    """Keeps what it was asked, and sends the secret back in a header, as badly configured servers do."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, dict(self.headers)))
        self.send_response(200)
        self.send_header("X-Echo", self.headers.get("Authorization", "nothing"))
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_):
        pass


@pytest.fixture
def origin():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.seen, server.certificate = [], CERTIFICATE
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
