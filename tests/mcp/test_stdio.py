"""Over standard input and output: one process, one session."""

import asyncio
import base64
import subprocess
import sys
import time

import pytest
from client import IS_NEW, MODES, over_stdio
from conftest import sandboxes

TEN = {
    "sandbox_create", "sandbox_list", "sandbox_delete", "command_run", "job_wait", "job_signal",
    "file_read", "file_write", "file_edit", "file_list",
}  # fmt: skip


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


def test_a_tour(mode, tmp_path):
    audit = tmp_path / "audit"

    async def tour():
        async with over_stdio(mode, "--audit", str(audit)) as tools:
            if IS_NEW:
                assert (tools.session.session.protocol_version == "2026-07-28") == (mode == "auto")
            listed = {tool.name for tool in await tools.list()}
            assert listed == TEN
            # The client checks each answer against the schema of its tool.
            ran = await tools.use("command_run", command="echo out; echo err >&2; exit 3")
            assert (ran["exit_code"], ran["output"], ran["still_running"]) == (3, "out\nerr\n", False)
            await tools.use("file_write", path="src/a.py", content="print('é')\n")
            await tools.use("file_edit", path="src/a.py", old="'é'", new="6 * 7")
            read = await tools.use("file_read", path="src/a.py")
            assert read["content"] == "print(6 * 7)\n"
            assert (await tools.use("command_run", command="python3 src/a.py"))["output"] == "42\n"
            entries = (await tools.use("file_list", path="src"))["entries"]
            assert [entry["name"] for entry in entries] == ["a.py"]
            binary = bytes(range(256))
            await tools.use("file_write", path="bin", content=base64.b64encode(binary).decode(), encoding="base64")
            exact = await tools.use("file_read", path="bin", encoding="base64")
            assert base64.b64decode(exact["content"]) == binary
            assert (await tools.use("file_read", path="bin"))["invalid_utf8"]
            further = await tools.use("sandbox_create")
            assert further["state"] == "ready"
            boxes = (await tools.use("sandbox_list"))["sandboxes"]
            assert len(boxes) == 2 and len(sandboxes()) == 2
            await tools.use("sandbox_delete", sandbox=further["sandbox"])
            failed = await tools.call("file_read", path="missing")
            assert failed.is_error and "missing" in failed.text

    asyncio.run(tour())
    assert sandboxes() == []
    assert len(audit.read_text().splitlines()) == 13


def test_a_long_command_is_waited_for_in_parts(mode):
    async def wait():
        async with over_stdio(mode) as tools:
            line = "echo one; until [ -e go ]; do sleep 0.01; done; echo two"
            begun = await tools.use("command_run", command=line, wait_seconds=1)
            assert begun["still_running"] and begun["output"] in ("", "one\n")
            await tools.use("file_write", path="go", content="")
            ended = await tools.use("job_wait", job_id=begun["job_id"], offset=begun["next_offset"])
            assert (ended["exit_code"], begun["output"] + ended["output"]) == (0, "one\ntwo\n")
            missing = await tools.call("job_wait", job_id="job-missing")
            assert missing.is_error and "no job job-missing" in missing.text
            endless = await tools.use("command_run", command="yes", wait_seconds=1)
            assert endless["still_running"] and endless["truncated"]
            await tools.use("job_signal", job_id=endless["job_id"], signal="KILL")
            killed = await tools.use("job_wait", job_id=endless["job_id"])
            assert killed["signal"] == "KILL"

    asyncio.run(wait())
    assert sandboxes() == []


@pytest.mark.skipif(not IS_NEW, reason="this client does not say that it has given up")
def test_a_call_that_its_caller_gives_up_ends_the_command(mode):
    async def give_up():
        async with over_stdio(mode) as tools:
            await tools.use("command_run", command="true")
            call = asyncio.create_task(tools.call("command_run", command="echo $$ > pid; exec sleep 1000"))
            await tools.use("command_run", command="until [ -s pid ]; do sleep 0.05; done")
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            gone = "while kill -0 $(cat pid); do sleep 0.05; done 2>/dev/null"
            assert (await tools.use("command_run", command=gone))["exit_code"] == 0

    asyncio.run(give_up())


def test_arguments_of_wrong_types_are_explained(mode):
    async def refuse():
        async with over_stdio(mode) as tools:
            for name, arguments in [
                ("command_run", {"command": 7}),
                ("command_run", {"command": "true", "memory": "64Gi"}),
                ("file_read", {"path": "x", "offset": -1}),
                ("sandbox_create", {"image": "evil"}),
                ("sandbox_delete", {"sandbox": "../.."}),
            ]:
                answer = await tools.call(name, **arguments)
                assert answer.is_error and answer.text, (name, answer)
            with pytest.raises(Exception, match="no tool"):
                await tools.call("upload", shared_path="x", path="y")

    asyncio.run(refuse())


def test_a_client_that_is_killed_leaves_nothing():
    program = """
import asyncio, sys
from client import over_stdio
async def main():
    async with over_stdio(sys.argv[1]) as tools:
        await tools.use("command_run", command="true")
        print("ready", flush=True)
        await tools.call("command_run", command="sleep 1000")
asyncio.run(main())
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, MODES[0]], stdout=subprocess.PIPE, cwd=__file__.rsplit("/", 1)[0]
    ) as victim:
        assert victim.stdout.readline() == b"ready\n"
        assert len(sandboxes()) == 1
        victim.kill()
    deadline = time.monotonic() + 30
    while sandboxes():
        assert time.monotonic() < deadline
        time.sleep(0.2)
