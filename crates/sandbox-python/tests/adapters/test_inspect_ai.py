"""Evaluations of Inspect with a model that is a list of prepared messages, on local sandboxes."""

import asyncio
import contextlib
import os
import pathlib
import pwd
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
from inspect_ai.util import (
    OutputLimitExceededError,
    SandboxEnvironmentSpec,
    SandboxUnavailableError,
    SandboxUserUnsupportedError,
    sandbox,
)
from inspect_ai.util._sandbox import self_check
from inspect_ai.util._sandbox.limits import override_sandbox_output_limit

from sandbox_sdk import AsyncClient, SandboxCreationError, SandboxError, SandboxNotFoundError
from sandbox_sdk.adapters.inspect_ai import SandboxConfig, SandboxOptions, SandboxSdkEnvironment

USER_CHECKS = {"test_exec_as_user", "test_exec_as_nonexistent_user"}


@contextlib.asynccontextmanager
async def sample(config=None, interrupted=False):
    """The sandboxes of a sample, as Inspect creates and deletes them."""
    await SandboxSdkEnvironment.task_init("task", config)
    try:
        environments = await SandboxSdkEnvironment.sample_init("task", config, {})
        try:
            yield environments
        finally:
            await SandboxSdkEnvironment.sample_cleanup("task", config, environments, interrupted)
    finally:
        await SandboxSdkEnvironment.task_cleanup("task", config, True)


def in_sample(work, config=None):
    """Runs a coroutine function with the default sandbox of a sample."""

    async def main():
        async with sample(config) as environments:
            return await work(environments["default"])

    return asyncio.run(main())


@pytest.fixture
def of_inspect(client):
    """Lists the sandboxes of this provider."""

    def found():
        return [info.id for info in client.list({"inspect-ai": "sample"})]

    yield found
    deadline = time.monotonic() + 10
    # What a cancelled creation has begun is removed in the background.
    while left := found():
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_the_self_check_of_inspect():
    checks = [check for name, check in vars(self_check).items() if name.startswith("test_")]
    assert len(checks) > 30

    async def run(environment, checks):
        failed = []
        for check in checks:
            try:
                await check(environment)
            except SandboxUserUnsupportedError:
                # A sandbox has one user, and says so.
                assert check.__name__ in USER_CHECKS
            except Exception as error:
                failed.append((check.__name__, repr(error)))
        return failed

    async def main():
        # Most of the time they wait for timeouts: so there are several sandboxes.
        config = SandboxConfig(sandboxes={"second": SandboxOptions(), "third": SandboxOptions()})
        async with sample(config) as environments:
            parts = [run(each, checks[number::3]) for number, each in enumerate(environments.values())]
            return await asyncio.gather(*parts)

    assert asyncio.run(main()) == [[], [], []]


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


def test_several_sandboxes_from_a_file(tmp_path, of_inspect):
    (tmp_path / "sandbox-sdk.yaml").write_text(
        "env: {ROLE: default}\nworking_dir: work\ninit:\n  - mkdir work\n"
        "sandboxes:\n  victim:\n    env: {ROLE: victim}\n    init: [[touch, ready]]\n"
    )

    async def main():
        async with sample(str(tmp_path / "sandbox-sdk.yaml")) as environments:
            assert list(environments) == ["default", "victim"]
            for name, environment in environments.items():
                assert (await environment.exec(["sh", "-c", "echo $ROLE"])).stdout == f"{name}\n"
            assert (await environments["default"].exec(["pwd"])).stdout.endswith("/work\n")
            assert (await environments["victim"].exec(["ls"])).stdout == "ready\n"
            await environments["default"].write_file("a/b", "text")
            assert (await environments["default"].exec(["cat", "b"], cwd="a")).stdout == "text"
            assert len(of_inspect()) == 2

    asyncio.run(main())


@pytest.mark.parametrize("text", ["memory: [1]", "unknown: 1", "{", "- list", "sandboxes: {a: {backend: k8s}}"])
def test_an_invalid_file_is_refused_before_the_first_sample(tmp_path, text):
    path = tmp_path / "sandbox-sdk.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match="does not describe sandboxes"):
        asyncio.run(SandboxSdkEnvironment.task_init("task", str(path)))


def test_egress_rules():
    async def work(environment):
        line = "import urllib.request as u; u.urlopen('http://example.com', timeout=5)"
        found = await environment.exec(["python3", "-c", line], timeout=30)
        assert "403" in found.stderr, found

    in_sample(work, SandboxConfig(egress="none", egress_allow=("api.example.com:443",)))
    with pytest.raises(ValueError, match="nonsense"):
        in_sample(work, SandboxConfig(egress="nonsense"))


def test_configurations_are_kept_in_logs():
    config = SandboxConfig(image="python", env={"A": "1"}, sandboxes={"b": SandboxOptions(cpu=2)})
    kept = SandboxSdkEnvironment.config_deserialize(config.model_dump())
    assert kept == config and hash(kept) == hash(config) and len({kept, config, SandboxConfig()}) == 2
    assert SandboxSdkEnvironment.config_files() == ["sandbox-sdk.yaml"]
    assert SandboxSdkEnvironment.default_concurrency() >= 2


def test_a_backend_that_cannot_be_used_is_refused_before_the_first_sample(tmp_path):
    config = SandboxConfig(backend="k8s", kubeconfig=str(tmp_path / "missing"))
    with pytest.raises(SandboxError):
        asyncio.run(SandboxSdkEnvironment.task_init("task", config))


def test_commands():
    async def work(environment):
        found = await environment.exec(["sh", "-c", "cat; echo $A >&2; exit 3"], input="in", env={"A": "é"})
        assert (found.success, found.returncode, found.stdout, found.stderr) == (False, 3, "in", "é\n")
        assert (await environment.exec(["cat"], input=b"\xff\r\n")).stdout == "\ufffd\r\n"
        assert (await environment.exec(["sh", "-c", "kill -9 $$"])).returncode == 137
        assert (await environment.exec(["echo", "$HOME; $(id)"])).stdout == "$HOME; $(id)\n"
        assert (await environment.exec(["no-such-program"])).returncode == 127
        assert not (await environment.exec(["pwd"], cwd="missing")).success
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await environment.exec(["sh", "-c", "sleep 60 & sleep 60"], timeout=1)
        assert time.monotonic() - began < 10
        assert (await environment.exec(["echo", "next"])).stdout == "next\n"

    in_sample(work)


def test_the_last_output_is_kept():
    async def work(environment):
        for size in (1001, 1999, 2001, 5_000_000):
            with pytest.raises(OutputLimitExceededError) as raised:
                await environment.exec(["sh", "-c", f"yes | head -c {size - 4}; printf last; printf err >&2"])
            assert raised.value.truncated_output.endswith("lasterr") and len(raised.value.truncated_output) == 1003
        assert len((await environment.exec(["sh", "-c", "yes | head -c 1000"])).stdout) == 1000

    with override_sandbox_output_limit(1000, "exec"):
        in_sample(work)


def test_files():
    async def work(environment):
        await environment.write_file("a", "line\r\nend")
        assert await environment.read_file("a") == "line\r\nend"
        await environment.write_file("a", b"\xff")
        with pytest.raises(UnicodeDecodeError):
            await environment.read_file("a")
        assert await environment.read_file("a", text=False) == b"\xff"
        await environment.exec(["chmod", "700", "a"])
        await environment.write_file("a", "#!/bin/sh\necho run")
        assert (await environment.exec(["./a"])).stdout == "run\n"
        # What a sandbox can make of a file.
        await environment.exec(["sh", "-c", "mkfifo pipe; ln -s a link; ln -s nowhere dangling; mkdir directory"])
        await environment.exec(["sh", "-c", "head -c 100001 /dev/zero > large; ln -s directory to-directory"])
        assert await environment.read_file("link") == "#!/bin/sh\necho run"
        assert await environment.read_file("/proc/self/comm")
        for name in ("directory", "to-directory", "."):
            with pytest.raises(IsADirectoryError):
                await environment.read_file(name)
            with pytest.raises(IsADirectoryError):
                await environment.write_file(name, "")
        for name in ("pipe", "/dev/zero"):
            with pytest.raises(OSError, match="Not a regular file"):
                await environment.read_file(name)
            with pytest.raises(OSError, match="Not a regular file"):
                await environment.write_file(name, "")
        with pytest.raises(OutputLimitExceededError):
            await environment.read_file("large")
        # Its size is zero until it is read.
        with override_sandbox_output_limit(10, "read_file"), pytest.raises(OutputLimitExceededError):
            await environment.read_file("/proc/cpuinfo")
        for name in ("missing", "dangling", "missing/below"):
            with pytest.raises(FileNotFoundError) as raised:
                await environment.read_file(name)
            assert raised.value.filename == name
        with pytest.raises(OSError):
            await environment.write_file("a/below", "")

    with override_sandbox_output_limit(100_000, "read_file"):
        in_sample(work)


def test_a_confined_sandbox_has_no_other_users():
    async def work(environment):
        me = (await environment.exec(["id", "-u"])).stdout.strip()
        assert (await environment.exec(["id", "-u"], user=me)).stdout.strip() == me
        place = (await environment.exec(["pwd"])).stdout
        assert (await environment.exec(["pwd"], user=me)).stdout == place
        assert (await environment.exec(["true"], user=environment.sandbox.initial_info.user)).success
        for user in ("nobody-of-this-name", "12345", "", "a:b", "root"):
            with pytest.raises(SandboxUserUnsupportedError, match="cannot run as user"):
                await environment.exec(["true"], user=user)
        connection = await environment.connection()
        assert environment.sandbox.id in connection.command
        with pytest.raises(SandboxUserUnsupportedError):
            await environment.connection(user="nobody-of-this-name")

    in_sample(work)


@pytest.mark.skipif(os.geteuid() != 0, reason="only a server that is root can change its user")
def test_other_users_of_a_sandbox_that_is_not_confined():
    async def work(environment):
        nobody = str(pwd.getpwnam("nobody").pw_uid)
        for user in ("nobody", nobody):
            # A relative directory begins where it does for the sandbox's own user.
            found = await environment.exec(["sh", "-c", "id -u; pwd"], user=user, cwd="lib")
            assert found.stdout == f"{nobody}\n/usr/lib\n", found.stderr
        with pytest.raises(SandboxUserUnsupportedError):
            await environment.exec(["true"], user="nobody-of-this-name")
        assert "--user nobody " in (await environment.connection(user="nobody")).command

    in_sample(work, SandboxConfig(isolation="none", working_dir="/usr"))


def test_the_command_of_a_connection_works():
    async def work(environment):
        line = (await environment.connection()).command.replace(" -it ", " -i ")
        path = str(pathlib.Path(sys.executable).parent)
        process = await asyncio.create_subprocess_shell(
            f'PATH="{path}:$PATH"; {line}', stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        stdout, _ = await process.communicate(b"echo hello\n")
        assert b"hello" in stdout

    in_sample(work)


def test_a_sandbox_that_is_gone(client):
    async def work(environment):
        await asyncio.to_thread(client.delete, environment.sandbox.id)
        with pytest.raises(SandboxUnavailableError):
            await environment.exec(["true"])
        with pytest.raises(SandboxUnavailableError):
            await environment.read_file("a")
        with pytest.raises(SandboxUnavailableError):
            await environment.write_file("a", "")

    in_sample(work)


def test_the_event_loop_is_not_blocked():
    async def work(environment):
        command = asyncio.create_task(environment.exec(["sleep", "0.5"]))
        ticks = 0
        while not command.done():
            await asyncio.sleep(0.01)
            ticks += 1
        assert ticks > 10

    in_sample(work)


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


def test_it_needs_asyncio():
    with pytest.raises(RuntimeError, match="needs asyncio"):
        SandboxSdkEnvironment.task_init("task", None).send(None)


def test_a_missing_extra_is_named(child):
    done = child("import sys\nsys.modules['inspect_ai'] = None\nimport sandbox_sdk.adapters.inspect_ai")
    assert "pip install 'sandbox-sdk[inspect-ai]'" in done.stderr.splitlines()[-1]


def test_a_client_that_was_not_used_costs_nothing():
    async def main():
        await SandboxSdkEnvironment.task_cleanup("task", None, True)
        async with AsyncClient() as client:
            assert await client.list({"inspect-ai": "sample"}) == []

    asyncio.run(main())
