"""The adapter for the OpenAI Agents SDK, against the real package: what sessions do."""

import asyncio
import contextlib
import dataclasses
import io
from pathlib import Path

import pytest
from agents.sandbox import Manifest
from agents.sandbox.entries import File, LocalFile
from agents.sandbox.errors import (
    ExecTimeoutError,
    ExecTransportError,
    ExposedPortUnavailableError,
    InvalidManifestPathError,
    PtySessionNotFoundError,
    WorkspaceReadNotFoundError,
)
from openai_agents_support import run
from support import fetch, wait_until_gone

from sandbox_sdk import AsyncClient
from sandbox_sdk.adapters.openai_agents import SdkSandboxClientOptions, terminals
from sandbox_sdk.adapters.openai_agents.client import place_workspace

pytestmark = pytest.mark.usefixtures("nothing_is_left")


# -- commands


def test_commands():
    async def work(session):
        done = await session.exec("echo $NAME; pwd; printf '\\377'; echo err >&2; exit 3")
        root = session.state.manifest.root
        assert done.stdout == f"value\n{root}\n".encode() + b"\xff"
        assert (done.stderr, done.exit_code, done.ok()) == (b"err\n", 3, False)
        # The default root cannot be created in a local sandbox.
        assert root.startswith("/home/") and root.endswith("/workspace")
        assert (await session.exec("kill -KILL $$", shell=["sh", "-c"])).exit_code == 128 + 9
        assert (await session.exec("printf", "%s|", "a b", "$HOME", shell=False)).stdout == b"a b|$HOME|"
        assert (await session.exec("no-such-program")).exit_code == 127
        assert await session.running()

    run(work, manifest=Manifest(environment={"value": {"NAME": "value"}}))


def test_the_workspace_is_in_the_home_directory_also_where_only_the_sandbox_knows_that():
    class Pod:
        def __init__(self, sandbox):
            self.id = sandbox.id
            self.run = sandbox.run
            self.initial_info = dataclasses.replace(sandbox.initial_info, home=None)

    async def main():
        async with AsyncClient() as client, await client.create() as sandbox:
            placed = await place_workspace(Pod(sandbox), Manifest())
            assert placed.root == f"{sandbox.initial_info.home}/workspace"

    asyncio.run(main())


def test_a_timeout_kills_and_has_the_type_of_the_framework():
    async def work(session):
        for limit in (0.2, 0):
            with pytest.raises(ExecTimeoutError) as caught:
                await session.exec("echo $$ >pid; exec sleep 60", timeout=limit)
            assert caught.value.timeout_s == limit
        pid = (await session.exec("cat pid")).stdout.decode().strip()
        assert (await session.exec(wait_until_gone(pid))).ok()

    run(work)


def test_output_beyond_the_limit_is_said_to_be_missing():
    async def work(session):
        done = await session.exec("head -c 20000000 /dev/zero")
        assert len(done.stdout) == 16 << 20
        assert (
            done.stderr == f"\n[sandbox: {20_000_000 - (16 << 20)} bytes of stdout are left out in its middle]".encode()
        )

    run(work)


def test_a_user_is_refused_unless_it_is_that_of_the_sandbox():
    async def work(session):
        own = (await session.exec("id -un")).stdout.decode().strip()
        assert (await session.exec("echo ok", user=own)).stdout == b"ok\n"
        with pytest.raises(ExecTransportError, match="running commands as"):
            await session.exec("echo ok", user="nobody")
        with pytest.raises(ExecTransportError, match="running commands as"):
            await session.pty_exec_start("echo ok", user="nobody")

    run(work)


# -- files


def test_files():
    async def work(session):
        await session.write(Path("new/dir/a.bin"), io.BytesIO(b"\x00\xff"))
        await session.write(Path("text"), io.StringIO("é"))
        with await session.read(Path("new/dir/a.bin")) as file:
            assert file.read() == b"\x00\xff"
        assert (await session.read(Path("text"))).read() == "é".encode()
        await session.mkdir("other")
        assert {Path(entry.path).name for entry in await session.ls(".")} >= {"new", "text", "other"}
        await session.rm("new", recursive=True)
        with pytest.raises(WorkspaceReadNotFoundError):
            await session.read(Path("new/dir/a.bin"))
        await session.apply_patch(
            [{"type": "create_file", "path": "patched.txt", "diff": "+one\n+two\n"}],
        )
        assert (await session.read(Path("patched.txt"))).read() == b"one\ntwo"

    run(work)


def test_paths_outside_of_the_workspace_are_refused():
    async def work(session):
        await session.exec("ln -s /etc out; ln -s loop loop")
        for path in ("../x", "/etc/passwd", "out/passwd"):
            with pytest.raises(InvalidManifestPathError):
                await session.read(Path(path))
            with pytest.raises(InvalidManifestPathError):
                await session.write(Path(path), io.BytesIO(b"x"))

    run(work)


def test_the_manifest_is_there_at_the_start(tmp_path):
    (tmp_path / "local.txt").write_text("local")
    manifest = Manifest(
        entries={"a.txt": File(content=b"a"), "sub/local.txt": LocalFile(src=Path("local.txt"))}, root="/tmp/work"
    )

    async def work(session):
        assert (await session.exec("cat a.txt sub/local.txt; pwd")).stdout == b"alocal/tmp/work\n"

    with contextlib.chdir(tmp_path):
        run(work, manifest=manifest)


# -- commands that run on


def test_a_terminal_is_read_and_written():
    async def work(session):
        started = await session.pty_exec_start("read name; echo hello $name; tty; exit 4", tty=True, yield_time_s=0.25)
        assert started.exit_code is None
        ended = await session.pty_write_stdin(session_id=started.process_id, chars="Ada\n", yield_time_s=10)
        assert b"hello Ada" in ended.output and b"/dev/pts/" in ended.output
        assert (ended.exit_code, ended.process_id) == (4, None)
        with pytest.raises(PtySessionNotFoundError):
            await session.pty_write_stdin(session_id=started.process_id, chars="")

    run(work)


def test_a_command_without_a_terminal_runs_on_without_input():
    async def work(session):
        line = "printf '\\303'; until [ -e go ]; do sleep 0.01; done; echo err >&2; sleep 0.1; printf '\\251'; exit 5"
        started = await session.pty_exec_start(line, yield_time_s=0.25)
        with pytest.raises(RuntimeError, match=r"^stdin is not available for this process$"):
            await session.pty_write_stdin(session_id=started.process_id, chars="x")
        await session.write(Path("go"), io.BytesIO())
        ended = await session.pty_write_stdin(session_id=started.process_id, chars="", yield_time_s=60)
        # A character that was cut in two is whole.
        assert (started.output + ended.output).decode() in ("éerr\n", "err\né")
        assert ended.exit_code == 5

    run(work)


def test_endless_output_is_taken_in_pieces():
    async def work(session):
        started = await session.pty_exec_start("exec yes", yield_time_s=30)
        assert terminals.OUTPUT_LIMIT <= len(started.output) <= 2 * terminals.OUTPUT_LIMIT
        again = await session.pty_write_stdin(session_id=started.process_id, chars="", max_output_tokens=100)
        assert len(again.output) < 2000 and again.original_token_count > 1000
        assert (await session.exec("pgrep -x yes")).ok()
        await session.pty_terminate_all()
        gone = "for i in $(seq 50); do pgrep -x yes || exit 0; sleep 0.1; done; exit 1"
        assert (await session.exec(gone)).ok()

    run(work)


def test_the_timeout_of_a_command_that_runs_on():
    async def work(session):
        with pytest.raises(ExecTimeoutError):
            await session.pty_exec_start("sleep 60", timeout=0.3, yield_time_s=10)

    run(work)


# -- ports


def test_an_exposed_port():
    server = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=8431, bind='127.0.0.1')"

    async def work(session):
        await session.write(Path("page"), io.BytesIO(b"served"))
        await session.pty_exec_start("python3", "-c", server, shell=False, yield_time_s=0.25)
        endpoint = await session.resolve_exposed_port(8431)
        assert (endpoint.host, endpoint.tls) == ("127.0.0.1", False)
        assert (await session.resolve_exposed_port(8431)).port == endpoint.port
        assert await asyncio.to_thread(fetch, f"http://127.0.0.1:{endpoint.port}/page") == b"served"
        with pytest.raises(ExposedPortUnavailableError):
            await session.resolve_exposed_port(8432)

    run(work, options=SdkSandboxClientOptions(exposed_ports=(8431,)))
