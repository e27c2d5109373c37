"""Whole trials of Harbor in sandboxes, with the oracle."""

import asyncio
import time
from pathlib import Path

import pytest
from harbor.models.trial.config import AgentConfig, TaskConfig, TrialConfig
from harbor.models.trial.config import EnvironmentConfig as TrialEnvironmentConfig
from harbor.trial.trial import Trial
from harbor_support import IMPORT_PATH
from support import running

pytestmark = pytest.mark.usefixtures("harbor_home")


def write_task(directory: Path, solution: str, test: str, config: str = "") -> Path:
    files = {
        "task.toml": f'[environment]\nworkdir = "/app"\nnetwork_mode = "no-network"\n{config}',
        "instruction.md": "Write 42 into answer.txt.\n",
        "environment/start.txt": "start\n",
        "solution/solve.sh": f"#!/bin/sh\n{solution}\n",
        "tests/test.sh": f"#!/bin/sh\n{test}\n",
    }
    for name, content in files.items():
        path = directory / "answer" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return directory / "answer"


def trial(task: Path, tmp_path: Path) -> TrialConfig:
    return TrialConfig(
        task=TaskConfig(path=task),
        trials_dir=tmp_path / "trials",
        agent=AgentConfig(name="oracle"),
        environment=TrialEnvironmentConfig(import_path=IMPORT_PATH, kwargs={"backend": "local"}),
    )


TEST = 'grep -qx 42 answer.txt; echo $((1 - $?)) >"${HARBOR_ROOT:-}/logs/verifier/reward.txt"; echo tested'


@pytest.mark.parametrize(
    ("solution", "reward"), [("cat start.txt && echo 42 >answer.txt", 1), ("echo 41 >answer.txt", 0)]
)
def test_a_trial(tmp_path, solution, reward):
    async def main():
        config = trial(write_task(tmp_path, solution, TEST), tmp_path)
        return await (await Trial.create(config)).run()

    result = asyncio.run(main())
    assert result.exception_info is None
    assert result.verifier_result.rewards == {"reward": reward}
    written = next((tmp_path / "trials").rglob("test-stdout.txt"))
    assert written.read_text() == "tested\n"


def test_a_trial_that_is_cancelled_or_fails_leaves_no_sandbox(tmp_path):
    async def main():
        before = await asyncio.to_thread(running)
        going = asyncio.create_task((await Trial.create(trial(write_task(tmp_path, "sleep 60", TEST), tmp_path))).run())
        deadline = time.monotonic() + 20
        while await asyncio.to_thread(running) == before:
            assert time.monotonic() < deadline
        await asyncio.sleep(0.5)
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going
        task = write_task(tmp_path, "sleep 60", TEST, "[agent]\ntimeout_sec = 1.0\n")
        result = await (await Trial.create(trial(task, tmp_path))).run()
        assert result.exception_info.exception_type == "AgentTimeoutError"

    asyncio.run(main())
