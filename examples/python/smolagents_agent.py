"""A code agent of smolagents whose code runs in a sandbox (docs/ADAPTERS.md).

The model is a list of prepared messages, so that this runs without a network and always does the same.

pip install 'sandbox-sdk[smolagents]'
python examples/python/smolagents_agent.py
"""

from typing import Any

from smolagents import CodeAgent, tool
from smolagents.models import ChatMessage, MessageRole, Model

from sandbox_sdk.adapters.smolagents import SandboxExecutor

STEPS = [
    """Thought: I write down the squares, to use them in the next step.
<code>
import os
squares = [square(number) for number in range(5)]
print("in", os.getcwd())
squares
</code>""",
    """Thought: The list is still there. Its sum is the answer.
<code>
final_answer({"sum": sum(squares), "count": len(squares)})
</code>""",
]


class PreparedModel(Model):
    """Says the next step of `STEPS`, whatever it is asked."""

    def __init__(self) -> None:
        super().__init__(model_id="prepared")
        self.steps = iter(STEPS)

    def generate(self, messages: Any, **_: Any) -> ChatMessage:
        return ChatMessage(role=MessageRole.ASSISTANT, content=next(self.steps))


@tool
def square(number: int) -> int:
    """Return the square of a number.

    Args:
        number: The number to square.
    """
    return number * number


def main() -> None:
    # Options are those of Client.create: image="python:3.12-slim" on a cluster.
    executor = SandboxExecutor(labels={"example": "smolagents"}, timeout=60)
    with CodeAgent(tools=[square], model=PreparedModel(), executor=executor, verbosity_level=0) as agent:
        print("the code runs in", executor.sandbox.id)
        answer = agent.run("What is the sum of the first five squares?")
    print("the agent answers", answer)
    assert answer == {"sum": 30, "count": 5}


if __name__ == "__main__":
    main()
