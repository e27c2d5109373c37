"""One client and one sandbox for the tests that only need any."""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

import pytest

from sandbox_sdk import Client, Sandbox


@pytest.fixture(scope="session", autouse=True)
def state_dir():
    """Sandboxes of these tests only; the path is short because a socket lies in it."""
    with tempfile.TemporaryDirectory(prefix="sdk-") as directory:
        os.environ["XDG_STATE_HOME"] = directory
        # Upstreams need authorities to trust, which this machine may not have.
        os.environ["SSL_CERT_FILE"] = str(pathlib.Path(__file__).with_name("loopback.pem"))
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
