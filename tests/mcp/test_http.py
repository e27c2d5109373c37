"""Over HTTP: sessions where the protocol has them, ids where it has none."""

import asyncio
import os
import subprocess

import pytest
from client import IS_NEW, over_http
from conftest import sandboxes


def test_sessions_are_apart(server):
    async def use():
        async with over_http("legacy", *server) as ada, over_http("legacy", *server) as bob:
            first = await ada.use("command_run", command="echo ada > file; cat file")
            assert first["output"] == "ada\n"
            second = await bob.use("command_run", command="ls")
            assert second["output"] == ""
            stolen = await bob.call("file_read", path="file", sandbox=first["sandbox"])
            assert stolen.is_error and "no sandbox" in stolen.text
            assert len((await bob.use("sandbox_list"))["sandboxes"]) == 1
            assert len(sandboxes()) == 2
        # Clients end their session when they are closed.
        for _ in range(100):
            if not sandboxes():
                break
            await asyncio.sleep(0.1)
        assert sandboxes() == []

    asyncio.run(use())


@pytest.mark.skipif(not IS_NEW, reason="this client is of the era of sessions")
def test_a_client_without_sessions_passes_ids(server):
    async def use():
        async with over_http("auto", *server) as tools:
            without = await tools.call("command_run", command="true")
            assert without.is_error and "sandbox_create" in without.text
            box = (await tools.use("sandbox_create"))["sandbox"]
            await tools.use("command_run", command="echo hello > file", sandbox=box)
        async with over_http("auto", *server) as tools:
            assert (await tools.use("file_read", path="file", sandbox=box))["content"] == "hello\n"
            line = "echo $$ > pid; exec sleep 1000"
            call = asyncio.create_task(tools.call("command_run", command=line, sandbox=box))
            await tools.use("command_run", command="until [ -s pid ]; do sleep 0.05; done", sandbox=box)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            gone = "while kill -0 $(cat pid); do sleep 0.05; done 2>/dev/null"
            assert (await tools.use("command_run", command=gone, sandbox=box))["exit_code"] == 0
        async with over_http("legacy", *server) as session:
            assert (await session.call("file_read", path="file", sandbox=box)).is_error

    asyncio.run(use())


def test_a_wrong_token_is_refused(server):
    url, token = server

    async def use():
        async with over_http("legacy", url, token[:-1] + "x") as tools:
            await tools.list()

    with pytest.raises(BaseException) as refused:
        asyncio.run(asyncio.wait_for(use(), 20))
    assert not isinstance(refused.value, TimeoutError)


def test_without_a_token_there_is_no_server():
    for address, message in [("127.0.0.1:0", "there is no token"), ("[::1]:0", "there is no token")]:
        done = subprocess.run(
            [os.environ["SANDBOX"], "mcp", "--http", address], capture_output=True, text=True, timeout=20
        )
        assert done.returncode == 125 and message in done.stderr, done
    env = {**os.environ, "SANDBOX_MCP_TOKEN": "0123456789abcdef"}
    done = subprocess.run(
        [os.environ["SANDBOX"], "mcp", "--http", "0.0.0.0:0"], capture_output=True, text=True, timeout=20, env=env
    )
    assert done.returncode == 125 and "other machines" in done.stderr, done
