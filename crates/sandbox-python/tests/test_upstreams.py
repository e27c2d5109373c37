"""Secrets that a sandbox uses and never has. The origin is a server of this machine, over HTTPS."""

import asyncio
import copy
import os
import pathlib

import pytest

import sandbox_sdk
from sandbox_sdk import AsyncClient, Client, InvalidArgumentError, Upstream

SECRET = "sk-live-0123456789-of-the-test"

# What an SDK does, with nothing but what Python has.
ASK = """
import os, sys, urllib.request
headers = {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}
request = urllib.request.Request(os.environ["OPENAI_BASE_URL"] + "/chat", data=b"{}", headers=headers)
with urllib.request.urlopen(request, timeout=20) as response:
    print(response.status, response.read().decode(), response.headers["X-Echo"])
"""
# All that a program inside can read of the programs there, and of its own files.
SEARCH = "env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null; cat .sandbox/* 2>/dev/null; true"


@pytest.fixture(scope="module", autouse=True)
def needs_namespaces(shared):
    if "namespaces" not in shared.initial_info.isolation:
        pytest.skip("upstreams need a network namespace")


def place(origin) -> dict:
    """The options of a sandbox that may reach the origin. Its address is not public, so a rule names its network."""
    port = origin.server_address[1]
    upstream = Upstream("openai", f"https://127.0.0.1:{port}/v1", secret=SECRET, ca=origin.certificate)
    return {"egress_allow": [f"127.0.0.0/8:{port}"], "egress_upstreams": [upstream]}


def check(origin, said: str, visible: str) -> None:
    assert said == "200 hello Bearer [redacted]\n"
    [(path, headers)] = origin.seen
    assert path == "/v1/chat" and headers["authorization"] == f"Bearer {SECRET}"
    # The search finds what is there.
    assert "OPENAI_API_KEY=held-by-the-client-of-the-sandbox" in visible
    assert SECRET not in visible


def test_a_request_has_the_secret_and_the_sandbox_has_not(client: Client, origin, state_dir):
    with client.create(**place(origin)) as sandbox:
        events = sandbox.egress_events()
        said = sandbox.run(["python3", "-c", ASK], text=True, check=True).stdout
        check(origin, said, sandbox.shell(SEARCH, text=True).stdout)
        assert next(events).rule == "upstream openai"
        # Nor is it in a file of the sandbox, as seen from here.
        for directory, _, files in os.walk(state_dir):
            for name in files:
                file = pathlib.Path(directory, name)
                if file.is_file():
                    assert SECRET.encode() not in file.read_bytes(), file
        # Rules are replaced without it, and can deny it.
        sandbox.update_egress("none", egress_deny=["127.0.0.1"])
        assert "403" in sandbox.run(["python3", "-c", ASK], text=True).stderr


def test_upstreams_alone_have_decisions(client: Client):
    with client.create(egress_upstreams=[Upstream("models", "https://192.0.2.1", variable="M")]) as sandbox:
        events = sandbox.egress_events()
        assert sandbox.shell("python3 -c 'import os, urllib.request as u; u.urlopen(os.environ[\"M\"])'").returncode
        assert next(events).outcome == "refused"


def test_they_are_those_of_whoever_serves_the_egress(client: Client, origin):
    with client.create() as sandbox, client.get(sandbox.id) as other:
        other.serve_egress(**place(origin))
        said = sandbox.run(["python3", "-c", ASK], text=True, check=True).stdout
        check(origin, said, sandbox.shell(SEARCH, text=True).stdout)
        other.serve_egress("none")
        assert sandbox.run(["python3", "-c", ASK]).returncode != 0


def test_for_asyncio(origin):
    async def main():
        async with AsyncClient() as client:
            async with await client.create(**place(origin)) as sandbox:
                said = (await sandbox.run(["python3", "-c", ASK], text=True)).stdout
                check(origin, said, (await sandbox.shell(SEARCH, text=True)).stdout)
            origin.seen.clear()
            async with await client.create() as sandbox:
                await sandbox.serve_egress(**place(origin))
                said = (await sandbox.run(["python3", "-c", ASK], text=True)).stdout
                check(origin, said, (await sandbox.shell(SEARCH, text=True)).stdout)

    asyncio.run(main())


def test_pools_have_them(client: Client, origin):
    with client.pool(size=1, **place(origin)) as pool, pool.take() as sandbox:
        said = sandbox.run(["python3", "-c", ASK], text=True, check=True).stdout
        check(origin, said, sandbox.shell(SEARCH, text=True).stdout)


def test_the_secret_is_in_no_text():
    upstream = Upstream(
        "a", "https://a.example", secret=SECRET, header="x-key", variable="A_URL", key_variable=["B", "C"]
    )
    assert upstream.variable == ("A_URL",) and upstream.key_variable == ("B", "C")
    assert SECRET not in f"{upstream} {upstream!r} {[upstream]}"
    assert copy.deepcopy(upstream) == upstream and upstream.secret == SECRET
    with pytest.raises(AttributeError):
        upstream.secret = "another"
    with pytest.raises(TypeError):
        Upstream("a", "https://a.example", SECRET)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"name": "models"}, "no usual address"),
        ({"name": "A", "url": "https://a.example"}, "name of an upstream"),
        ({"name": "a", "url": "http://a.example"}, "not https"),
        ({"name": "a", "url": "https://a.example/?q"}, "query"),
        ({"name": "a", "url": "https://a.example", "kind": "red"}, "there are openai"),
        ({"name": "a", "url": "https://a.example", "secret": f"{SECRET}\n"}, "visible ASCII"),
        ({"name": "a", "url": "https://a.example", "secret": ""}, "empty"),
        ({"name": "a", "url": "https://a.example", "secret": SECRET, "header": "Host"}, "header"),
        ({"name": "a", "url": "https://a.example", "secret": SECRET, "user": "a:b"}, "colon"),
        ({"name": "a", "url": "https://a.example", "variable": "A-B"}, "variable"),
        ({"name": "a", "url": "https://a.example", "ca": "/no/such/file"}, "cannot be read"),
        ({"name": "a", "url": "https://a.example", "ca": __file__}, "PEM"),
    ],
)
def test_what_is_no_upstream_is_a_value_error_without_the_secret(client: Client, sbx, options, why):
    upstream = Upstream(**options)
    for call in (client.create, client.preflight, sbx.serve_egress):
        with pytest.raises(InvalidArgumentError, match=why) as caught:
            call(egress_upstreams=[upstream])
        assert SECRET not in f"{caught.value} {caught.value!r} {caught.value.value}"


def test_two_that_exclude_each_other_are_refused(client: Client):
    upstreams = [Upstream("pypi"), Upstream("other", "https://a.example", kind="pypi")]
    for wrong in (upstreams, [Upstream("npm"), Upstream("npm")]):
        with pytest.raises(InvalidArgumentError):
            client.create(egress_upstreams=wrong)


def test_what_says_nothing_or_two_things_about_the_secret_is_refused_at_once():
    for options in ({"header": "x"}, {"user": "x"}, {"secret": SECRET, "header": "x", "user": "y"}):
        with pytest.raises(InvalidArgumentError) as caught:
            Upstream("a", "https://a.example", **options)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("options", [{"secret": 7}, {"url": b"https://a.example"}, {"variable": [1]}, {"variable": 1}])
def test_options_of_a_wrong_type_are_type_errors(options):
    with pytest.raises(TypeError):
        Upstream("a", **options)


@pytest.mark.parametrize("upstreams", ["openai", Upstream("openai"), ["openai"], [{"name": "openai"}]])
def test_what_is_no_list_of_upstreams_is_a_type_error(client: Client, sbx, upstreams):
    for call in (client.create, sbx.serve_egress):
        with pytest.raises(TypeError):
            call(egress_upstreams=upstreams)


def test_it_is_exported():
    assert "Upstream" in sandbox_sdk.__all__
