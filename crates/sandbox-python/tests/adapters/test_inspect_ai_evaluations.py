"""Evaluations of Inspect with a model that is a list of prepared messages, and what they leave."""

import asyncio
import pathlib
import subprocess
import sys
import time

import pytest
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.log import EvalLog
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import Score, accuracy, scorer
from inspect_ai.solver import generate, solver, use_tools
from inspect_ai.tool import bash
from inspect_ai.util import SandboxEnvironmentSpec, sandbox
from inspect_support import sample

from sandbox_sdk import AsyncClient, SandboxCreationError, SandboxError, SandboxNotFoundError
from sandbox_sdk.adapters.inspect_ai import SandboxConfig, SandboxOptions, SandboxSdkEnvironment


def prepared(*outputs):
    for output in outputs:
        # Otherwise Inspect would fetch a tokenizer to count.
        output.usage = ModelUsage()
    return get_model("mockllm/model", custom_outputs=list(outputs))


def command(line):
    return ModelOutput.for_tool_call("mockllm/model", "bash", {"command": line})


def said():
    return ModelOutput.from_content("mockllm/model", "done")


@scorer(metrics=[accuracy()])
def reads(file="out.txt"):
    async def score(state, target):
        found = (await sandbox().read_file(file)).strip()
        return Score(value="C" if found == target.text else "I", answer=found)

    return score


def evaluate(task, tmp_path, *outputs, **options) -> EvalLog:
    (log,) = eval(task, model=prepared(*outputs), display="none", log_dir=str(tmp_path), **options)
    return log


def test_an_evaluation_with_files_setup_and_tools(tmp_path, of_inspect):
    task = Task(
        dataset=[
            Sample(
                input="Work.",
                target="7 set up",
                files={"in/data.txt": "7"},
                setup="#!/bin/sh\nprintf ' set up' > state.txt",
            )
        ],
        solver=[use_tools(bash(timeout=30)), generate()],
        scorer=reads(),
        sandbox="sandbox-sdk",
    )
    log = evaluate(task, tmp_path, command("cat in/data.txt state.txt > out.txt"), said())
    assert log.status == "success", log.error
    assert log.results.scores[0].metrics["accuracy"].value == 1
    assert of_inspect() == []


def test_the_program_of_the_page(program, tmp_path, monkeypatch, of_inspect):
    monkeypatch.setenv("INSPECT_LOG_DIR", str(tmp_path))
    monkeypatch.setenv("INSPECT_DISPLAY", "none")
    names = {"model": prepared(command("ls /etc | wc -l; cat notes.txt"), said())}
    exec(program("Inspect"), names)
    assert names["log"].status == "success" and "hello" in str(names["log"].samples[0].messages)
    assert of_inspect() == []


def test_samples_have_sandboxes_of_their_own(tmp_path, of_inspect):
    task = Task(
        dataset=[Sample(input="Work.", target=str(number), files={"out.txt": str(number)}) for number in range(6)],
        solver=[generate()],
        scorer=reads(),
        sandbox="sandbox-sdk",
    )
    log = evaluate(task, tmp_path, *[said() for _ in range(6)])
    assert log.results.scores[0].metrics["accuracy"].value == 1
    assert of_inspect() == []


@solver
def fails():
    async def solve(state, generate):
        await sandbox().exec(["true"])
        raise ZeroDivisionError("of the solver")

    return solve


@solver
def sleeps():
    async def solve(state, generate):
        await sandbox().exec(["sleep", "60"])
        return state

    return solve


def test_a_failing_sample_leaves_nothing(tmp_path, of_inspect):
    log = evaluate(Task(dataset=[Sample(input="Work.")], solver=fails(), sandbox="sandbox-sdk"), tmp_path)
    assert log.status == "error" and "of the solver" in log.error.message
    assert of_inspect() == []


def test_a_sample_that_is_cancelled_at_its_limit_leaves_nothing(tmp_path, of_inspect):
    began = time.monotonic()
    task = Task(dataset=[Sample(input="Work.")], solver=sleeps(), sandbox="sandbox-sdk", time_limit=2)
    log = evaluate(task, tmp_path)
    assert log.samples[0].limit.type == "time" and time.monotonic() - began < 30
    assert of_inspect() == []


def test_an_evaluation_that_is_interrupted_leaves_nothing(tmp_path, child):
    program = f"""
import _thread, threading
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.solver import solver
from inspect_ai.util import sandbox
from sandbox_sdk import Client

@solver
def sleeps():
    async def solve(state, generate):
        threading.Timer(0.5, _thread.interrupt_main).start()
        await sandbox().exec(["sleep", "60"])
        return state
    return solve

task = Task(dataset=[Sample(input="Work.")], solver=sleeps(), sandbox="sandbox-sdk")
logs = eval(task, model="mockllm/model", display="none", log_dir={str(tmp_path)!r})
with Client() as client:
    print([log.status for log in logs], client.list({{"inspect-ai": "sample"}}))
"""
    done = child(program)
    assert done.stdout.splitlines()[-1:] in (["[] []"], ["['cancelled'] []"]), done.stderr


def test_a_creation_that_is_cancelled_leaves_nothing(of_inspect):
    async def main():
        config = SandboxConfig(sandboxes={"other": SandboxOptions(init=("sleep 60",))})
        creation = asyncio.create_task(SandboxSdkEnvironment.sample_init("task", config, {}))
        while not of_inspect():
            await asyncio.sleep(0.05)
        creation.cancel()
        with pytest.raises(asyncio.CancelledError):
            await creation
        await SandboxSdkEnvironment.task_cleanup("task", config, True)

    asyncio.run(main())


def test_a_creation_of_which_one_fails_leaves_nothing(of_inspect):
    config = SandboxConfig(sandboxes={"other": SandboxOptions(init=("exit 3",))})

    async def main():
        async with sample(config):
            pass

    with pytest.raises(SandboxCreationError) as raised:
        asyncio.run(main())
    assert raised.value.stage == "personalise"


def test_what_could_not_be_deleted_is_deleted_at_the_end(monkeypatch, of_inspect):
    async def main():
        environments = await SandboxSdkEnvironment.sample_init("task", None, {})
        default = environments["default"]
        delete = default.sandbox.delete

        async def failing():
            raise SandboxError("not now")

        monkeypatch.setattr(default.sandbox, "delete", failing)
        await SandboxSdkEnvironment.sample_cleanup("task", None, environments, False)
        assert of_inspect()
        with pytest.raises(SandboxError, match="not now"):
            await SandboxSdkEnvironment.task_cleanup("task", None, True)
        monkeypatch.setattr(default.sandbox, "delete", delete)
        await SandboxSdkEnvironment.task_cleanup("task", None, True)

    asyncio.run(main())


def test_sandboxes_that_are_kept_are_deleted_by_the_command(tmp_path, of_inspect, client, capsys):
    task = Task(
        dataset=[Sample(input="Work."), Sample(input="Work.")],
        solver=[generate()],
        sandbox=SandboxEnvironmentSpec("sandbox-sdk", SandboxConfig(detached=True)),
    )
    log = evaluate(task, tmp_path, said(), said(), sandbox_cleanup=False)
    assert log.status == "success"
    first, second = of_inspect()
    printed = capsys.readouterr().out
    assert f"inspect sandbox cleanup sandbox-sdk {first}" in printed and "for about a minute" not in printed
    with client.create() as other:
        with pytest.raises(SandboxNotFoundError):
            asyncio.run(SandboxSdkEnvironment.cli_cleanup(other.id))
        asyncio.run(SandboxSdkEnvironment.cli_cleanup(first))
        assert of_inspect() == [second]
        command = [pathlib.Path(sys.executable).with_name("inspect"), "sandbox", "cleanup", "sandbox-sdk"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert f"deleted sandbox {second}" in done.stdout, done.stderr
        assert of_inspect() == []
        assert client.info(other.id).state == "running"


def test_cleaning_up_what_does_not_exist():
    with pytest.raises(SandboxNotFoundError):
        asyncio.run(SandboxSdkEnvironment.cli_cleanup("missing"))


def test_a_client_that_was_not_used_costs_nothing():
    async def main():
        await SandboxSdkEnvironment.task_cleanup("task", None, True)
        async with AsyncClient() as client:
            assert await client.list({"inspect-ai": "sample"}) == []

    asyncio.run(main())
