"""Create, connect, kill, info, list, pages, metadata and timeout."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest

from conftest import wait_until
from e2b import Sandbox, SandboxQuery, SandboxState


def ids(paginator):
    """The ids of all pages, in order."""
    found = []
    while paginator.has_next:
        found += [info.sandbox_id for info in paginator.next_items()]
    return found


@pytest.mark.smoke
def test_create_run_kill(create):
    sandbox = create()
    assert sandbox.is_running()
    assert sandbox.commands.run("echo hello").stdout == "hello\n"
    assert sandbox.kill() is True
    assert sandbox.is_running() is False
    assert sandbox.kill() is False


def test_id_fits_into_a_host_name(fresh):
    assert fresh.sandbox_id.isalnum() and fresh.sandbox_id.islower()
    assert len(fresh.sandbox_id) <= 57
    assert fresh.get_host(8080).startswith(f"8080-{fresh.sandbox_id}.")


def test_info_says_what_was_asked_for(create):
    before = datetime.now(timezone.utc)
    sandbox = create(timeout=120, metadata={"purpose": "a test & more", "empty": "", "ünï": "cödé"})
    info = sandbox.get_info()
    assert info.sandbox_id == sandbox.sandbox_id
    assert info.name == "base" or info.template_id == "base"
    assert info.metadata["purpose"] == "a test & more"
    assert info.metadata["empty"] == ""
    assert info.metadata["ünï"] == "cödé"
    assert info.state == SandboxState.RUNNING
    assert abs(info.started_at - before) < timedelta(seconds=30)
    lasts = info.end_at - info.started_at
    assert timedelta(seconds=100) < lasts < timedelta(seconds=140)
    assert info.cpu_count >= 1 and info.memory_mb >= 1


def test_default_timeout_is_five_minutes(create):
    info = create(timeout=None).get_info()
    assert timedelta(seconds=270) < info.end_at - datetime.now(timezone.utc) <= timedelta(seconds=301)


def test_set_timeout_moves_the_end_in_both_directions(fresh):
    for seconds in (900, 60, 1800):
        fresh.set_timeout(seconds)
        left = fresh.get_info().end_at - datetime.now(timezone.utc)
        assert timedelta(seconds=seconds - 20) < left <= timedelta(seconds=seconds + 1)


def test_sandbox_ends_at_its_timeout(create):
    sandbox = create(timeout=8)
    assert sandbox.is_running()
    wait_until(lambda: not sandbox.is_running(), 20, "the end of the sandbox")
    assert sandbox.kill() is False


def test_shortened_timeout_ends_the_sandbox(fresh):
    fresh.set_timeout(1)
    wait_until(lambda: not fresh.is_running(), 15, "the end of the sandbox")


def test_connect_uses_the_same_sandbox_and_only_extends(fresh):
    fresh.files.write("connected", "yes")
    end = fresh.get_info().end_at
    again = Sandbox.connect(fresh.sandbox_id, timeout=10)
    assert again.sandbox_id == fresh.sandbox_id
    assert again.files.read("connected") == "yes"
    assert again.get_info().end_at == end
    Sandbox.connect(fresh.sandbox_id, timeout=1200)
    assert fresh.get_info().end_at > end


def test_calls_by_id(fresh):
    Sandbox.set_timeout(fresh.sandbox_id, 700)
    left = Sandbox.get_info(fresh.sandbox_id).end_at - datetime.now(timezone.utc)
    assert left > timedelta(seconds=600)
    assert Sandbox.kill(fresh.sandbox_id) is True
    assert Sandbox.kill(fresh.sandbox_id) is False


def test_environment_of_the_sandbox_reaches_every_command(create):
    sandbox = create(envs={"PLACE": "here", "TEXT": "a 'b' \"c\" $d\nnext"})
    assert sandbox.commands.run("echo -n $PLACE").stdout == "here"
    assert sandbox.commands.run('printf %s "$TEXT"').stdout == "a 'b' \"c\" $d\nnext"
    assert sandbox.commands.run("echo -n $PLACE", envs={"PLACE": "there"}).stdout == "there"


def test_commands_know_which_sandbox_they_are_in(fresh):
    result = fresh.commands.run('echo "$E2B_SANDBOX $E2B_SANDBOX_ID"')
    assert result.stdout.split() == ["true", fresh.sandbox_id]


def test_list_filters_by_metadata(create):
    group = uuid.uuid4().hex
    one = create(metadata={"group": group, "role": "a b&c=d%e+f"})
    two = create(metadata={"group": group, "role": "other"})
    listed = ids(Sandbox.list(query=SandboxQuery(metadata={"group": group})))
    assert sorted(listed) == sorted([one.sandbox_id, two.sandbox_id])
    listed = ids(Sandbox.list(query=SandboxQuery(metadata={"group": group, "role": "a b&c=d%e+f"})))
    assert listed == [one.sandbox_id]
    assert ids(Sandbox.list(query=SandboxQuery(metadata={"group": group, "role": "none"}))) == []
    two.kill()
    assert ids(Sandbox.list(query=SandboxQuery(metadata={"group": group}))) == [one.sandbox_id]


def test_list_has_pages(create):
    group = uuid.uuid4().hex
    created = [create(metadata={"group": group}).sandbox_id for _ in range(4)]
    paginator = Sandbox.list(query=SandboxQuery(metadata={"group": group}), limit=2)
    first = [info.sandbox_id for info in paginator.next_items()]
    assert len(first) == 2 and paginator.has_next and paginator.next_token
    second = [info.sandbox_id for info in paginator.next_items()]
    # The last page is full, and still known to be the last.
    assert len(second) == 2 and not paginator.has_next
    # The newest comes first.
    assert first + second == created[::-1]


@pytest.mark.since("2.55.0")
def test_list_by_order_start_and_template(create):
    group = uuid.uuid4().hex
    older = create(metadata={"group": group})
    time.sleep(0.01)
    newer = create(metadata={"group": group})
    query = SandboxQuery(metadata={"group": group})
    assert ids(Sandbox.list(query=query, order="asc")) == [older.sandbox_id, newer.sandbox_id]
    query = SandboxQuery(metadata={"group": group}, started_after=newer.get_info().started_at)
    assert ids(Sandbox.list(query=query)) == [newer.sandbox_id]
    query = SandboxQuery(metadata={"group": group}, template="base")
    assert len(ids(Sandbox.list(query=query))) == 2
    query = SandboxQuery(metadata={"group": group}, template="no-such-template")
    assert ids(Sandbox.list(query=query)) == []


def test_list_of_a_state(fresh):
    group = SandboxQuery(metadata=fresh.get_info().metadata)
    running = ids(Sandbox.list(query=SandboxQuery(group.metadata, state=[SandboxState.RUNNING])))
    assert fresh.sandbox_id in running
    paused = ids(Sandbox.list(query=SandboxQuery(group.metadata, state=[SandboxState.PAUSED])))
    assert fresh.sandbox_id not in paused


def test_metrics(fresh):
    metrics = wait_until(fresh.get_metrics, 15, "the first metrics")
    assert metrics[0].cpu_count >= 1
    assert metrics[0].mem_total >= metrics[0].mem_used > 0
    assert metrics[0].disk_total >= metrics[0].disk_used >= 0


@pytest.mark.since("2.58.0")
def test_create_with_one_idempotency_key_is_one_sandbox(create):
    key = uuid.uuid4().hex
    first, second = create(idempotency_key=key), create(idempotency_key=key)
    assert first.sandbox_id == second.sandbox_id
    assert create(idempotency_key=uuid.uuid4().hex).sandbox_id != first.sandbox_id


@pytest.mark.since("2.58.0")
def test_concurrent_creates_with_one_idempotency_key_are_one_sandbox(create):
    key = uuid.uuid4().hex
    with ThreadPoolExecutor(4) as threads:
        created = list(threads.map(lambda _: create(idempotency_key=key), range(4)))
    assert len({sandbox.sandbox_id for sandbox in created}) == 1


def test_sandboxes_do_not_share_files_or_processes(create):
    one, two = create(), create()
    one.files.write("mine", "one")
    assert not two.files.exists("mine")
    handle = one.commands.run("sleep 60", background=True)
    assert [process.pid for process in two.commands.list()] == []
    handle.kill()
