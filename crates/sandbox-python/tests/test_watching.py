"""Watches of directories."""

import asyncio
import threading

import pytest

from sandbox_sdk import AsyncClient, RefusedError, Sandbox


def test_events_have_their_order(sbx: Sandbox, home):
    sbx.mkdir(f"{home}/sub")
    with sbx.watch(home, recursive=True) as events:
        sbx.shell("echo 1 >a; mv a b; chmod 600 b; rm b; echo 2 >sub/c", cwd=home, check=True)
        seen = []
        for event in events:
            seen.append((event.path.removeprefix(f"{home}/"), event.kind))
            if seen[-1] == ("sub/c", "written"):
                break
    assert seen == [
        ("a", "created"),
        ("a", "written"),
        ("a", "renamed"),
        ("b", "created"),
        ("b", "attributes"),
        ("b", "removed"),
        ("sub/c", "created"),
        ("sub/c", "written"),
    ]
    assert list(events) == []


def test_names_that_are_no_text(sbx: Sandbox, home):
    with sbx.watch(home) as events:
        sbx.write_bytes(f"{home}/caf\udce9", b"")
        assert any(event.path == f"{home}/caf\udce9" for event in events)


def test_the_end_of_the_directory_ends_it(sbx: Sandbox, home):
    events = sbx.watch(home)
    sbx.rmtree(home)
    assert len(list(events)) < 5


def test_closing_ends_a_thread_that_waits(sbx: Sandbox, home):
    events = sbx.watch(home)
    thread = threading.Thread(target=list, args=(events,))
    thread.start()
    events.close()
    thread.join(20)
    assert not thread.is_alive()


def test_what_cannot_be_watched(sbx: Sandbox, home):
    sbx.write_text(f"{home}/file", "")
    for path, reason in ((f"{home}/file", "not-a-directory"), (f"{home}/missing", "not-found")):
        with pytest.raises(RefusedError) as caught:
            sbx.watch(path)
        assert caught.value.reason == reason
    with pytest.raises(TypeError):
        sbx.watch(3)


def test_for_asyncio(sbx: Sandbox, home):
    async def main():
        async with AsyncClient() as client, await client.get(sbx.id) as sandbox:
            async with await sandbox.watch(home) as events:
                waiting = asyncio.create_task(anext(events))
                await sandbox.mkdir(f"{home}/new")
                assert (await waiting).path == f"{home}/new"
                # Cancelling a wait loses nothing.
                waiting = asyncio.create_task(anext(events))
                await asyncio.sleep(0.05)
                waiting.cancel()
                await sandbox.rmdir(f"{home}/new")
                assert (await anext(events)).kind == "removed"

    asyncio.run(main())
