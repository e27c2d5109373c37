"""An evaluation with Inspect whose samples run in sandboxes (docs/ADAPTERS.md).

The model is a list of prepared messages, so that this runs without a network and always does the same.

pip install 'sandbox-sdk[inspect-ai]'
python examples/python/inspect_ai_eval.py
"""

import tempfile

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import Score, Scorer, Target, accuracy, scorer
from inspect_ai.solver import TaskState, generate, use_tools
from inspect_ai.tool import bash
from inspect_ai.util import SandboxEnvironmentSpec, sandbox

from sandbox_sdk import Client
from sandbox_sdk.adapters.inspect_ai import SandboxConfig

STEPS = [
    ModelOutput.for_tool_call("mockllm/model", "bash", {"command": "sort -n numbers.txt | tail -n 1 > largest.txt"}),
    ModelOutput.from_content("mockllm/model", "The largest number is in largest.txt."),
]


@scorer(metrics=[accuracy()])
def largest() -> Scorer:
    """Compares what the model has left in the sandbox."""

    async def score(state: TaskState, target: Target) -> Score:
        found = (await sandbox().read_file("largest.txt")).strip()
        return Score(value="C" if found == target.text else "I", answer=found)

    return score


def task() -> Task:
    return Task(
        dataset=[
            Sample(
                input="Write the largest number of numbers.txt to largest.txt.",
                target="42",
                files={"numbers.txt": "7\n42\n19\n"},
            )
        ],
        solver=[use_tools(bash(timeout=30)), generate()],
        scorer=largest(),
        # On a cluster: SandboxConfig(backend="k8s", image="python:3.12-slim", memory="1Gi").
        sandbox=SandboxEnvironmentSpec("sandbox-sdk", SandboxConfig(env={"LC_ALL": "C"})),
    )


def main() -> None:
    for step in STEPS:
        # Otherwise Inspect would fetch a tokenizer to count.
        step.usage = ModelUsage()
    model = get_model("mockllm/model", custom_outputs=STEPS)
    with tempfile.TemporaryDirectory() as logs:
        (log,) = eval(task(), model=model, display="none", log_dir=logs)
    assert log.status == "success", log.error
    assert log.results is not None
    result = log.results.scores[0].metrics["accuracy"].value
    print("accuracy", result)
    assert result == 1
    with Client() as client:
        left = client.list({"inspect-ai": "sample"})
    print("sandboxes that are left:", len(left))
    assert not left


if __name__ == "__main__":
    main()
