"""The programs of docs/ADAPTERS.md, and what is set up for the tests of a framework."""

import logging
import pathlib
import re
import time

import pytest
from support import running


@pytest.fixture
def program():
    """Returns the Python program of a section, to run with a model."""
    page = (pathlib.Path(__file__).parents[4] / "docs/ADAPTERS.md").read_text()

    def find(section):
        (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
        (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        return compile(code, f"docs/ADAPTERS.md: {section}", "exec")

    return find


@pytest.fixture
def nothing_is_left(state_dir):
    """Fails if the test leaves a sandbox."""
    before = set(running())
    yield
    # The end of a creation that was cancelled is not waited for.
    deadline = time.monotonic() + 20
    while left := set(running()) - before:
        assert time.monotonic() < deadline, f"sandboxes are left: {left}"
        time.sleep(0.05)


@pytest.fixture
def of_inspect(client):
    """Lists the sandboxes of the provider for Inspect, of which none may be left."""

    def found():
        return [info.id for info in client.list({"inspect-ai": "sample"})]

    yield found
    deadline = time.monotonic() + 10
    # What a cancelled creation has begun is removed in the background.
    while left := found():
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


@pytest.fixture
def harbor_home(tmp_path, monkeypatch, nothing_is_left):
    """A home directory for Harbor, and clients of this test only."""
    from sandbox_sdk.adapters.harbor import SandboxEnvironment

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    yield
    SandboxEnvironment._clients.clear()


@pytest.fixture
def new_environment(tmp_path, harbor_home):
    """Makes an environment of a task for Harbor; keywords of the task's `[environment]` are in `task`."""
    from harbor.models.task.config import EnvironmentConfig
    from harbor.models.trial.paths import TrialPaths

    from sandbox_sdk.adapters.harbor import SandboxEnvironment

    directory = tmp_path / "task" / "environment"
    directory.mkdir(parents=True)

    def make(task=None, files=(), **keywords) -> SandboxEnvironment:
        for name in files:
            (directory / name).write_text("FROM scratch\nWORKDIR /work\n")
        return SandboxEnvironment(
            environment_dir=directory,
            environment_name="task",
            session_id="task__abc__env",
            trial_paths=TrialPaths(tmp_path / "trial"),
            task_env_config=EnvironmentConfig(**(task or {})),
            logger=logging.getLogger("harbor-test"),
            **keywords,
        )

    return make
