"""The adapter for Harbor, against the real package: environments, and whole trials with the oracle."""

import asyncio
import http.server
import logging
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from harbor.environments.factory import EnvironmentFactory
from harbor.environments.ssh import SSHAccessError
from harbor.models.task.config import EnvironmentConfig, HealthcheckConfig, NetworkMode, NetworkPolicy
from harbor.models.trial.config import AgentConfig, ResourceMode, TaskConfig, TrialConfig
from harbor.models.trial.config import EnvironmentConfig as TrialEnvironmentConfig
from harbor.models.trial.paths import TrialPaths
from harbor.trial.trial import Trial

from sandbox_sdk import AsyncClient, Client, SandboxError
from sandbox_sdk.adapters.harbor import SandboxEnvironment
from sandbox_sdk.adapters.harbor.output import Text
from sandbox_sdk.adapters.harbor.places import Places

IMPORT_PATH = "sandbox_sdk.adapters.harbor:SandboxEnvironment"


def allow_list(*hosts: str) -> NetworkPolicy:
    return NetworkPolicy(network_mode=NetworkMode.ALLOWLIST, allowed_hosts=list(hosts))


NO_NETWORK = NetworkPolicy(network_mode=NetworkMode.NO_NETWORK)
PUBLIC = NetworkPolicy()


def running() -> list[str]:
    with Client() as client:
        return [info.id for info in client.list() if info.state != "ended"]


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    before = set(running())
    yield
    SandboxEnvironment._clients.clear()
    # The end of a creation that was cancelled is not waited for.
    deadline = time.monotonic() + 20
    while left := set(running()) - before:
        assert time.monotonic() < deadline, f"sandboxes are left: {left}"
        time.sleep(0.05)


@pytest.fixture
def new(tmp_path):
    """Makes an environment of a task; keywords of the task's `[environment]` are in `task`."""
    directory = tmp_path / "task" / "environment"
    directory.mkdir(parents=True)

    def make(task=None, files=(), **keywords) -> SandboxEnvironment:
        for name in files:
            (directory / name).write_text("FROM scratch\nWORKDIR /work\n")
        return SandboxEnvironment(
            environment_dir=directory,
            environment_name="task",
            session_id="task__abc__env",
            trial_paths=TrialPaths(tmp_path / "trial"),
            task_env_config=EnvironmentConfig(**(task or {})),
            logger=logging.getLogger("harbor-test"),
            **keywords,
        )

    return make


def run(environment, work):
    """Runs a coroutine function with a started environment."""

    async def main():
        await environment.start(force_build=False)
        try:
            return await work(environment)
        finally:
            await environment.stop(delete=True)

    return asyncio.run(main())


# -- commands


def test_commands(new):
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

    run(new(task={"workdir": "/app", "env": {"A": "from task"}}), work)


def test_a_timeout_kills_and_keeps_what_was_written(new):
    async def work(env):
        done = await env.exec("echo early; echo $$ >pid; exec sleep 60", timeout_sec=1)
        assert (done.stdout, done.return_code) == ("early\n", 124)
        assert done.stderr == "\n[sandbox: the command was killed after 1 s]"
        gone = "for i in $(seq 50); do kill -0 $(cat pid) 2>/dev/null || exit 0; sleep 0.1; done; exit 1"
        assert (await env.exec(gone)).return_code == 0

    run(new(), work)


def test_a_cancelled_command_is_killed(new):
    async def work(env):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(env.exec("echo $$ >pid; trap '' HUP; sleep 60"), 1)
        gone = "for i in $(seq 50); do kill -0 $(cat pid) 2>/dev/null || exit 0; sleep 0.1; done; exit 1"
        assert (await env.exec(gone)).return_code == 0

    run(new(), work)


def test_output_is_passed_on_while_the_command_runs(new):
    pieces = []

    async def work(env):
        async def callback(text, stream):
            pieces.append((text, stream))

        with env.scoped_output_callback(callback):
            done = await env.exec("echo one; printf '\\303'; sleep 0.3; printf '\\251'; echo err >&2")
        assert done.stdout == "one\né"

    run(new(), work)
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


def test_a_user_is_refused_unless_it_is_that_of_the_sandbox(new):
    async def work(env):
        own = (await env.exec("id -un")).stdout.strip()
        for user in (own, "root", 0, None):
            assert (await env.exec("echo ok", user=user)).stdout == "ok\n"
        for user, message in (("nobody", "running commands as"), (54321, "no user")):
            with pytest.raises(SandboxError, match=message):
                await env.exec("true", user=user)
            with env.with_default_user(user), pytest.raises(SandboxError, match=message):
                await env.exec("true")

    run(new(), work)


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


def test_files(new, tmp_path, caplog):
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

    run(new(), work)


def test_what_is_beside_the_definition_is_uploaded(new):
    env = new(task={"workdir": "/app"})
    (env.environment_dir / "data.txt").write_text("data")

    async def work(env):
        assert (await env.exec("cat data.txt")).stdout == "data"

    run(env, work)


# -- what is refused


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"files": ["docker-compose.yaml"]}, "docker-compose.yaml"),
        ({"files": ["docker-compose.yaml"], "backend": "k8s", "image": "a"}, "docker-compose.yaml"),
        ({"files": ["Dockerfile"]}, "local sandboxes have none"),
        ({"task": {"docker_image": "python:3.12"}}, "host_programs=true"),
        ({"image": "python:3.12"}, "local sandboxes have no image"),
        ({"files": ["Dockerfile"], "backend": "k8s"}, "images are not built"),
        ({"backend": "k8s"}, "names no image"),
        ({"task": {"gpus": 1}}, "GPU"),
        ({"task": {"os": "windows"}}, "Windows"),
        ({"cpu_enforcement_policy": ResourceMode.GUARANTEE, "task": {"cpus": 1}}, "nothing can be reserved"),
        ({"backend": "elsewhere"}, "backend"),
        ({"stream": True, "backend": "k8s", "image": "a"}, "stream"),
        ({"network_policy": allow_list("a.example"), "isolation": "landlock"}, "allowlist"),
        ({"network_policy": NO_NETWORK, "isolation": "none"}, "no-network"),
        ({"network_policy": NO_NETWORK, "phase_network_policies": [allow_list("127.0.0.1")]}, "this machine"),
        ({"network_policy": allow_list("169.254.169.254"), "backend": "k8s", "image": "a"}, "this machine"),
        ({"auto_mounting": True}, "mounts"),
    ],
)
def test_what_sandboxes_do_not_have_is_refused_before_the_start(new, keywords, message):
    with pytest.raises((ValueError, RuntimeError), match=message):
        new(**keywords)


def test_unknown_options_and_builds_are_refused(new):
    with pytest.raises(ValueError, match="Unknown option 'imgae'"):
        EnvironmentFactory.validate_options(TrialEnvironmentConfig(import_path=IMPORT_PATH, kwargs={"imgae": "x"}))
    EnvironmentFactory.run_preflight(None, IMPORT_PATH, {"backend": "local", "detached": True})
    with pytest.raises(ValueError, match="--force-build"):
        asyncio.run(new().start(force_build=True))
    with pytest.raises(RuntimeError, match="start"):
        asyncio.run(new().exec("true"))


class Greeter(http.server.BaseHTTPRequestHandler):
    """A server on this machine that a sandbox may reach, or not."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"greetings")

    def log_message(self, *_):
        pass


def test_the_network_policy_of_each_phase_is_kept(new):
    async def work(env):
        # Only loopback has a route.
        assert (await env.exec("cat /proc/net/route | wc -l")).stdout.strip() == "1"

        async def reach() -> str:
            fetch = f"curl -sS -m 10 http://127.0.0.1:{server.server_port}/"
            return (await env.exec(fetch, env={"NO_PROXY": "", "no_proxy": ""})).stdout

        assert "greetings" not in await reach()
        await env.set_network_policy(allow_list("a.example", "*.b.example", "192.0.2.0/24", "2001:db8::1"))
        assert await reach() == "greetings"
        assert "192.0.2.0/24" in env._running().egress_rules()
        await env.set_network_policy(NO_NETWORK)
        assert "greetings" not in await reach()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Greeter) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        rules = [f"127.0.0.1:{server.server_port}"]
        policies = [allow_list("a.example", "*.b.example", "192.0.2.0/24", "2001:db8::1")]
        try:
            run(new(network_policy=NO_NETWORK, phase_network_policies=policies, egress_allow=rules), work)
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    ("backend", "policies", "expected"),
    [
        ("local", [NO_NETWORK], {}),
        ("local", [PUBLIC], {"egress": "internet"}),
        ("k8s", [PUBLIC], {}),
        ("k8s", [NO_NETWORK], {"egress": "none"}),
        ("k8s", [PUBLIC, NO_NETWORK], {"egress": "internet"}),
        (
            "k8s",
            [allow_list("a.example", "*.b.example", "192.0.2.7", "2001:db8::/32"), PUBLIC],
            {"egress": "none", "egress_allow": ["a.example:*", "*.b.example:*", "192.0.2.7:*", "[2001:db8::/32]:*"]},
        ),
    ],
)
def test_policies_are_egress_rules(new, backend, policies, expected):
    task = {} if backend == "local" else {"docker_image": "a"}
    env = new(task=task, backend=backend, network_policy=policies[0], phase_network_policies=policies[1:])
    recorder = SandboxEnvironment._clients[backend, "auto", None, None, None] = Recorder()
    with pytest.raises(SandboxError, match="enough"):
        asyncio.run(env.start(force_build=False))
    assert {name: value for name, value in recorder.asked.items() if name.startswith("egress")} == expected


def test_settings_do_not_give_a_network_to_a_task_without_one(new, monkeypatch):
    monkeypatch.setenv("SANDBOX_EGRESS", "open")
    with pytest.raises(RuntimeError, match=r"SANDBOX_EGRESS gives sandbox .* a network"):
        asyncio.run(new(network_policy=NO_NETWORK).start(force_build=False))


# -- sandboxes, and what becomes of them


class Recorder:
    """A client that keeps what it was asked to create."""

    def __init__(self):
        self.asked = {}

    async def create(self, **options):
        self.asked = options
        raise SandboxError("enough")


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ({}, {"cpu": "0.5", "memory": "512Mi", "disk": "1024Mi", "backend_options": None}),
        ({"override_cpus": 2, "override_memory_mb": 1024}, {"cpu": "2", "memory": "1024Mi"}),
        ({"cpu_enforcement_policy": ResourceMode.IGNORE}, {"cpu": None, "memory": "512Mi"}),
        (
            {
                "cpu_enforcement_policy": ResourceMode.REQUEST,
                "backend_options": {"k8s": {"securityProfile": "baseline", "requests": {"a": "1"}}},
            },
            {
                "cpu": None,
                "backend_options": {"k8s": {"securityProfile": "baseline", "requests": {"cpu": "0.5", "a": "1"}}},
            },
        ),
        ({"image": "other:1", "ttl": 60, "detached": True}, {"image": "other:1", "ttl": 60, "detached": True}),
    ],
)
def test_a_pod_has_the_image_and_the_resources_of_the_task(new, keywords, expected):
    task = {"docker_image": "python:3.12", "cpus": 0.5, "memory_mb": 512, "storage_mb": 1024}
    env = new(task=task, backend="k8s", namespace="trials", **keywords)
    recorder = SandboxEnvironment._clients["k8s", "auto", "trials", None, None] = Recorder()
    with pytest.raises(SandboxError, match="enough"):
        asyncio.run(env.start(force_build=False))
    expected = {"image": "python:3.12"} | expected
    assert {name: recorder.asked[name] for name in expected} == expected
    assert recorder.asked["annotations"]["harbor.sandbox-sdk/session"] == "task__abc__env"


def test_a_start_that_fails_or_is_cancelled_leaves_nothing(new, monkeypatch):
    async def fail(self):
        raise KeyError("upload")

    with monkeypatch.context() as patch:
        patch.setattr(SandboxEnvironment, "_upload_environment", fail)
        with pytest.raises(KeyError):
            asyncio.run(new().start(force_build=False))

    async def main():
        for delay in (0, 0.01, 0.03, 0.06):
            env = new()
            starting = asyncio.create_task(env.start(force_build=False))
            await asyncio.sleep(delay)
            starting.cancel()
            try:
                await starting
            except asyncio.CancelledError:
                continue
            await env.stop(delete=True)

    asyncio.run(main())


def test_a_user_without_rights_is_named(new, monkeypatch):
    # As a Pod of an ordinary user has it, in which nothing is moved.
    monkeypatch.setattr(Places, "text", lambda self, text: text)
    with pytest.raises(RuntimeError, match=r"user sandbox of sandbox .* cannot create .*/logs.*; a task needs root"):
        asyncio.run(new().start(force_build=False))


def test_a_sandbox_is_kept_if_it_is_detached(new, caplog):
    async def main():
        env = new(detached=True)
        await env.start(force_build=False)
        kept = env._running().id
        await env.stop(delete=False)
        async with AsyncClient() as client:
            assert (await client.info(kept)).annotations["harbor.sandbox-sdk/task"] == "task"
            await client.delete(kept)
        env = new()
        await env.start(force_build=False)
        lost = env._running().id
        await env.stop(delete=False)
        assert "ends soon after this program" in caplog.text
        async with AsyncClient() as client:
            await client.delete(lost)
        await env.stop(delete=True)

    asyncio.run(main())


def test_a_sandbox_that_has_ended(new):
    async def work(env):
        async with AsyncClient() as client:
            await client.delete(env._running().id)
        with pytest.raises(SandboxError):
            await env.exec("true")

    run(new(), work)


# -- SSH


def test_other_programs_reach_a_sandbox_by_ssh(new):
    async def work(env):
        handle = type(env.stream_handle).model_validate_json(env.stream_handle.model_dump_json())
        async with SandboxEnvironment.connect_ssh(handle) as access:
            assert (await access.run("pwd; cat", input=b"input")).decode() == f"{env._workdir}\ninput"
            with pytest.raises(SSHAccessError):
                await access.run("exit 3")
            command = "echo served >page; exec python3 -m http.server 8451 --bind 127.0.0.1"
            async with access.process(command, forward=(18451, 8451)):

                def fetch() -> bytes:
                    deadline = time.monotonic() + 20
                    while True:
                        try:
                            with urllib.request.urlopen("http://127.0.0.1:18451/page", timeout=5) as answer:
                                return answer.read()
                        except OSError:
                            assert time.monotonic() < deadline
                            time.sleep(0.1)

                assert await asyncio.to_thread(fetch) == b"served\n"
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

    run(new(task={"workdir": "/app"}, stream=True), work)


# -- trials


def write_task(directory: Path, solution: str, test: str, config: str = "") -> Path:
    files = {
        "task.toml": f'[environment]\nworkdir = "/app"\nnetwork_mode = "no-network"\n{config}',
        "instruction.md": "Write 42 into answer.txt.\n",
        "environment/start.txt": "start\n",
        "solution/solve.sh": f"#!/bin/sh\n{solution}\n",
        "tests/test.sh": f"#!/bin/sh\n{test}\n",
    }
    for name, content in files.items():
        path = directory / "answer" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return directory / "answer"


def trial(task: Path, tmp_path: Path) -> TrialConfig:
    return TrialConfig(
        task=TaskConfig(path=task),
        trials_dir=tmp_path / "trials",
        agent=AgentConfig(name="oracle"),
        environment=TrialEnvironmentConfig(import_path=IMPORT_PATH, kwargs={"backend": "local"}),
    )


TEST = 'grep -qx 42 answer.txt; echo $((1 - $?)) >"${HARBOR_ROOT:-}/logs/verifier/reward.txt"; echo tested'


@pytest.mark.parametrize(
    ("solution", "reward"), [("cat start.txt && echo 42 >answer.txt", 1), ("echo 41 >answer.txt", 0)]
)
def test_a_trial(tmp_path, solution, reward):
    async def main():
        config = trial(write_task(tmp_path, solution, TEST), tmp_path)
        return await (await Trial.create(config)).run()

    result = asyncio.run(main())
    assert result.exception_info is None
    assert result.verifier_result.rewards == {"reward": reward}
    written = next((tmp_path / "trials").rglob("test-stdout.txt"))
    assert written.read_text() == "tested\n"


def test_a_trial_that_is_cancelled_or_fails_leaves_no_sandbox(tmp_path):
    async def main():
        before = await asyncio.to_thread(running)
        going = asyncio.create_task((await Trial.create(trial(write_task(tmp_path, "sleep 60", TEST), tmp_path))).run())
        deadline = time.monotonic() + 20
        while await asyncio.to_thread(running) == before:
            assert time.monotonic() < deadline
        await asyncio.sleep(0.5)
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going
        task = write_task(tmp_path, "sleep 60", TEST, "[agent]\ntimeout_sec = 1.0\n")
        result = await (await Trial.create(trial(task, tmp_path))).run()
        assert result.exception_info.exception_type == "AgentTimeoutError"

    asyncio.run(main())


def test_the_extra_is_named_if_it_is_missing():
    program = "import sys; sys.modules['harbor'] = None; import sandbox_sdk.adapters.harbor"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "pip install 'sandbox-sdk[harbor]'" in done.stderr.splitlines()[-1]
