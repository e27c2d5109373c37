"""Pause and resume in place, by request, at the timeout and on traffic."""

import time
from datetime import datetime, timedelta, timezone

import pytest

from conftest import wait_until
from e2b import NotFoundException, Sandbox, SandboxQuery, SandboxState, TimeoutException

pytestmark = pytest.mark.since("2.45.0")


def test_processes_and_files_survive(create):
    sandbox = create()
    sandbox.files.write("kept", "content")
    handle = sandbox.commands.run(
        "while :; do echo tick >> ticks; sleep 0.05; done", background=True, timeout=0
    )
    wait_until(lambda: sandbox.files.exists("ticks"), what="the first tick")
    assert sandbox.pause() is True
    resumed = Sandbox.connect(sandbox.sandbox_id)
    assert resumed.files.read("kept") == "content"
    assert handle.pid in [process.pid for process in resumed.commands.list()]
    before = len(resumed.files.read("ticks"))
    wait_until(lambda: len(resumed.files.read("ticks")) > before, what="the next tick")
    assert resumed.commands.kill(handle.pid) is True


def test_nothing_runs_while_paused(create):
    sandbox = create()
    sandbox.commands.run("while :; do date +%s%N >> dates; sleep 0.02; done", background=True, timeout=0)
    wait_until(lambda: sandbox.files.exists("dates"), what="the first date")
    sandbox.pause()
    begin = time.monotonic()
    wait_until(lambda: time.monotonic() - begin > 1.5, what="a pause of 1.5 s")
    resumed = Sandbox.connect(sandbox.sandbox_id)
    count = len(resumed.files.read("dates").split())
    wait_until(lambda: len(resumed.files.read("dates").split()) > count + 5, what="the next dates")
    dates = [int(date) for date in resumed.files.read("dates").split()]
    # The loop writes about every 20 ms, but not while it stands still.
    assert max(later - earlier for earlier, later in zip(dates, dates[1:])) > 1_300_000_000


def test_paused_sandbox_answers_as_one_that_does_not_run(create):
    sandbox = create()
    sandbox.pause()
    assert sandbox.is_running() is False
    with pytest.raises(TimeoutException):
        sandbox.commands.run("true")
    with pytest.raises(TimeoutException):
        sandbox.files.read("/etc/hostname")
    # Refused before all of it was sent.
    with pytest.raises(TimeoutException):
        sandbox.files.write("large", b"x" * (16 << 20))
    assert sandbox.get_info().state == SandboxState.PAUSED


def test_pause_twice(create):
    sandbox = create()
    assert sandbox.pause() is True
    assert sandbox.pause() is False


def test_pause_of_no_sandbox():
    with pytest.raises(NotFoundException):
        Sandbox.pause("nosuchsandbox0000000")


def test_kill_while_paused(create):
    sandbox = create()
    sandbox.pause()
    assert sandbox.kill() is True
    assert sandbox.kill() is False
    with pytest.raises(NotFoundException):
        Sandbox.connect(sandbox.sandbox_id)


def test_list_by_state(create):
    running, paused = create(metadata={"pause": "list"}), create(metadata={"pause": "list"})
    paused.pause()
    metadata = running.get_info().metadata

    def listed(*states):
        query = SandboxQuery(metadata=metadata, state=list(states))
        return {info.sandbox_id: info.state for info in Sandbox.list(query=query).next_items()}

    assert listed(SandboxState.PAUSED) == {paused.sandbox_id: SandboxState.PAUSED}
    assert listed(SandboxState.RUNNING) == {running.sandbox_id: SandboxState.RUNNING}
    assert len(listed(SandboxState.RUNNING, SandboxState.PAUSED)) == 2
    assert len(listed()) == 2


def test_time_stands_still(create):
    sandbox = create(timeout=8)
    sandbox.pause()
    begin = datetime.now(timezone.utc)
    wait_until(lambda: datetime.now(timezone.utc) - begin > timedelta(seconds=10), 15, "a pause of 10 s")
    resumed = Sandbox.connect(sandbox.sandbox_id, timeout=60)
    assert resumed.commands.run("echo alive").stdout == "alive\n"


def test_connect_sets_the_timeout_anew(create):
    sandbox = create(timeout=3600)
    sandbox.pause()
    Sandbox.connect(sandbox.sandbox_id, timeout=100)
    left = sandbox.get_info().end_at - datetime.now(timezone.utc)
    assert timedelta(seconds=70) < left


def test_auto_pause_at_the_timeout(create):
    sandbox = create(timeout=8, lifecycle={"on_timeout": "pause"})
    assert sandbox.get_info().lifecycle["on_timeout"] == "pause"
    sandbox.files.write("kept", "content")
    wait_until(lambda: sandbox.get_info().state == SandboxState.PAUSED, 20, "the pause")
    assert sandbox.is_running() is False
    assert Sandbox.connect(sandbox.sandbox_id, timeout=60).files.read("kept") == "content"


def test_auto_resume_on_use(create):
    sandbox = create(timeout=8, lifecycle={"on_timeout": "pause", "auto_resume": True})
    sandbox.files.write("kept", "content")
    wait_until(lambda: sandbox.get_info().state == SandboxState.PAUSED, 20, "the pause")
    assert sandbox.files.read("kept") == "content"
    assert sandbox.get_info().state == SandboxState.RUNNING


def test_tokens_stay_valid(create):
    sandbox = create()
    sandbox.files.write("file", "content")
    url = sandbox.download_url("file")
    sandbox.pause()
    Sandbox.connect(sandbox.sandbox_id)
    assert sandbox.download_url("file") == url
    assert sandbox.commands.run("echo same client").stdout == "same client\n"


def test_pause_that_drops_the_memory_is_refused_in_words(create):
    sandbox = create()
    with pytest.raises(Exception, match="(?i)memory|filesystem"):
        sandbox.pause(keep_memory=False)
    assert sandbox.is_running()


def test_snapshot_and_fork_are_refused_in_words(create):
    sandbox = create()
    with pytest.raises(Exception, match="501"):
        sandbox.create_snapshot()
    assert sandbox.is_running()
