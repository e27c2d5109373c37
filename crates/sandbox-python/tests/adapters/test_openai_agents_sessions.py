"""Sessions of the OpenAI Agents SDK that are kept, resumed and ended."""

import asyncio
import contextlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from agents.sandbox import LocalSnapshotSpec, Manifest
from agents.sandbox.entries import File, LocalFile
from agents.sandbox.errors import ExecTransportError, WorkspaceArchiveReadError, WorkspaceArchiveWriteError
from agents.sandbox.session.sandbox_client import BaseSandboxClientOptions
from agents.sandbox.session.sandbox_session_state import SandboxSessionState
from support import greeter

from sandbox_sdk import AsyncClient, SandboxNotFoundError
from sandbox_sdk.adapters.openai_agents import SdkSandboxClient, SdkSandboxClientOptions, archives

pytestmark = pytest.mark.usefixtures("nothing_is_left")


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


def test_egress_rules_are_kept_when_a_session_is_resumed():
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

    with greeter() as allowed, greeter() as refused:
        asyncio.run(main(allowed, refused))


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
