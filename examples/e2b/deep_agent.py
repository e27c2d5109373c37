"""A deep agent of LangChain with a sandbox as its file system and shell: `langchain-e2b`, unchanged.

The model is a list of prepared tool calls, so that this runs without a network and always does the same.

    pip install langchain-e2b
"""

from deepagents import create_deep_agent
from e2b import Sandbox
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_e2b import E2BSandbox


class PreparedModel(GenericFakeChatModel):
    """Says the next message of its list, and has no use for the description of a tool."""

    def bind_tools(self, tools, **_):
        return self


def call(number, name, **arguments):
    """A message that calls one tool."""
    return AIMessage(content="", tool_calls=[{"id": f"call-{number}", "name": name, "args": arguments}])


with Sandbox.create(timeout=300) as sandbox:
    home = sandbox.commands.run("echo -n ~").stdout
    steps = [
        call(1, "write_file", file_path=f"{home}/greet.sh", content='echo "hello, $1"\n'),
        call(2, "edit_file", file_path=f"{home}/greet.sh", old_string="hello", new_string="good morning"),
        call(3, "execute", command="sh greet.sh world; ls greet.sh"),
        call(4, "read_file", file_path=f"{home}/greet.sh"),
        call(5, "grep", pattern="morning", path=home),
        AIMessage(content="The script greets the world."),
    ]
    backend = E2BSandbox(sandbox=sandbox, workdir=home)
    agent = create_deep_agent(model=PreparedModel(messages=iter(steps)), backend=backend)
    result = agent.invoke({"messages": [{"role": "user", "content": "Write a script that greets the world."}]})

    for message in result["messages"]:
        if isinstance(message, ToolMessage):
            print(f"{message.name}: {message.content.strip()}")
    print("the script is", sandbox.files.read("greet.sh").strip())
