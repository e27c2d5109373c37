"""What goes wrong: closed objects, deleted sandboxes, wrong arguments."""

import pickle

import pytest

import sandbox_sdk
from sandbox_sdk import (
    Client,
    ClosedError,
    ConfigError,
    InvalidArgumentError,
    PoolEmptyError,
    SandboxError,
    SandboxExistsError,
    SandboxFileNotFoundError,
    SandboxNotFoundError,
    SSHConnectionError,
    UnsupportedError,
)


def test_the_exceptions_of_the_original_sdk():
    for name in (
        "SandboxNotFoundError",
        "SSHConnectionError",
        "SandboxCreationError",
        "SandboxDeletionError",
        "CommandExecutionError",
        "FileTransferError",
    ):
        assert issubclass(getattr(sandbox_sdk, name), SandboxError)


def test_an_exception_can_be_pickled():
    error = SandboxFileNotFoundError("no", path="a", reason="not-found", causes=("b",))
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.path, copy.reason) == (type(error), "no: b", "a", "not-found")
    with pytest.raises(TypeError):
        SandboxError("no", unknown=1)


def test_a_closed_client(client):
    other = Client()
    other.close()
    other.close()
    for call in (other.create, other.list, lambda: other.get("a"), lambda: other.backend):
        with pytest.raises(ClosedError):
            call()
    assert "closed" in repr(other)


def test_a_sandbox_after_its_client(client):
    with Client() as other:
        sandbox = other.create()
    assert sandbox.run(["true"]).returncode == 0
    sandbox.delete()


def test_use_after_delete(client, tmp_path):
    sandbox = client.create()
    process = sandbox.popen(["cat"], stdin=True)
    sandbox.delete()
    sandbox.delete()
    for call in (
        lambda: sandbox.run(["true"]),
        lambda: sandbox.read_bytes("a"),
        lambda: sandbox.info(),
        lambda: sandbox.jobs(),
        lambda: sandbox.upload_dir(tmp_path, "a"),
        lambda: sandbox.extend(60),
        sandbox.pause,
        sandbox.resume,
        sandbox.is_paused,
        lambda: sandbox.set_on_expiry("end"),
        sandbox.usage,
    ):
        with pytest.raises(SandboxNotFoundError) as caught:
            call()
        assert caught.value.sandbox_id == sandbox.id
    with pytest.raises(SandboxError):
        process.wait()
    sandbox.close()
    with pytest.raises(ClosedError):
        sandbox.run(["true"])


@pytest.mark.parametrize("name", ["pause", "resume", "is_paused", "usage"])
def test_a_sandbox_that_another_program_has_deleted_is_not_found(client, name):
    with client.create() as sandbox:
        sandbox.run(["true"])
        with Client() as other:
            other.delete(sandbox.id)
        with pytest.raises(SandboxNotFoundError) as caught:
            getattr(sandbox, name)()
        assert caught.value.sandbox_id == sandbox.id


def test_exceptions_inside_with_delete_the_sandbox(client):
    with pytest.raises(KeyError):
        with client.create() as sandbox:
            raise KeyError
    with pytest.raises(SandboxNotFoundError):
        client.get(sandbox.id)


def test_a_found_sandbox_is_not_deleted_by_with(client, sbx):
    with client.get(sbx.id) as found:
        assert found.uid == sbx.uid
    assert sbx.run(["true"]).returncode == 0


def test_lifetimes(client):
    with client.create(name="py-names", ttl=60, labels={"a": "b"}, annotations={"c": "d e"}) as sandbox:
        assert sandbox.id == "py-names"
        with pytest.raises(SandboxExistsError):
            client.create(name="py-names")
        info = sandbox.initial_info
        assert (info.labels["a"], info.annotations["c"], info.on_expiry) == ("b", "d e", "end")
        later = sandbox.extend(3600).expires_at
        assert later > info.expires_at
        assert sandbox.set_ttl(120).expires_at < later
        assert sandbox.annotate({"c": "f"}).annotations["c"] == "f"
        assert [found.id for found in client.list({"a": "b"})] == ["py-names"]
        assert client.list({"a": "c"}) == []
        assert client.info("py-names").state == "running"
        assert sandbox.pause() and not sandbox.pause() and sandbox.is_paused()
        assert sandbox.resume() and not sandbox.is_paused()
        assert sandbox.usage().cpu_count > 0
        sandbox.shutdown()
    assert client.list({"a": "b"}) == []


def test_what_is_refused(client):
    with pytest.raises(UnsupportedError) as caught:
        client.create(image="alpine")
    assert caught.value.hint
    for wrong in ({"name": "not a name"}, {"ttl": -1}, {"on_expiry": "never"}, {"memory": "much"}):
        with pytest.raises(InvalidArgumentError):
            client.create(**wrong)
    for wrong in ({"labels": ["a"]}, {"env": {"a": None}}, {"init": "echo"}, {"pids": "1"}, {"unknown": 1}):
        with pytest.raises(TypeError):
            client.create(**wrong)
    with pytest.raises(SandboxNotFoundError):
        client.get("no-such-sandbox")
    with pytest.raises(InvalidArgumentError):
        client.get("../etc")
    with pytest.raises(InvalidArgumentError):
        Client(backend="docker")
    with pytest.raises(ConfigError):
        Client(env_file="/no/such/file")


def test_events_of_a_creation(client):
    events = []
    with client.create(on_event=events.append, init=["echo 1 >a", ["touch", "b"]]) as sandbox:
        assert {entry.name for entry in sandbox.listdir()} >= {"a", "b"}
    assert events[-1].kind == "Ready"

    def fail(event):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client.create(on_event=fail)


def test_secrets_are_not_stored(client):
    with client.create(env={"PLAIN": "1"}, secret_env={"SECRET": "2"}) as sandbox:
        assert sandbox.shell("echo $PLAIN$SECRET", text=True).stdout == "12\n"
        with Client() as other, other.get(sandbox.id) as found:
            assert found.shell("echo $PLAIN$SECRET", text=True).stdout == "1\n"


def test_pools(client):
    with client.pool(size=1, labels={"of": "pool"}, on_empty="fail") as pool:
        pool.filled()
        assert pool.status().waiting == 1
        with pool.take(env={"A": "1"}, labels={"mine": "yes"}, ttl=60) as sandbox:
            assert sandbox.shell("echo $A", text=True).stdout == "1\n"
            assert sandbox.info().labels["mine"] == "yes"
    with pytest.raises(PoolEmptyError):
        pool.take()
    with pytest.raises((InvalidArgumentError, SandboxError)):
        client.pool(size=3, max_size=1)
    with pytest.raises(InvalidArgumentError):
        client.pool(size=1, on_empty="panic")


def test_connections_that_fail_are_those_of_python():
    assert issubclass(SSHConnectionError, ConnectionError)
