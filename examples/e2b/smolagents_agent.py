"""A code agent of smolagents whose code runs in a sandbox: its own E2B executor, unchanged.

The model is a list of prepared messages, so that this runs without a network and always does the same.

    pip install smolagents e2b-code-interpreter
"""

from smolagents import CodeAgent, tool
from smolagents.models import ChatMessage, MessageRole, Model

STEPS = [
    """Thought: I write down the squares, to use them in the next step.
<code>
import os
squares = [square(number) for number in range(5)]
print("in", os.environ["E2B_SANDBOX_ID"])
print(squares)
</code>""",
    """Thought: The list is still there. Its sum is the answer.
<code>
final_answer({"sum": sum(squares), "count": len(squares)})
</code>""",
]


class PreparedModel(Model):
    """Says the next step of `STEPS`, whatever it is asked."""

    def __init__(self):
        super().__init__(model_id="prepared")
        self.steps = iter(STEPS)

    def generate(self, messages, **_):
        return ChatMessage(role=MessageRole.ASSISTANT, content=next(self.steps))


@tool
def square(number: int) -> int:
    """Return the square of a number.

    Args:
        number: The number to square.
    """
    return number * number


# The executor begins with `!pip install numpy pillow`, which this agent does not need and must not wait for.
options = {"envs": {"PIP_NO_INDEX": "1"}}
with CodeAgent(
    tools=[square], model=PreparedModel(), executor_type="e2b", executor_kwargs=options, verbosity_level=0
) as agent:
    answer = agent.run("What is the sum of the first five squares?")
    logs = "".join(step.observations or "" for step in agent.memory.steps if hasattr(step, "observations"))

print("the code ran in", logs.split("in ", 1)[1].split()[0])
print("the agent answers", answer)
