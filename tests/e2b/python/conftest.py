"""What every test needs: settings, sandboxes that are deleted again, and waiting for a condition."""

import gc
import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import pytest
from packaging.version import Version

from e2b import Sandbox

SETTINGS = ("E2B_API_KEY", "E2B_API_URL", "E2B_SANDBOX_URL", "SANDBOX_TEST_OTHER_KEY")

RUN = uuid.uuid4().hex
"""Marks the sandboxes of this run, so that none outlives it."""

# httpcore's pool of connections waits for itself forever if the collector closes a stream that was left unread while the
# same thread holds the pool's lock. So the collector runs between modules only.
gc.disable()

KILLS = ThreadPoolExecutor(16)
KILLED = []


def pytest_configure(config):
    missing = [name for name in SETTINGS if not os.environ.get(name)]
    if missing:
        # A suite that skips itself proves nothing.
        raise pytest.UsageError(f"set {', '.join(missing)}: these tests need a gateway, see tests/e2b/README.md")


def pytest_report_header():
    return f"e2b {version('e2b')} against {os.environ['E2B_API_URL']}"


def pytest_collection_modifyitems(config, items):
    """Leave out what the installed package does not have."""
    installed = Version(version("e2b"))
    kept, left_out = [], []
    for item in items:
        marks = [Version(mark.args[0]) for mark in item.iter_markers("since")]
        (left_out if any(mark > installed for mark in marks) else kept).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left_out)


def create_sandbox(**options):
    """Create a sandbox that belongs to this run."""
    options.setdefault("timeout", 300)
    options["metadata"] = {"run": RUN, **options.get("metadata", {})}
    return Sandbox.create(**options)


def kill_later(sandbox):
    """Kill a sandbox while the next tests run: a cluster may take ten seconds for each."""
    KILLED.append(KILLS.submit(sandbox.kill))


@pytest.fixture(scope="session", autouse=True)
def killed():
    """Waits at the end for what was killed."""
    yield
    for kill in KILLED:
        kill.result()


@pytest.fixture(scope="module", autouse=True)
def collected():
    """Collects what the tests of a module have left."""
    yield
    gc.collect()


@pytest.fixture
def create():
    """Creates sandboxes and kills them after the test."""
    created = []

    def create(**options):
        sandbox = create_sandbox(**options)
        created.append(sandbox)
        return sandbox

    yield create
    for sandbox in created:
        kill_later(sandbox)


@pytest.fixture
def fresh(create):
    """A sandbox that no other test uses."""
    return create()


@pytest.fixture(scope="module")
def sandbox():
    """One sandbox for the tests of a module, each of which uses paths of its own."""
    sandbox = create_sandbox()
    yield sandbox
    kill_later(sandbox)


@pytest.fixture
def home(sandbox):
    """The home directory of the sandbox's user."""
    return sandbox.commands.run("echo -n ~").stdout


@pytest.fixture
def directory(sandbox, home):
    """An empty directory of this test alone."""
    path = f"{home}/{uuid.uuid4().hex}"
    assert sandbox.files.make_dir(path)
    yield path
    sandbox.files.remove(path)


@pytest.fixture
def other_key():
    """A key of the same gateway under another name."""
    return os.environ["SANDBOX_TEST_OTHER_KEY"]


def wait_until(condition, seconds=10.0, what="the condition"):
    """Return what `condition` returns as soon as that is true."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not hold within {seconds} s")
        time.sleep(0.05)
