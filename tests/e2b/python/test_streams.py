"""Many streams, a sandbox killed in mid-stream, a client that vanishes, and one that does not read."""

import asyncio
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from conftest import wait_until
from e2b import AsyncSandbox, TimeoutException

STREAMS = 250


@pytest.mark.since("2.45.0")
def test_sandbox_killed_while_a_command_runs(create):
    sandbox = create()
    handle = sandbox.commands.run("echo started; sleep 100", background=True, timeout=0)
    events = iter(handle)
    assert next(events)[0] == "started\n"
    threading.Timer(0.5, sandbox.kill).start()
    start = time.monotonic()
    with pytest.raises(TimeoutException, match="killed|not found|end of life"):
        handle.wait()
    assert time.monotonic() - start < 10


@pytest.mark.since("2.45.0")
def test_sandbox_killed_while_a_file_is_read(create):
    sandbox = create()
    sandbox.commands.run("truncate -s 10G sparse")
    stream = sandbox.files.read("sparse", format="stream")
    next(stream)
    sandbox.kill()
    start = time.monotonic()
    with pytest.raises(Exception):
        while True:
            next(stream)
    assert time.monotonic() - start < 20


@pytest.mark.since("2.45.0")
async def test_many_streams_at_once(create, monkeypatch):
    sandbox = create()
    # The client's pool has 200 connections, and over plain HTTP/1.1 each stream needs one.
    monkeypatch.setenv("E2B_MAX_CONNECTIONS", str(STREAMS + 50))
    client = await AsyncSandbox.connect(sandbox.sandbox_id)
    handles = await asyncio.gather(
        *(client.commands.run(f"echo {number}; sleep 5; exit 0", background=True, timeout=120) for number in range(STREAMS))
    )
    # All of them run while another command is answered.
    assert (await client.commands.run("echo free")).stdout == "free\n"
    results = await asyncio.gather(*(handle.wait() for handle in handles))
    assert [result.stdout for result in results] == [f"{number}\n" for number in range(STREAMS)]


def test_fifty_commands_in_parallel(sandbox):
    with ThreadPoolExecutor(10) as threads:
        results = list(threads.map(lambda number: sandbox.commands.run(f"echo {number}").stdout, range(50)))
    assert results == [f"{number}\n" for number in range(50)]


def test_ten_sandboxes_in_parallel(create):
    with ThreadPoolExecutor(10) as threads:
        sandboxes = list(threads.map(lambda _: create(), range(10)))
        outputs = list(threads.map(lambda sandbox: sandbox.commands.run("echo $E2B_SANDBOX_ID").stdout, sandboxes))
    assert outputs == [f"{sandbox.sandbox_id}\n" for sandbox in sandboxes]


def test_client_that_vanishes_leaves_the_command(sandbox, directory):
    """The connection is cut without a word; the command goes on and its output is dropped."""
    gateway = urlsplit(os.environ["E2B_SANDBOX_URL"])
    token = sandbox._envd_access_token
    message = (
        b'{"process":{"cmd":"/bin/bash","args":["-l","-c","sleep 1; head -c 1000000 /dev/zero; echo > %s/done"]},"stdin":false}'
        % directory.encode()
    )
    frame = b"\0" + len(message).to_bytes(4, "big") + message
    head = (
        f"POST /process.Process/Start HTTP/1.1\r\nHost: {gateway.netloc}\r\nE2b-Sandbox-Id: {sandbox.sandbox_id}\r\n"
        f"E2b-Sandbox-Port: 49983\r\nX-Access-Token: {token}\r\nContent-Type: application/connect+json\r\n"
        f"Connect-Protocol-Version: 1\r\nContent-Length: {len(frame)}\r\n\r\n"
    ).encode()
    with socket.create_connection((gateway.hostname, gateway.port)) as client:
        client.sendall(head + frame)
        assert b"200" in client.recv(4096)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    wait_until(lambda: sandbox.files.exists(f"{directory}/done"), 15, "the end of the command")


def test_slow_reader_gets_everything(sandbox):
    handle = sandbox.commands.run("head -c 8000000 /dev/zero | tr '\\0' b", background=True)
    length = 0
    for stdout, _, _ in handle:
        if length == 0:
            time.sleep(2)
        length += len(stdout)
    assert length == 8_000_000


def test_slow_reader_does_not_hold_others(sandbox):
    slow = sandbox.commands.run("cat /dev/zero", background=True)
    next(iter(slow))
    start = time.monotonic()
    for number in range(5):
        assert sandbox.commands.run(f"echo {number}").stdout == f"{number}\n"
    assert time.monotonic() - start < 5
    assert sandbox.commands.kill(slow.pid) is True
