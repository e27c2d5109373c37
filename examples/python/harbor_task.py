"""A task of Harbor whose trial runs in a sandbox without a network (docs/ADAPTERS.md). The agent is Harbor's oracle,
which runs the task's own solution, so that the example needs no model either.

pip install 'sandbox-sdk[harbor]'      # Python 3.12 or newer
python examples/python/harbor_task.py
SANDBOX_BACKEND=k8s SANDBOX_IMAGE=python:3.12-slim python examples/python/harbor_task.py
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

from harbor.models.trial.config import AgentConfig, EnvironmentConfig, TaskConfig, TrialConfig
from harbor.trial.trial import Trial

IS_LOCAL = os.environ.get("SANDBOX_BACKEND", "local") == "local"
# A local sandbox has no image. On a cluster the task names one, which is run as root.
IMAGE = "" if IS_LOCAL else f'docker_image = "{os.environ["SANDBOX_IMAGE"]}"'
OPTIONS: dict[str, Any] = {} if IS_LOCAL else {"backend_options": {"k8s": {"securityProfile": "baseline"}}}

TASK = {
    "task.toml": f"""
[environment]
{IMAGE}
workdir = "/app"
network_mode = "no-network"

[agent]
timeout_sec = 60.0

[verifier]
timeout_sec = 60.0
""",
    "instruction.md": "Sort the lines of words.txt into sorted.txt.\n",
    "environment/words.txt": "pear\napple\nfig\n",
    "solution/solve.sh": "#!/bin/sh\nsort words.txt >sorted.txt\n",
    # In a local sandbox, /logs is in the directory that HARBOR_ROOT names.
    "tests/test.sh": """#!/bin/sh
if [ "$(cat sorted.txt)" = "$(printf 'apple\\nfig\\npear')" ]; then reward=1; else reward=0; fi
echo "$reward" >"${HARBOR_ROOT:-}/logs/verifier/reward.txt"
""",
}


async def run_trial(directory: Path) -> float:
    """Runs the task once, and returns its reward."""
    for name, content in TASK.items():
        path = directory / "sort-words" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    trial = await Trial.create(
        TrialConfig(
            task=TaskConfig(path=directory / "sort-words"),
            trials_dir=directory / "trials",
            agent=AgentConfig(name="oracle"),
            environment=EnvironmentConfig(import_path="sandbox_sdk.adapters.harbor:SandboxEnvironment", kwargs=OPTIONS),
        )
    )
    result = await trial.run()
    if result.exception_info is not None:
        raise RuntimeError(result.exception_info.exception_message)
    assert result.verifier_result is not None and result.verifier_result.rewards is not None
    return float(result.verifier_result.rewards["reward"])


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        reward = asyncio.run(run_trial(Path(directory)))
    print(f"the reward is {reward}")
    assert reward == 1


if __name__ == "__main__":
    main()
