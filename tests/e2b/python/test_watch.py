"""Watching directories, by polling (the synchronous client) and by a stream (the asynchronous one)."""

import asyncio

import pytest

from conftest import wait_until
from e2b import AsyncSandbox, FilesystemEventType, InvalidArgumentException, NotFoundException, SandboxException

CREATE, WRITE, REMOVE = FilesystemEventType.CREATE, FilesystemEventType.WRITE, FilesystemEventType.REMOVE
RENAME, CHMOD = FilesystemEventType.RENAME, FilesystemEventType.CHMOD


def pairs(events):
    return [(event.type, event.name) for event in events]


def test_events_are_there_right_after_the_write(sandbox, directory):
    watch = sandbox.files.watch_dir(directory)
    sandbox.files.write(f"{directory}/file", "content")
    events = pairs(watch.get_new_events())
    assert events[0] == (CREATE, "file")
    assert (WRITE, "file") in events
    assert all(name == "file" for _, name in events)
    assert watch.get_new_events() == []
    watch.stop()


def test_every_kind_of_event(sandbox, directory):
    sandbox.commands.run(f"cd {directory} && touch written mode removed renamed")
    watch = sandbox.files.watch_dir(directory)
    sandbox.commands.run(
        f"cd {directory} && touch created && echo x >> written && chmod 600 mode && rm removed && mv renamed new"
    )
    events = pairs(watch.get_new_events())
    for expected in [
        (CREATE, "created"),
        (WRITE, "written"),
        (CHMOD, "mode"),
        (REMOVE, "removed"),
        (RENAME, "renamed"),
        (CREATE, "new"),
    ]:
        assert expected in events
    watch.stop()


def test_subdirectories_only_if_recursive(sandbox, directory):
    sandbox.files.make_dir(f"{directory}/sub")
    flat = sandbox.files.watch_dir(directory)
    deep = sandbox.files.watch_dir(directory, recursive=True)
    sandbox.files.write(f"{directory}/sub/file", "x")
    assert "sub/file" not in [event.name for event in flat.get_new_events()]
    assert (CREATE, "sub/file") in pairs(deep.get_new_events())
    flat.stop()
    deep.stop()


def test_new_subdirectories_are_watched(sandbox, directory):
    watch = sandbox.files.watch_dir(directory, recursive=True)
    sandbox.files.make_dir(f"{directory}/new")
    wait_until(lambda: (CREATE, "new") in pairs(watch.get_new_events()), what="the event of the new directory")
    sandbox.files.write(f"{directory}/new/file", "x")
    seen = []

    def file_is_seen():
        seen.extend(pairs(watch.get_new_events()))
        return (CREATE, "new/file") in seen

    wait_until(file_is_seen, what="the event of the file in it")
    watch.stop()


@pytest.mark.since("2.50.0")
def test_entries_of_events(sandbox, directory):
    watch = sandbox.files.watch_dir(directory, include_entry=True)
    sandbox.files.write(f"{directory}/file", "12345")
    sandbox.files.remove(f"{directory}/file")
    events = watch.get_new_events()
    assert any(event.entry and event.entry.path == f"{directory}/file" for event in events) or events[-1].type == REMOVE
    assert all(event.entry is None for event in events if event.type == REMOVE)
    sandbox.files.write(f"{directory}/stays", "12345")
    events = [event for event in watch.get_new_events() if event.type == WRITE]
    assert events[-1].entry.path == f"{directory}/stays" and events[-1].entry.size == 5
    watch.stop()


def test_what_cannot_be_watched(sandbox, directory):
    sandbox.files.write(f"{directory}/file", "x")
    with pytest.raises(InvalidArgumentException, match="not a directory"):
        sandbox.files.watch_dir(f"{directory}/file")
    with pytest.raises(NotFoundException):
        sandbox.files.watch_dir(f"{directory}/nothing")


def test_stopped_watch_has_no_events(sandbox, directory):
    watch = sandbox.files.watch_dir(directory)
    watch.stop()
    with pytest.raises(SandboxException):
        watch.get_new_events()


def test_a_thousand_events_are_kept_until_taken(sandbox, directory):
    watch = sandbox.files.watch_dir(directory)
    sandbox.commands.run(f"cd {directory} && for i in $(seq 1000); do : > $i; done")
    created = [name for kind, name in pairs(watch.get_new_events()) if kind == CREATE]
    assert created == [str(number) for number in range(1, 1001)]
    watch.stop()


async def test_stream_of_events(sandbox, directory):
    client = await AsyncSandbox.connect(sandbox.sandbox_id)
    seen = asyncio.Queue()
    ended = asyncio.Event()
    watch = await client.files.watch_dir(
        directory, on_event=seen.put_nowait, on_exit=lambda *_: ended.set(), recursive=True
    )
    await client.files.write(f"{directory}/sub/file", "x")
    names = set()
    async with asyncio.timeout(10):
        while "sub/file" not in names and "sub" not in names:
            names.add((await seen.get()).name)
    await watch.stop()


async def test_watch_ends_at_its_timeout(sandbox, directory):
    client = await AsyncSandbox.connect(sandbox.sandbox_id)
    ended = asyncio.Queue()
    await client.files.watch_dir(directory, on_event=lambda _: None, on_exit=ended.put_nowait, timeout=1)
    async with asyncio.timeout(10):
        assert type(await ended.get()).__name__ == "TimeoutException"
