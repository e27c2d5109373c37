"""What a task of Harbor asks for: resources, networks, and what sandboxes have not."""

import asyncio

import pytest
from harbor.environments.factory import EnvironmentFactory
from harbor.models.trial.config import EnvironmentConfig as TrialEnvironmentConfig
from harbor.models.trial.config import ResourceMode
from harbor_support import IMPORT_PATH, NO_NETWORK, PUBLIC, allow_list, record_creation, run
from support import greeter

from sandbox_sdk import AsyncClient
from sandbox_sdk.adapters.harbor import SandboxEnvironment
from sandbox_sdk.adapters.harbor.places import Places

pytestmark = pytest.mark.usefixtures("harbor_home")


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
def test_what_sandboxes_do_not_have_is_refused_before_the_start(new_environment, keywords, message):
    with pytest.raises((ValueError, RuntimeError), match=message):
        new_environment(**keywords)


def test_unknown_options_and_builds_are_refused(new_environment):
    with pytest.raises(ValueError, match="Unknown option 'imgae'"):
        EnvironmentFactory.validate_options(TrialEnvironmentConfig(import_path=IMPORT_PATH, kwargs={"imgae": "x"}))
    EnvironmentFactory.run_preflight(None, IMPORT_PATH, {"backend": "local", "detached": True})
    with pytest.raises(ValueError, match="--force-build"):
        asyncio.run(new_environment().start(force_build=True))
    with pytest.raises(RuntimeError, match="start"):
        asyncio.run(new_environment().exec("true"))


def test_the_network_policy_of_each_phase_is_kept(new_environment):
    async def work(env):
        # Only loopback has a route.
        assert (await env.exec("cat /proc/net/route | wc -l")).stdout.strip() == "1"

        async def reach() -> str:
            fetch = f"curl -sS -m 10 http://127.0.0.1:{port}/"
            return (await env.exec(fetch, env={"NO_PROXY": "", "no_proxy": ""})).stdout

        assert "greetings" not in await reach()
        await env.set_network_policy(allow_list("a.example", "*.b.example", "192.0.2.0/24", "2001:db8::1"))
        assert await reach() == "greetings"
        assert "192.0.2.0/24" in env._running().egress_rules()
        await env.set_network_policy(NO_NETWORK)
        assert "greetings" not in await reach()

    with greeter() as port:
        policies = [allow_list("a.example", "*.b.example", "192.0.2.0/24", "2001:db8::1")]
        rules = [f"127.0.0.1:{port}"]
        run(new_environment(network_policy=NO_NETWORK, phase_network_policies=policies, egress_allow=rules), work)


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
def test_policies_are_egress_rules(new_environment, backend, policies, expected):
    task = {} if backend == "local" else {"docker_image": "a"}
    env = new_environment(task=task, backend=backend, network_policy=policies[0], phase_network_policies=policies[1:])
    asked = record_creation(env, backend, "auto", None, None, None)
    assert {name: value for name, value in asked.items() if name.startswith("egress")} == expected


def test_settings_do_not_give_a_network_to_a_task_without_one(new_environment, monkeypatch):
    monkeypatch.setenv("SANDBOX_EGRESS", "open")
    with pytest.raises(RuntimeError, match=r"SANDBOX_EGRESS gives sandbox .* a network"):
        asyncio.run(new_environment(network_policy=NO_NETWORK).start(force_build=False))


# -- sandboxes, and what becomes of them


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
def test_a_pod_has_the_image_and_the_resources_of_the_task(new_environment, keywords, expected):
    task = {"docker_image": "python:3.12", "cpus": 0.5, "memory_mb": 512, "storage_mb": 1024}
    env = new_environment(task=task, backend="k8s", namespace="trials", **keywords)
    asked = record_creation(env, "k8s", "auto", "trials", None, None)
    expected = {"image": "python:3.12"} | expected
    assert {name: asked[name] for name in expected} == expected
    assert asked["annotations"]["harbor.sandbox-sdk/session"] == "task__abc__env"


def test_a_start_that_fails_or_is_cancelled_leaves_nothing(new_environment, monkeypatch):
    async def fail(self):
        raise KeyError("upload")

    with monkeypatch.context() as patch:
        patch.setattr(SandboxEnvironment, "_upload_environment", fail)
        with pytest.raises(KeyError):
            asyncio.run(new_environment().start(force_build=False))

    async def main():
        for delay in (0, 0.01, 0.03, 0.06):
            env = new_environment()
            starting = asyncio.create_task(env.start(force_build=False))
            await asyncio.sleep(delay)
            starting.cancel()
            try:
                await starting
            except asyncio.CancelledError:
                continue
            await env.stop(delete=True)

    asyncio.run(main())


def test_a_user_without_rights_is_named(new_environment, monkeypatch):
    # As a Pod of an ordinary user has it, in which nothing is moved.
    monkeypatch.setattr(Places, "text", lambda self, text: text)
    with pytest.raises(RuntimeError, match=r"user sandbox of sandbox .* cannot create .*/logs.*; a task needs root"):
        asyncio.run(new_environment().start(force_build=False))


def test_a_sandbox_is_kept_if_it_is_detached(new_environment, caplog):
    async def main():
        env = new_environment(detached=True)
        await env.start(force_build=False)
        kept = env._running().id
        await env.stop(delete=False)
        async with AsyncClient() as client:
            assert (await client.info(kept)).annotations["harbor.sandbox-sdk/task"] == "task"
            await client.delete(kept)
        env = new_environment()
        await env.start(force_build=False)
        lost = env._running().id
        await env.stop(delete=False)
        assert "ends soon after this program" in caplog.text
        async with AsyncClient() as client:
            await client.delete(lost)
        await env.stop(delete=True)

    asyncio.run(main())
