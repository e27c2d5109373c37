"""The adapter for the OpenAI Agents SDK, against the real package: sessions, and whole runs with a scripted model."""

import asyncio
import contextlib
import dataclasses
import http.server
import io
import json
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from agents import ModelResponse, RunConfig, Runner, Usage
from agents.models.interface import Model
from agents.sandbox import LocalSnapshotSpec, Manifest, SandboxAgent, SandboxRunConfig
from agents.sandbox.entries import File, LocalFile
from agents.sandbox.errors import (
    ExecTimeoutError,
    ExecTransportError,
    ExposedPortUnavailableError,
    InvalidManifestPathError,
    PtySessionNotFoundError,
    WorkspaceArchiveReadError,
    WorkspaceArchiveWriteError,
    WorkspaceReadNotFoundError,
)
from agents.sandbox.session.sandbox_client import BaseSandboxClientOptions
from agents.sandbox.session.sandbox_session_state import SandboxSessionState
from agents.sandbox.snapshot import NoopSnapshotSpec
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

from sandbox_sdk import AsyncClient, Client, SandboxNotFoundError
from sandbox_sdk.adapters.openai_agents import SdkSandboxClient, SdkSandboxClientOptions, archives, terminals
from sandbox_sdk.adapters.openai_agents.client import place_workspace


def run(work, **options):
    """Runs a coroutine function with a session that has been started."""

    async def main():
        async with SdkSandboxClient() as client:
            async with await client.create(**options) as session:
                return await work(session)

    return asyncio.run(main())


def running() -> list[str]:
    with Client() as client:
        return [info.id for info in client.list() if info.state != "ended"]


@pytest.fixture(autouse=True)
def nothing_is_left():
    before = set(running())
    yield
    # The end of a creation that was cancelled is not waited for.
    deadline = time.monotonic() + 20
    while left := set(running()) - before:
        assert time.monotonic() < deadline, f"sandboxes are left: {left}"
        time.sleep(0.05)


def tar(*entries: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for entry, content in entries:
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    data.seek(0)
    return data


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry, b""


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
        gone = f"for i in $(seq 50); do kill -0 {pid} 2>/dev/null || exit 0; sleep 0.1; done; exit 1"
        assert (await session.exec(gone)).ok()

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
        started = await session.pty_exec_start(
            "printf '\\303'; sleep 0.5; printf '\\251'; echo err >&2; exit 5", yield_time_s=0.25
        )
        with pytest.raises(RuntimeError, match=r"^stdin is not available for this process$"):
            await session.pty_write_stdin(session_id=started.process_id, chars="x")
        ended = await session.pty_write_stdin(session_id=started.process_id, chars="")
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


# -- the workspace as an archive


def test_a_snapshot_restores_the_workspace_in_another_sandbox(tmp_path):
    line = (
        "mkdir -p bin 'a b'; echo one >bin/run; chmod 750 bin/run; ln bin/run hard; ln -s /usr/bin/env absolute; "
        "ln -s bin/run relative; mkfifo fifo; printf '\\377' >'a b/caf\u00e9'"
    )
    manifest = Manifest(entries={"keep": File(content=b"k"), "secret": File(content=b"s", ephemeral=True)})

    async def main():
        async with SdkSandboxClient() as client:
            snapshot = LocalSnapshotSpec(base_path=tmp_path)
            async with await client.create(snapshot=snapshot, manifest=manifest) as session:
                assert (await session.exec(line)).ok()
                first = session.state.sandbox_id
            payload = json.loads(json.dumps(client.serialize_session_state(session.state)))
            with tarfile.open(next(tmp_path.glob("*.tar"))) as archive:
                names = {name.removeprefix("./") for name in archive.getnames()}
            assert "secret" not in names and "fifo" not in names and "keep" in names

            async with await client.resume(client.deserialize_session_state(payload)) as session:
                assert session.state.sandbox_id != first
                done = await session.exec(
                    "cat bin/run hard relative keep secret; stat -c %a bin/run; readlink absolute"
                )
                assert done.stdout == b"one\none\none\nks750\n/usr/bin/env\n"
                assert (await session.exec("cat 'a b/caf\u00e9'")).stdout == b"\xff"

    asyncio.run(main())


@pytest.mark.parametrize(
    "archive",
    [
        tar((tarfile.TarInfo("../evil"), b"x")),
        tar((tarfile.TarInfo("/tmp/evil"), b"x")),
        tar(link("out", "/tmp"), (tarfile.TarInfo("out/evil"), b"x")),
        tar(link("hard", "/etc/passwd", tarfile.LNKTYPE)),
        tar(link("device", "", tarfile.CHRTYPE)),
        tar((tarfile.TarInfo("big"), bytes(3 << 20))),
        io.BytesIO(b"no archive"),
        io.BytesIO(tar((tarfile.TarInfo("cut"), b"x" * 5000)).getvalue()[:2000]),
    ],
    ids=["parent", "absolute", "through-link", "hard-link", "device", "too-large", "garbage", "cut"],
)
def test_unsafe_archives_are_not_extracted(archive):
    async def main():
        async with SdkSandboxClient(workspace_limit=2 << 20) as client:
            async with await client.create() as session:
                archive.seek(0)
                with pytest.raises(WorkspaceArchiveWriteError):
                    await session.hydrate_workspace(archive)
                left = await session.exec("ls -A . /tmp; test -e /tmp/evil")
                assert left.exit_code == 1 and b"evil" not in left.stdout and b".tar" not in left.stdout

    asyncio.run(main())


def test_a_workspace_that_is_too_large_is_refused():
    async def main():
        async with SdkSandboxClient(workspace_limit=1 << 20) as client:
            async with await client.create() as session:
                await session.exec("truncate -s 1T sparse")
                with pytest.raises(WorkspaceArchiveReadError) as caught:
                    await session.persist_workspace()
                assert "more than 1048576 bytes" in caught.value.context["reason"]
                await session.exec("rm sparse; head -c 100000 /dev/zero >a; for i in $(seq 20); do ln a b$i; done")
                # One file is small, all its names together are not.
                with pytest.raises(WorkspaceArchiveReadError):
                    await session.persist_workspace()
                await session.exec("rm b*; mkdir closed; touch closed/x; chmod 0 closed")
                with pytest.raises(WorkspaceArchiveReadError) as caught:
                    await session.persist_workspace()
                assert "tar failed" in caught.value.context["reason"]
                await session.exec("chmod 700 closed")

    asyncio.run(main())


@pytest.mark.parametrize(
    "archive",
    [
        tar((tarfile.TarInfo("../evil"), b"x")),
        tar(link("hard", "missing", tarfile.LNKTYPE)),
        tar(link("hard", "hard", tarfile.LNKTYPE)),
        io.BytesIO(b"\xff" * 4096),
    ],
    ids=["parent", "dangling", "itself", "garbage"],
)
def test_a_hostile_archive_from_a_sandbox_is_refused_or_empty(archive):
    archive.seek(0)
    try:
        kept = archives.rewrite(archive, [], 1 << 20)
    except archives.ArchiveError:
        return
    with kept, tarfile.open(fileobj=kept) as safe:
        assert not safe.getnames()


# -- ports


def test_egress_rules_are_kept_when_a_session_is_resumed():
    class Greeter(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"greetings")

        def log_message(self, *_):
            pass

    async def reach(session, port) -> bytes:
        fetch = f"NO_PROXY= no_proxy= curl -sS -m 10 http://127.0.0.1:{port}/"
        return (await session.exec(fetch)).stdout

    async def main(allowed, refused):
        options = SdkSandboxClientOptions(egress_allow=(f"127.0.0.1:{allowed}",), pause_on_exit=True, ttl=600)
        async with SdkSandboxClient() as client, await client.create(options=options) as session:
            assert await reach(session, allowed) == b"greetings"
            assert await reach(session, refused) != b"greetings"
        state = client.deserialize_session_state(json.loads(json.dumps(client.serialize_session_state(session.state))))
        async with SdkSandboxClient() as client, AsyncClient() as sdk, await client.resume(state) as again:
            assert again.state.sandbox_id == session.state.sandbox_id
            assert await reach(again, allowed) == b"greetings"
            assert await reach(again, refused) != b"greetings"
            await sdk.delete(again.state.sandbox_id)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Greeter) as server:
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Greeter) as other:
            for each in (server, other):
                threading.Thread(target=each.serve_forever, daemon=True).start()
            try:
                asyncio.run(main(server.server_port, other.server_port))
            finally:
                server.shutdown()
                other.shutdown()


def test_an_exposed_port():
    server = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=8431, bind='127.0.0.1')"

    async def work(session):
        await session.write(Path("page"), io.BytesIO(b"served"))
        await session.pty_exec_start("python3", "-c", server, shell=False, yield_time_s=0.25)
        endpoint = await session.resolve_exposed_port(8431)
        assert (endpoint.host, endpoint.tls) == ("127.0.0.1", False)
        assert (await session.resolve_exposed_port(8431)).port == endpoint.port

        def fetch() -> bytes:
            deadline = time.monotonic() + 20
            while True:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}/page", timeout=5) as answer:
                        return answer.read()
                except OSError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)

        assert await asyncio.to_thread(fetch) == b"served"
        with pytest.raises(ExposedPortUnavailableError):
            await session.resolve_exposed_port(8432)

    run(work, options=SdkSandboxClientOptions(exposed_ports=(8431,)))


# -- sessions that are resumed, and what becomes of their sandboxes


def test_a_session_is_resumed_by_the_id_of_its_sandbox():
    options = SdkSandboxClientOptions(pause_on_exit=True, ttl=600)

    async def main():
        async with SdkSandboxClient() as client:
            async with await client.create(options=options) as session:
                await session.exec("echo kept >/tmp/outside; echo kept >inside")
            await client.delete(session)
            payload = client.serialize_session_state(session.state)

        async with SdkSandboxClient() as client, AsyncClient() as sdk:
            text = json.dumps(payload)
            assert (await sdk.info(session.state.sandbox_id)).is_paused

            # A state that names a sandbox which is not that of its session gets another one.
            for change in ({"session_id": "00000000-0000-4000-8000-000000000000"}, {"sandbox_uid": "other"}):
                forged = client.deserialize_session_state(json.loads(text) | change)
                forged = forged.model_copy(update={"options": SdkSandboxClientOptions()})
                async with await client.resume(forged) as other:
                    assert other.state.sandbox_id != session.state.sandbox_id
                    assert not (await other.exec("cat /tmp/outside")).ok()

            async with await client.resume(client.deserialize_session_state(json.loads(text))) as again:
                assert again.state.sandbox_id == session.state.sandbox_id
                assert (await again.exec("cat /tmp/outside inside")).stdout == b"kept\nkept\n"
            await sdk.delete(session.state.sandbox_id)

            # It is gone, so there is a new one, which has no snapshot to restore.
            state = client.deserialize_session_state(json.loads(text))
            async with await client.resume(state.model_copy(update={"options": SdkSandboxClientOptions()})) as fresh:
                assert fresh.state.sandbox_id != session.state.sandbox_id
                assert not (await fresh.exec("cat inside")).ok()

    asyncio.run(main())


def test_a_sandbox_is_deleted_when_the_start_fails_or_is_cancelled():
    async def main():
        async with SdkSandboxClient() as client:
            session = await client.create(manifest=Manifest(entries={"a": LocalFile(src=Path("missing"))}))
            with pytest.raises(Exception, match="missing"):
                await session.start()
            session = await client.create(manifest=Manifest(entries={"a": File(content=b"a")}))
            starting = asyncio.create_task(session.start())
            await asyncio.sleep(0.01)
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting
            for delay in (0, 0.001, 0.005, 0.02, 0.04):
                creating = asyncio.create_task(client.create())
                await asyncio.sleep(delay)
                creating.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await client.delete(await creating)

    asyncio.run(main())


def test_what_happens_after_the_end():
    async def main():
        async with SdkSandboxClient() as client:
            async with await client.create() as session:
                pass
            assert not await session.running()
            with pytest.raises(ExecTransportError):
                await session.exec("true")
            await session.shutdown()
            await client.delete(session)
            # The sandbox ends while the session is used.
            async with AsyncClient() as sdk:
                session = await client.create()
                await session.start()
                await sdk.delete(session.state.sandbox_id)
                assert not await session.running()
                with pytest.raises(ExecTransportError):
                    await session.exec("true")
                await client.delete(session)
                with pytest.raises(SandboxNotFoundError):
                    await sdk.info(session.state.sandbox_id)

    asyncio.run(main())


def test_options_and_states_are_recognised_by_their_type():
    options = SdkSandboxClientOptions("python:3.12-slim", ttl=60, exposed_ports=(80,))
    assert BaseSandboxClientOptions.parse(json.loads(options.model_dump_json())) == options

    async def main():
        async with SdkSandboxClient() as client:
            session = await client.create(options=SdkSandboxClientOptions(labels={"a": "b"}))
            payload = json.loads(json.dumps(client.serialize_session_state(session.state)))
            assert SandboxSessionState.parse(dict(payload)).sandbox_id == session.state.sandbox_id
            await client.delete(session)

    asyncio.run(main())


# -- runs


class Script(Model):
    """A model that makes these calls of tools one after the other, and then says the output of the last."""

    def __init__(self, *calls):
        self.calls = list(calls)
        self.outputs = []

    async def get_response(self, system_instructions, input, *_, **__):
        self.outputs = [item["output"] for item in input if item.get("type") == "function_call_output"]
        if len(self.outputs) < len(self.calls):
            call = self.calls[len(self.outputs)]
            name, arguments = call(self.outputs) if callable(call) else call
            item = ResponseFunctionToolCall(
                type="function_call", call_id=f"c{len(self.outputs)}", name=name, arguments=json.dumps(arguments)
            )
        else:
            text = ResponseOutputText(type="output_text", text=self.outputs[-1], annotations=[])
            item = ResponseOutputMessage(id="m", type="message", role="assistant", status="completed", content=[text])
        return ModelResponse(output=[item], usage=Usage(), response_id=None)

    async def stream_response(self, *_, **__):
        raise NotImplementedError
        yield


def play(model, client, **options):
    agent = SandboxAgent(name="worker", instructions="Work.", model=model)
    sandbox = SandboxRunConfig(client=client, snapshot=NoopSnapshotSpec(), **options)
    return Runner.run(agent, "go", run_config=RunConfig(sandbox=sandbox, tracing_disabled=True))


def test_a_run_uses_commands_and_terminals():
    def answer(outputs):
        number = outputs[-1].split("session ID ")[1].split()[0]
        return "write_stdin", {"session_id": int(number), "chars": "6 * 7\n", "yield_time_ms": 2000}

    model = Script(
        ("exec_command", {"cmd": "echo 'print(input())' >ask.py; ls"}),
        ("exec_command", {"cmd": "python3 -iq", "tty": True, "yield_time_ms": 1000}),
        answer,
        ("exec_command", {"cmd": "echo done: $(cat ask.py)"}),
    )

    async def main():
        async with SdkSandboxClient() as client:
            return await play(model, client)

    result = asyncio.run(main())
    assert "ask.py" in model.outputs[0] and "42" in model.outputs[2]
    assert "done: print(input())" in result.final_output


def test_a_run_that_fails_or_is_cancelled_leaves_no_sandbox():
    class Failing(Script):
        async def get_response(self, *arguments, **options):
            response = await super().get_response(*arguments, **options)
            if self.outputs:
                raise KeyError("the model has failed")
            return response

    async def main():
        async with SdkSandboxClient() as client:
            call = "exec_command", {"cmd": "echo worked"}
            model = Failing(call, call)
            with pytest.raises(KeyError, match="the model has failed"):
                await play(model, client)
            assert "worked" in model.outputs[0]
            before = await asyncio.to_thread(running)
            going = asyncio.create_task(play(Script(("exec_command", {"cmd": "sleep 60"})), client))
            deadline = time.monotonic() + 20
            while await asyncio.to_thread(running) == before:
                assert time.monotonic() < deadline
            await asyncio.sleep(0.3)
            going.cancel()
            with pytest.raises(asyncio.CancelledError):
                await going

    asyncio.run(main())


def test_the_extra_is_named_if_it_is_missing():
    program = "import sys; sys.modules['agents'] = None; import sandbox_sdk.adapters.openai_agents"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "pip install 'sandbox-sdk[openai-agents]'" in done.stderr.splitlines()[-1]
