"""A server over HTTP, and what is left of sandboxes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


def sandboxes() -> list[str]:
    """The sandboxes that exist, as the command sees them."""
    done = subprocess.run([os.environ["SANDBOX"], "ls", "-q"], check=True, capture_output=True, text=True)
    return done.stdout.split()


@pytest.fixture
def server(tmp_path):
    """Yields the address of a server and its token, and stops it."""
    token = os.urandom(24).hex()
    (tmp_path / "token").write_text(token + "\n")
    command = [os.environ["SANDBOX"], "mcp", "--http", "127.0.0.1:0", "--token-file", str(tmp_path / "token")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        line = process.stderr.readline()
        assert "listening on " in line, line + process.stderr.read()
        yield line.split("listening on ")[1].strip(), token
        process.terminate()
        assert process.wait(timeout=40) == 0
    assert sandboxes() == []
