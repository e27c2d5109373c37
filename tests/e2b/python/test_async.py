"""The asynchronous client over the same surface, in brief."""

import asyncio

import pytest

from conftest import RUN
from e2b import AsyncSandbox, CommandExitException, NotFoundException
from e2b.sandbox.commands.command_handle import PtySize


@pytest.fixture
async def client():
    client = await AsyncSandbox.create(timeout=120, metadata={"run": RUN})
    yield client
    await client.kill()


async def test_lifecycle(client):
    assert await client.is_running()
    assert (await client.get_info()).sandbox_id == client.sandbox_id
    await client.set_timeout(500)
    again = await AsyncSandbox.connect(client.sandbox_id)
    assert (await again.commands.run("echo same")).stdout == "same\n"
    assert await client.kill() is True
    assert await client.is_running() is False


async def test_commands(client):
    lines = []
    result = await client.commands.run("echo out; echo err >&2", on_stdout=lines.append, on_stderr=lines.append)
    assert (result.stdout, result.stderr) == ("out\n", "err\n") and sorted(lines) == ["err\n", "out\n"]
    with pytest.raises(CommandExitException):
        await client.commands.run("exit 9")
    handle = await client.commands.run("read line; echo got $line", background=True, stdin=True)
    await client.commands.send_stdin(handle.pid, "text\n")
    assert (await handle.wait()).stdout == "got text\n"


async def test_commands_at_once(client):
    results = await asyncio.gather(*(client.commands.run(f"sleep 0.5; echo {number}") for number in range(20)))
    assert [result.stdout for result in results] == [f"{number}\n" for number in range(20)]


async def test_disconnect_and_connect(client):
    handle = await client.commands.run("sleep 1; echo late; exit 2", background=True, timeout=0)
    await handle.disconnect()
    with pytest.raises(CommandExitException) as raised:
        await (await client.commands.connect(handle.pid)).wait()
    assert (raised.value.exit_code, raised.value.stdout) == (2, "late\n")


async def test_files(client):
    await client.files.write("a/file", "content")
    assert await client.files.read("a/file") == "content"
    assert [entry.name async for entry in _each(client.files.list("a"))] == ["file"]
    stream = await client.files.read("a/file", format="stream")
    assert b"".join([chunk async for chunk in stream]) == b"content"
    await client.files.rename("a/file", "a/new")
    assert await client.files.exists("a/new") and not await client.files.exists("a/file")
    await client.files.remove("a")
    with pytest.raises(NotFoundException):
        await client.files.read("a/new")


async def _each(listing):
    for entry in await listing:
        yield entry


async def test_terminal(client):
    screen = bytearray()
    seen = asyncio.Event()

    def add(data):
        screen.extend(data)
        if b"forty-2" in screen:
            seen.set()

    handle = await client.pty.create(PtySize(rows=24, cols=80), on_data=add)
    await client.pty.send_stdin(handle.pid, b"echo forty''-2\n")
    async with asyncio.timeout(10):
        await seen.wait()
    assert await client.pty.kill(handle.pid) is True
