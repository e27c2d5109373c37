"""The adapter for Harbor, against the real package: what environments do."""

import asyncio

import pytest
from harbor.environments.ssh import SSHAccessError
from harbor.models.task.config import HealthcheckConfig
from harbor_support import run
from support import fetch, wait_until_gone

from sandbox_sdk import AsyncClient, SandboxError
from sandbox_sdk.adapters.harbor import SandboxEnvironment
from sandbox_sdk.adapters.harbor.output import Text
from sandbox_sdk.adapters.harbor.places import Places

# -- commands


def test_commands(new_environment):
    async def work(env):
        done = await env.exec(
            "pwd; echo $A-$B-$HARBOR_ROOT; printf '\\377'; echo err >&2; exit 3", env={"B": "/logs/b"}
        )
        root = env._places.root
        assert done.stdout == f"{root}/app\nfrom task-{root}/logs/b-{root}\n\N{REPLACEMENT CHARACTER}"
        assert (done.stderr, done.return_code) == ("err\n", 3)
        assert (await env.exec("kill -KILL $$")).return_code == 128 + 9
        # Agents rely on bash.
        assert (await env.exec("set -o pipefail; false | true; [[ $? = 1 ]]")).return_code == 0
        with env.scoped_exec_env({"B": "scoped"}):
            assert (await env.exec("echo $B")).stdout == "scoped\n"
        assert (await env.exec("pwd", cwd="/tmp")).stdout == "/tmp\n"
        assert (
            await env.exec("echo x >/logs/agent/x; cat '/logs/agent/x'; ls $HARBOR_ROOT/logs/agent")
        ).stdout == "x\nx\n"

    run(new_environment(task={"workdir": "/app", "env": {"A": "from task"}}), work)


def test_a_timeout_kills_and_keeps_what_was_written(new_environment):
    async def work(env):
        done = await env.exec("echo early; echo $$ >pid; exec sleep 60", timeout_sec=1)
        assert (done.stdout, done.return_code) == ("early\n", 124)
        assert done.stderr == "\n[sandbox: the command was killed after 1 s]"
        assert (await env.exec(wait_until_gone("$(cat pid)"))).return_code == 0

    run(new_environment(), work)


def test_a_cancelled_command_is_killed(new_environment):
    async def work(env):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(env.exec("echo $$ >pid; trap '' HUP; sleep 60"), 1)
        assert (await env.exec(wait_until_gone("$(cat pid)"))).return_code == 0

    run(new_environment(), work)


def test_output_is_passed_on_while_the_command_runs(new_environment):
    pieces = []

    async def work(env):
        async def callback(text, stream):
            pieces.append((text, stream))
            # Only that lets the command go on.
            await env._running().write_text("go", "")

        line = "echo one; printf '\\303'; until [ -e go ]; do sleep 0.01; done; printf '\\251'; echo err >&2"
        with env.scoped_output_callback(callback):
            done = await env.exec(line, timeout_sec=60)
        assert done.stdout == "one\né"

    run(new_environment(), work)
    assert "".join(text for text, stream in pieces if stream == "stdout") == "one\né"
    assert [text for text, stream in pieces if stream == "stderr"] == ["err\n"]
    assert pieces[0] == ("one\n", "stdout")


def test_output_beyond_the_limit_is_said_to_be_missing():
    async def main():
        text = Text("stdout", limit=10)
        for piece in (b"0123", b"4567", b"89", b"abcdef" * 10, b"", b"end"):
            await text.push(piece, None)
        assert await text.finish(None) == "01234\n[sandbox: 63 bytes of stdout are left out]\nefend"
        short = Text("stderr", limit=10)
        await short.push(b"0123456789", None)
        assert await short.finish(None) == "0123456789"

    asyncio.run(main())


def test_a_user_is_refused_unless_it_is_that_of_the_sandbox(new_environment):
    async def work(env):
        own = (await env.exec("id -un")).stdout.strip()
        for user in (own, "root", 0, None):
            assert (await env.exec("echo ok", user=user)).stdout == "ok\n"
        for user, message in (("nobody", "running commands as"), (54321, "no user")):
            with pytest.raises(SandboxError, match=message):
                await env.exec("true", user=user)
            with env.with_default_user(user), pytest.raises(SandboxError, match=message):
                await env.exec("true")

    run(new_environment(), work)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat /logs/agent/x >/tests/y", "cat R/logs/agent/x >R/tests/y"),
        ("'/logs' \"/app\" A=/logs:/app", "'R/logs' \"R/app\" A=R/logs:R/app"),
        ("/data/logs /logs.old /logs-2 /logsx ../logs ./app", "/data/logs /logs.old /logs-2 /logsx ../logs ./app"),
        ("$X/logs ${X}/logs ~/app $(pwd)/app", "$X/logs ${X}/logs ~/app $(pwd)/app"),
        ("/tmp/logs /etc/app /usr/app", "/tmp/logs /etc/app /usr/app"),
        ("/work/x;/logs", "R/work/x;R/logs"),
    ],
)
def test_fixed_paths_are_moved(text, expected):
    places = Places("R", ["/work/deep", "/tmp/x", "relative", "/"])
    assert places.text(text) == expected
    assert places.path("/logs/a") == "R/logs/a"
    assert places.path("/tmp/a") == "/tmp/a"
    assert places.path("a/logs") == "a/logs"


# -- files


def test_files(new_environment, tmp_path, caplog):
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (source / "run.sh").chmod(0o755)
    (source / "sub" / "binary").write_bytes(b"\x00\xff")

    async def work(env):
        await env.upload_file(source / "run.sh", "/solution/deep/run.sh")
        assert (await env.exec("/solution/deep/run.sh")).stdout == "ran\n"
        await env.exec("echo kept >/tests/kept; echo old >/tests/run.sh")
        await env.upload_dir(source, "/tests")
        assert (await env.exec("/tests/run.sh; cat /tests/kept")).stdout == "ran\nkept\n"

        await env.exec("cd /logs/agent; echo log >log; ln -s /etc/passwd out; mkfifo fifo; mkdir d; echo x >d/x")
        await env.download_dir("/logs/agent", tmp_path / "down")
        names = {path.relative_to(tmp_path / "down").as_posix() for path in (tmp_path / "down").rglob("*")}
        assert names == {"log", "d", "d/x"}
        assert "'out' of /logs/agent was not copied" in caplog.text and "'fifo'" in caplog.text
        await env.download_file("/tests/sub/binary", tmp_path / "a" / "b" / "binary")
        assert (tmp_path / "a" / "b" / "binary").read_bytes() == b"\x00\xff"
        with pytest.raises(FileNotFoundError):
            await env.download_file("/tests/missing", tmp_path / "missing")
        with pytest.raises(SandboxError):
            await env.download_dir("/logs/missing", tmp_path / "missing")

        # What the base class builds on these.
        assert await env.is_dir("/tests/sub") and await env.is_file("/tests/run.sh")
        assert not await env.is_dir("/tests/run.sh")
        await env.download_dir_filtered(source_dir="/tests", target_dir=tmp_path / "some", include=["*.sh"])
        assert [path.name for path in (tmp_path / "some").iterdir()] == ["run.sh"]
        await env.download_dir_with_exclusions(source_dir="/tests", target_dir=tmp_path / "less", exclude=["sub"])
        assert {path.name for path in (tmp_path / "less").iterdir()} == {"run.sh", "kept"}
        await env.empty_dirs(["/tests"])
        assert (await env.exec("ls /tests")).stdout == ""
        await env.run_healthcheck(HealthcheckConfig(command="test -d /logs/agent", retries=1))

    run(new_environment(), work)


def test_what_is_beside_the_definition_is_uploaded(new_environment):
    env = new_environment(task={"workdir": "/app"})
    (env.environment_dir / "data.txt").write_text("data")

    async def work(env):
        assert (await env.exec("cat data.txt")).stdout == "data"

    run(env, work)


def test_a_sandbox_that_has_ended(new_environment):
    async def work(env):
        async with AsyncClient() as client:
            await client.delete(env._running().id)
        with pytest.raises(SandboxError):
            await env.exec("true")

    run(new_environment(), work)


# -- SSH


def test_other_programs_reach_a_sandbox_by_ssh(new_environment):
    async def work(env):
        handle = type(env.stream_handle).model_validate_json(env.stream_handle.model_dump_json())
        async with SandboxEnvironment.connect_ssh(handle) as access:
            assert (await access.run("pwd; cat", input=b"input")).decode() == f"{env._workdir}\ninput"
            with pytest.raises(SSHAccessError):
                await access.run("exit 3")
            command = "echo served >page; exec python3 -m http.server 8451 --bind 127.0.0.1"
            async with access.process(command, forward=(18451, 8451)):
                assert await asyncio.to_thread(fetch, "http://127.0.0.1:18451/page") == b"served\n"
        other = handle.model_copy(update={"reference": handle.reference | {"uid": "other"}})
        with pytest.raises(SSHAccessError, match="another one of its name"):
            async with SandboxEnvironment.connect_ssh(other):
                pass
        with pytest.raises(ValueError):
            async with SandboxEnvironment.connect_ssh(
                handle.model_copy(update={"reference": handle.reference | {"id": "--help"}})
            ):
                pass
        await env._running().delete()
        with pytest.raises(SSHAccessError, match="cannot be reached"):
            async with SandboxEnvironment.connect_ssh(handle):
                pass

    run(new_environment(task={"workdir": "/app"}, stream=True), work)
