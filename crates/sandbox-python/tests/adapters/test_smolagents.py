"""Code agents of smolagents, with a model that is a list of prepared messages, on local sandboxes."""

import contextlib
import io
import time
import zipfile

import PIL.Image
import pytest
from smolagents import CodeAgent, FinalAnswerTool, tool
from smolagents.models import ChatMessage, MessageRole, Model
from smolagents.utils import AgentError

from sandbox_sdk import Client, ClosedError, SandboxNotFoundError
from sandbox_sdk.adapters.smolagents import SandboxExecutor


class PreparedModel(Model):
    """Says the next piece of code, whatever it is asked, and keeps what it was asked."""

    def __init__(self, *steps):
        super().__init__(model_id="prepared")
        self.steps = iter(steps)
        self.asked = []

    def generate(self, messages, **_):
        self.asked.append("".join(part["text"] for part in messages[-1].content))
        return ChatMessage(role=MessageRole.ASSISTANT, content=f"Thought: next.\n<code>\n{next(self.steps)}\n</code>")


@tool
def square(number: int) -> int:
    """Return the square of a number.

    Args:
        number: The number to square.
    """
    return number * number


@pytest.fixture(scope="module")
def executor(shared):
    """An executor in the shared sandbox; its variables are shared, too."""
    with SandboxExecutor(sandbox=shared, timeout=30) as executor:
        yield executor


def run(steps, executor, tools=(), **options):
    model = PreparedModel(*steps)
    agent = CodeAgent(tools=list(tools), model=model, executor=executor, verbosity_level=0, max_steps=len(steps))
    return agent.run("Work.", **options), model, agent


def test_an_agent_keeps_its_variables_tools_and_state(shared):
    steps = [
        "import os\nsquares = [square(n) for n in numbers]\nprint('in', os.getcwd())\nsquares",
        "final_answer({'sum': sum(squares), 'pair': (1, 2), 'bytes': b'x'})",
    ]
    with SandboxExecutor(sandbox=shared) as executor:
        answer, model, agent = run(steps, executor, [square], additional_args={"numbers": [1, 2, 3]})
        assert answer == {"sum": 14, "pair": (1, 2), "bytes": b"x"}
        home = shared.run(["pwd"], text=True).stdout.strip()
        assert f"in {home}" in model.asked[1]
        assert "Last output from code snippet:\n[1, 4, 9]" in model.asked[1]
        # The same agent works again, with its tools defined anew.
        agent.model.steps = iter(["final_answer(square(7))"])
        assert agent.run("Again.") == 49


def test_the_program_of_the_page(program):
    model = PreparedModel("final_answer(168)")
    names = {"model": model}
    exec(program("smolagents"), names)
    assert "How many prime numbers" in model.asked[0]


def test_a_failing_step_is_an_observation_for_the_next(executor):
    steps = [
        "value = 1\nprint('before')\ndef fail():\n    raise ValueError('no such luck')\nfail()",
        "final_answer(value)",
    ]
    answer, model, _ = run(steps, executor)
    assert answer == 1
    seen = model.asked[1]
    assert "before" in seen and "ValueError\nno such luck" in seen
    # With lines of the code, and none of the driver.
    assert "raise ValueError('no such luck')" in seen and "_interpreter_driver" not in seen and "in execute" not in seen


def test_an_agent_creates_and_deletes_its_sandbox(client):
    with CodeAgent(
        tools=[],
        model=PreparedModel("import os\nfinal_answer(os.environ['MODE'])"),
        executor=SandboxExecutor(env={"MODE": "test"}, labels={"of": "smolagents"}),
        verbosity_level=0,
    ) as agent:
        (info,) = client.list({"of": "smolagents"})
        assert agent.run("Work.") == "test"
    with pytest.raises(SandboxNotFoundError):
        client.info(info.id)
    with pytest.raises(ClosedError):
        agent.python_executor("1")


def test_an_exception_in_an_agent_deletes_its_sandbox(client):
    with pytest.raises(ZeroDivisionError), SandboxExecutor(labels={"of": "smolagents"}):
        assert len(client.list({"of": "smolagents"})) == 1
        raise ZeroDivisionError
    assert client.list({"of": "smolagents"}) == []


def test_what_cannot_be_installed_leaves_nothing(client):
    with pytest.raises(AgentError, match=r"cannot install no-such-package in the sandbox: (.|\n)*No matching"):
        SandboxExecutor(["no-such-package"], env={"PIP_NO_INDEX": "1"}, labels={"of": "smolagents"})
    assert client.list({"of": "smolagents"}) == []


def test_a_final_answer_needs_no_packages_in_the_sandbox(shared, home):
    directory = shared.run(["pwd"], text=True).stdout.strip() + f"/{home}"
    # As the Python of a small image, which has only its standard library.
    shared.write_text(f"{directory}/python", '#!/bin/sh\nexec python3 -I -S "$@"\n')
    shared.run(["chmod", "+x", f"{directory}/python"], check=True)
    with pytest.raises(AgentError), SandboxExecutor(sandbox=shared, python=f"{directory}/python") as bare:
        bare.run_code_raise_errors("import numpy")
    with SandboxExecutor(sandbox=shared, python=f"{directory}/python") as executor:
        executor.send_tools({"final_answer": FinalAnswerTool()})
        output = executor.run_code_raise_errors("final_answer({'sum': 3})")
        assert (output.output, output.is_final_answer) == ({"sum": 3}, True)


def test_packages_are_installed_in_the_sandbox(shared, home):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as wheel:
        wheel.writestr("tiny.py", "answer = 42")
        wheel.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tiny-1.0.dist-info/RECORD", "")
    path = f"{home}/tiny-1.0-py3-none-any.whl"
    shared.write_bytes(path, buffer.getvalue())
    with SandboxExecutor(sandbox=shared) as executor:
        executor("1")
        assert executor.install_packages([path]) == [path]
        assert executor("import tiny\ntiny.answer").output == "42"


def test_a_sandbox_that_was_given_stays(shared):
    with SandboxExecutor(sandbox=shared) as executor:
        assert executor("1 + 1").output == "2"
    assert shared.info().state == "running"
    with pytest.raises(TypeError, match="takes no client"):
        SandboxExecutor(sandbox=shared, image="python")


@pytest.mark.parametrize(
    ("code", "output", "logs"),
    [
        ("1 + 1", "2", ""),
        ("'text'", "'text'", ""),
        ("None", None, ""),
        ("x = 5", None, ""),
        ("", None, ""),
        ("# only a comment", None, ""),
        ("print('out')", None, "out\n"),
        ("import sys\nprint('a'); print('b', file=sys.stderr); print('c')", None, "a\nb\nc\n"),
        ("import os\nos.system('echo shell; echo error >&2')", "0", "shell\nerror\n"),
        ("print('no newline', end='')", None, "no newline"),
        ("print('\\ud800 é')", None, "\\ud800 é\n"),
        ("import os\n_ = os.write(1, b'\\xff')", None, "\ufffd"),
        ("'\\ud800'", "'\\ud800'", ""),
        ("class Bad:\n    def __repr__(self): raise OSError\nBad()", "<Bad without a text: OSError>", ""),
        ("from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\nP(1)", "P(x=1)", ""),
        ("import pickle\nclass Q: pass\ntype(pickle.loads(pickle.dumps(Q()))).__name__", "'Q'", ""),
        ("import sys\nsys.stdout.close()\nsys.stdout = sys.__stdout__ = open(1, 'w', closefd=False)", None, ""),
    ],
)
def test_outputs_and_logs(executor, code, output, logs):
    found = executor(code)
    assert (found.output, found.logs, found.is_final_answer) == (output, logs, False)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("1 +", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit\n3"),
        ("input()", "EOFError"),
        ("class E(Exception):\n    def __str__(self): raise OSError\nraise E", "E\n<E without a text: OSError>"),
        ("def f(): f()\nf()", "RecursionError"),
    ],
)
def test_errors(executor, code, error):
    with pytest.raises(AgentError) as raised:
        executor(code)
    assert f"Executing code yielded an error:\n{error}" in str(raised.value)


def test_an_image_is_an_image(executor):
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (2, 3)).save(buffer, "PNG")
    png = buffer.getvalue().hex()
    code = f"class Image:\n    def _repr_png_(self): return bytes.fromhex('{png}')\nImage()"
    assert executor(code).output.size == (2, 3)
    assert "cannot be shown" in executor(code.replace(png, "00")).output


@pytest.mark.parametrize("value", ["'nonsense'", "'safe:{'", "'pickle:gASVAA=='", "b'bytes'", "'safe:' + '[' * 100000"])
def test_a_forged_final_answer_is_an_error(executor, value):
    code = f"class FinalAnswerException(BaseException):\n    value = {value}\nraise FinalAnswerException()"
    with pytest.raises(AgentError, match="the final answer cannot be decoded"):
        executor(code)


def test_forged_replies_are_no_replies(executor):
    # The code knows where replies are written, as any file of its process.
    code = """
import os
for number in range(3, 12):
    try:
        os.write(number, b'{"mark": "guess", "value": "forged"}\\nnot json\\n[]\\n')
    except OSError:
        pass
'true'
"""
    assert executor(code).output == "'true'"
    assert executor("2").output == "2"


def test_endless_output_is_cut_in_the_middle(shared):
    with SandboxExecutor(sandbox=shared, log_cap=1000) as executor:
        found = executor(
            "print('begin')\nfor _ in range(40000): print('0123456789' * 10)\nprint('end')\n'x' * (3 << 20)"
        )
    assert found.logs.startswith("begin\n") and found.logs.endswith("end\n") and len(found.logs) < 1100
    assert "bytes are left out]" in found.logs
    assert len(found.output) < (1 << 20) + 100 and "characters are left out]" in found.output


@contextlib.contextmanager
def short_steps(executor, monkeypatch):
    """Steps may take a second. The interpreter runs already, so that its start does not count."""
    executor("kept = 1")
    with monkeypatch.context() as patch:
        patch.setattr(executor, "_timeout", 1.0)
        yield


def test_a_step_that_takes_too_long_is_interrupted(shared, monkeypatch):
    with SandboxExecutor(sandbox=shared) as executor:
        with short_steps(executor, monkeypatch):
            began = time.monotonic()
            with pytest.raises(AgentError, match=r"interrupted after 1 s; its variables are kept") as raised:
                executor("import time\nprint('working')\ntime.sleep(60)")
            assert time.monotonic() - began < 5 and "working" in str(raised.value)
        assert executor("kept").output == "1"


def test_a_step_that_resists_is_killed(shared, monkeypatch):
    monkeypatch.setattr("sandbox_sdk.adapters._interpreter.INTERRUPT_GRACE", 0.5)
    code = (
        "import time\nwhile True:\n    try:\n        time.sleep(60)\n    except KeyboardInterrupt:\n        print('no')"
    )
    with SandboxExecutor(sandbox=shared) as executor:
        with short_steps(executor, monkeypatch):
            with pytest.raises(AgentError, match="was killed after its timeout; its variables are lost") as raised:
                executor(code)
            assert "no" in str(raised.value)
        assert executor("1").output == "1"


@pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), 9)", "os.closerange(0, 100)\nos._exit(0)"])
def test_an_interpreter_that_ends_is_started_again_with_its_tools(shared, end):
    with SandboxExecutor(sandbox=shared) as executor:
        executor.send_variables({"number": 3})
        executor.send_tools({"square": square})
        executor("defined = 1")
        with pytest.raises(AgentError, match="its variables are lost"):
            executor(f"import os\nprint('printed', flush=True)\n{end}")
        assert executor("square(number), 'defined' in globals()").output == "(9, False)"


def test_an_interpreter_that_ends_between_steps(shared):
    with SandboxExecutor(sandbox=shared) as executor:
        pid = executor("import os\nos.getpid()").output
        shared.run(["kill", "-9", pid], check=True)
        with pytest.raises(AgentError, match="its variables are lost"):
            executor("1")
        assert executor("1").output == "1"


def test_a_forked_child_does_not_reply(executor):
    code = "import os, sys\npid = os.fork()\nif pid: _ = os.waitpid(pid, 0)\n'parent' if pid else 'child'"
    assert executor(code).output == "'parent'"
    assert executor("'next'").output == "'next'"


def test_ctrl_c_ends_the_step(child):
    program = """
import _thread, threading, time
from sandbox_sdk.adapters.smolagents import SandboxExecutor
with SandboxExecutor() as executor:
    executor("1")
    threading.Timer(0.5, _thread.interrupt_main).start()
    began = time.monotonic()
    try:
        executor("import time; time.sleep(60)")
    except KeyboardInterrupt:
        print("interrupted", time.monotonic() - began < 5, executor("2").output)
"""
    assert child(program).stdout == "interrupted True 2\n"


def test_the_client_can_be_given(state_dir):
    with Client() as client, SandboxExecutor(client=client) as executor:
        assert executor("3").output == "3"
        assert client.info(executor.sandbox.id).state == "running"
