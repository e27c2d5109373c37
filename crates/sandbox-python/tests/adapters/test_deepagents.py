"""Deep Agents with a model that is a list of prepared tool calls, on local sandboxes."""

import asyncio
import time

import pytest
from deepagents import create_deep_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage

from sandbox_sdk import AsyncClient
from sandbox_sdk.adapters.deepagents import SandboxBackend


class PreparedModel(GenericFakeChatModel):
    """Says the next message of its list, and has no use for the description of a tool."""

    def bind_tools(self, tools, **_):
        return self


def call(number, name, **arguments):
    return AIMessage(content="", tool_calls=[{"id": f"call-{number}", "name": name, "args": arguments}])


@pytest.fixture
def backend(sbx):
    return SandboxBackend(sbx)


@pytest.fixture
def place(sbx, home):
    """The absolute path of a new directory."""
    return sbx.run(["pwd"], cwd=home, text=True, check=True).stdout.strip()


def steps(place):
    return [
        call(1, "write_file", file_path=f"{place}/greet.sh", content='echo "hello, $1"\n'),
        call(2, "edit_file", file_path=f"{place}/greet.sh", old_string="hello", new_string="good morning"),
        call(3, "execute", command=f"cd {place}; sh greet.sh world; echo oops >&2; exit 3"),
        call(4, "read_file", file_path=f"{place}/greet.sh"),
        call(5, "grep", pattern="morning", path=place),
        call(6, "glob", pattern="*.sh", path=place),
        call(7, "ls", path=place),
        AIMessage(content="done"),
    ]


def outputs(result):
    return [message.content for message in result["messages"] if isinstance(message, ToolMessage)]


def check(found, place, sbx):
    written, edited, executed, read, grepped, globbed, listed = found
    assert "error" not in f"{written} {edited}".lower()
    assert "good morning, world\noops\n" in executed and "3" in executed
    assert 'echo "good morning, $1"' in read
    for each in (grepped, globbed, listed):
        assert "greet.sh" in each
    assert sbx.read_text(f"{place}/greet.sh") == 'echo "good morning, $1"\n'


def test_an_agent_uses_each_tool(backend, place, sbx):
    agent = create_deep_agent(model=PreparedModel(messages=iter(steps(place))), backend=backend)
    result = agent.invoke({"messages": [{"role": "user", "content": "Write a script."}]})
    assert result["messages"][-1].content == "done"
    check(outputs(result), place, sbx)


def test_the_program_of_the_page(program):
    messages = [call(1, "execute", command="python3 -c 'print(6 * 7)'"), AIMessage(content="done")]
    names = {"model": PreparedModel(messages=iter(messages))}
    exec(program("Deep Agents"), names)
    assert "42" in outputs(names["result"])[0]


def test_an_agent_in_an_event_loop(backend, place, sbx):
    agent = create_deep_agent(model=PreparedModel(messages=iter(steps(place))), backend=backend)
    result = asyncio.run(agent.ainvoke({"messages": [{"role": "user", "content": "Write a script."}]}))
    check(outputs(result), place, sbx)


@pytest.fixture(params=["blocking", "asyncio"])
def execute(request, backend):
    if request.param == "blocking":
        return backend.execute
    return lambda *args, **options: asyncio.run(backend.aexecute(*args, **options))


def test_commands(execute):
    found = execute("echo out; echo err >&2; echo out again; exit 7")
    assert (found.output, found.exit_code, found.truncated) == ("out\nerr\nout again\n", 7, False)
    assert execute("printf '\\377'").output == "\ufffd"
    assert execute("kill -9 $$").exit_code == 137
    assert execute("cat <<'EOF'\n$HOME\nEOF").output == "$HOME\n"
    assert execute("if then").exit_code == 2
    assert execute("").exit_code == 0


def test_a_command_that_takes_too_long(execute):
    found = execute("echo begun; sleep 60", timeout=1)
    assert found.exit_code == 124
    assert found.output.startswith("begun\n") and found.output.endswith("the command was killed after 1 s")
    assert execute("sleep 0.1; echo done", timeout=0).output == "done\n"
    with pytest.raises(ValueError, match="must not be negative"):
        execute("true", timeout=-1)


def test_endless_output(sbx):
    found = SandboxBackend(sbx, output_cap=1000).execute("echo begin; yes | head -c 20000000; echo end")
    assert found.truncated and found.exit_code == 0 and len(found.output) < 1100
    assert found.output.startswith("begin\n") and found.output.endswith("end\n")


def test_the_working_directory_and_the_default_timeout(sbx, place):
    backend = SandboxBackend(sbx, working_dir=place, timeout=0.5)
    assert backend.execute("pwd").output.strip() == place
    assert backend.execute("sleep 60").exit_code == 124
    assert backend.id == sbx.id and backend.sandbox is sbx


def test_a_sandbox_that_is_gone(client):
    with client.create() as sandbox:
        backend = SandboxBackend(sandbox)
        client.delete(sandbox.id)
        found = backend.execute("echo hello")
        assert found.exit_code == 125 and "not run to its end" in found.output
        (response,) = backend.download_files(["/etc/hostname"])
        assert response.content is None and response.error


@pytest.fixture(params=["blocking", "asyncio"])
def transfer(request, backend):
    """The methods that transfer files, in both styles."""

    class Transfer:
        def __getattr__(self, name):
            if request.param == "blocking":
                return getattr(backend, name)
            return lambda *args: asyncio.run(getattr(backend, f"a{name}")(*args))

    return Transfer()


def test_files_go_up_and_down(transfer, place):
    content = bytes(range(256)) * 1000
    files = [
        (f"{place}/a/b/new.bin", content),
        ("relative.txt", b""),
        (place, b"a directory"),
        (f"{place}/a/b/new.bin/below", b""),
        (f"{place}/nul\0.txt", b""),
        (f"{place}/empty", b""),
    ]
    errors = [response.error for response in transfer.upload_files(files)]
    assert errors[:3] == [None, "invalid_path", "is_directory"]
    assert errors[3] and errors[4:] == ["invalid_path", None]
    found = transfer.download_files(
        [f"{place}/a/b/new.bin", f"{place}/missing", place, "relative.txt", f"{place}/empty", "/dev/zero"]
    )
    assert [response.error for response in found] == [
        None,
        "file_not_found",
        "is_directory",
        "invalid_path",
        None,
        "it is not a regular file",
    ]
    assert [response.content for response in found] == [content, None, None, None, b"", None]


def test_listing(transfer, place, sbx):
    sbx.write_bytes(f"{place}/file", b"12345")
    sbx.mkdir(f"{place}/directory")
    sbx.write_bytes(place.encode() + b"/\xff", b"")
    found = {entry["path"]: entry for entry in transfer.ls(place).entries}
    assert found[f"{place}/file"]["size"] == 5 and not found[f"{place}/file"]["is_dir"]
    assert found[f"{place}/directory"]["is_dir"] and found[f"{place}/file"]["modified_at"].endswith("+00:00")
    assert f"{place}/\ufffd" in found
    assert transfer.ls(f"{place}/missing").error == f"Path '{place}/missing': path_not_found"
    assert transfer.ls(f"{place}/file").error


def test_edits_and_reads_of_large_files(backend, place, sbx):
    text = "".join(f"line {number}\n" for number in range(20_000))
    assert backend.write(f"{place}/large", text).error is None
    window = backend.read(f"{place}/large", offset=19_990, limit=3)
    assert window.file_data["content"].splitlines() == ["line 19990", "line 19991", "line 19992"]
    old, new = "".join(f"line {number}\n" for number in range(9_000)), "x" * 100_000
    assert backend.edit(f"{place}/large", old, new).occurrences == 1
    assert sbx.stat(f"{place}/large").size == len(text) - len(old) + len(new)


def test_the_event_loop_is_not_blocked_and_cancelling_ends_the_command(sbx, place):
    async def work():
        async with AsyncClient() as client:
            backend = SandboxBackend(await client.get(sbx.id))
            # It is past its beginning only because the event loop goes on.
            line = f"until [ -e {place}/go ]; do sleep 0.01; done; touch {place}/begun; sleep 60; echo end"
            command = asyncio.create_task(backend.aexecute(line, timeout=50))
            for _ in range(10):
                await asyncio.sleep(0.01)
            await asyncio.to_thread(sbx.write_text, f"{place}/go", "")
            while not await asyncio.to_thread(sbx.exists, f"{place}/begun"):
                assert not command.done()
                await asyncio.sleep(0.01)
            command.cancel()
            with pytest.raises(asyncio.CancelledError):
                await command
        deadline = time.monotonic() + 10
        while b"sleep 60" in sbx.run(["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]).stdout.replace(
            b"cat /proc", b""
        ):
            assert time.monotonic() < deadline, "the command goes on"
            await asyncio.sleep(0.1)

    asyncio.run(work())
