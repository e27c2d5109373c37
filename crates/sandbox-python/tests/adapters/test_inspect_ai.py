"""The sandboxes of Inspect's samples: what its tools do with them."""

import asyncio
import os
import pathlib
import pwd
import subprocess
import sys
import time

import pytest
from inspect_ai.util import OutputLimitExceededError, SandboxUnavailableError, SandboxUserUnsupportedError
from inspect_ai.util._sandbox import self_check
from inspect_ai.util._sandbox.limits import override_sandbox_output_limit
from inspect_support import in_sample, sample

from sandbox_sdk import SandboxError
from sandbox_sdk.adapters.inspect_ai import SandboxConfig, SandboxOptions, SandboxSdkEnvironment

USER_CHECKS = {"test_exec_as_user", "test_exec_as_nonexistent_user"}


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
        # It ends only because the event loop goes on.
        line = "until [ -e go ]; do sleep 0.01; done"
        command = asyncio.create_task(environment.exec(["sh", "-c", line], timeout=60))
        for _ in range(10):
            await asyncio.sleep(0.01)
        assert not command.done()
        await environment.write_file("go", "")
        assert (await command).success

    in_sample(work)


def test_it_needs_asyncio():
    with pytest.raises(RuntimeError, match="needs asyncio"):
        SandboxSdkEnvironment.task_init("task", None).send(None)
