"""A deep agent of LangChain with a sandbox as its file system and shell (docs/ADAPTERS.md).

The model is a list of prepared tool calls, so that this runs without a network and always does the same.

pip install 'sandbox-sdk[deepagents]'
python examples/python/deepagents_agent.py
"""

from typing import Any

from deepagents import create_deep_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage

from sandbox_sdk import Client
from sandbox_sdk.adapters.deepagents import SandboxBackend


class PreparedModel(GenericFakeChatModel):
    """Says the next message of its list, and has no use for the description of a tool."""

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self


def call(number: int, name: str, **arguments: str) -> AIMessage:
    """A message that calls one tool."""
    return AIMessage(content="", tool_calls=[{"id": f"call-{number}", "name": name, "args": arguments}])


def main() -> None:
    with Client() as client, client.create(labels={"example": "deepagents"}, ttl=600) as sandbox:
        home = sandbox.run(["pwd"], text=True, check=True).stdout.strip()
        steps = [
            call(1, "write_file", file_path=f"{home}/greet.sh", content='echo "hello, $1"\n'),
            call(2, "edit_file", file_path=f"{home}/greet.sh", old_string="hello", new_string="good morning"),
            call(3, "execute", command="sh greet.sh world; ls greet.sh"),
            call(4, "grep", pattern="morning", path=home),
            AIMessage(content="The script greets the world."),
        ]
        model = PreparedModel(messages=iter(steps))
        agent = create_deep_agent(model=model, backend=SandboxBackend(sandbox, timeout=60))
        result = agent.invoke({"messages": [{"role": "user", "content": "Write a script that greets the world."}]})

        for message in result["messages"]:
            if isinstance(message, ToolMessage):
                print(f"{message.name}: {str(message.content).strip()}")
        assert sandbox.read_text("greet.sh") == 'echo "good morning, $1"\n'
        assert "good morning, world" in str(result["messages"])
    print("the sandbox is gone; the agent says:", result["messages"][-1].content)


if __name__ == "__main__":
    main()
