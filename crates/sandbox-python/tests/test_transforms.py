"""Secrets that a sandbox uses with a host by its own name, and never has. The host is a server of this machine."""

import asyncio
import copy

import pytest

import sandbox_sdk
from sandbox_sdk import AsyncClient, Client, HostTransform, InvalidArgumentError, UnsupportedError

SECRET = "sk-live-0123456789-of-the-test"

# A program that has the address built in. What is on this machine is not asked through a proxy otherwise.
ASK = """
import os, sys, urllib.request
key = os.environ.get("API_KEY", "nothing")
request = urllib.request.Request(sys.argv[1], data=b"{}", headers={"Authorization": "Bearer " + key})
with urllib.request.urlopen(request, timeout=20) as response:
    print(response.status, response.read().decode(), response.headers["X-Echo"])
"""
DIRECT = {"NO_PROXY": "", "no_proxy": ""}
# All that a program inside can read of the programs there, and of its own files.
SEARCH = "env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null; cat .sandbox/* 2>/dev/null; true"


@pytest.fixture(scope="module", autouse=True)
def needs_namespaces(shared):
    if "namespaces" not in shared.initial_info.isolation:
        pytest.skip("transforms need a network namespace")


def place(origin, **options) -> dict:
    """The options of a sandbox that may reach the host. Its address is not public, so a rule names its network."""
    port = origin.server_address[1]
    transform = HostTransform(f"localhost:{port}", secret=SECRET, ca=origin.certificate, **options)
    return {"egress_allow": [f"127.0.0.0/8:{port}"], "egress_transforms": [transform]}


def program(origin) -> list:
    return ["python3", "-c", ASK, f"https://localhost:{origin.server_address[1]}/v1/chat"]


def ask(sandbox, origin) -> str:
    return sandbox.run(program(origin), env=DIRECT, text=True, check=True).stdout


def check(origin, said: str, visible: str) -> None:
    assert said == "200 hello Bearer [redacted]\n"
    [(path, headers)] = origin.seen
    assert path == "/v1/chat"
    assert {name.lower(): value for name, value in headers.items()}["authorization"] == f"Bearer {SECRET}"
    # The search finds what is there.
    assert "API_KEY=sbx-placeholder-" in visible
    assert SECRET not in visible


def test_a_request_has_the_secret_and_the_sandbox_has_not(client: Client, origin):
    with client.create(**place(origin, variable="API_KEY")) as sandbox:
        events = sandbox.egress_events()
        check(origin, ask(sandbox, origin), sandbox.shell(SEARCH, text=True).stdout)
        assert next(events).rule.endswith(f"allow localhost:{origin.server_address[1]} (with its transform)")
        # The host needs a rule, also among those that are replaced.
        sandbox.update_egress("none")
        assert "403" in sandbox.run(program(origin), env=DIRECT, text=True).stderr
        with pytest.raises(InvalidArgumentError, match="nearly every host"):
            sandbox.update_egress("internet")


@pytest.mark.parametrize(
    ("options", "header", "value"),
    [
        ({}, "authorization", f"Bearer {SECRET}"),
        ({"user": "ada"}, "authorization", "Basic YWRhOnNrLWxpdmUtMDEyMzQ1Njc4OS1vZi10aGUtdGVzdA=="),
        ({"header": "X-Key"}, "x-key", SECRET),
        ({"header": "X-Key", "variable": ["A", "B"]}, "x-key", SECRET),
    ],
)
def test_a_header_is_set_as_is_said(client: Client, origin, options, header, value):
    with client.create(**place(origin, **options)) as sandbox:
        assert ask(sandbox, origin).startswith("200 hello ")
        [(_, headers)] = origin.seen
        assert [found for name, found in headers.items() if name.lower() == header] == [value]
        found = sandbox.shell("env", text=True).stdout
        assert all(f"\n{name}=sbx-placeholder-" in f"\n{found}" for name in options.get("variable", []))


def test_they_are_those_of_whoever_serves_the_egress(client: Client, origin):
    with client.create() as sandbox, client.get(sandbox.id) as other:
        other.serve_egress(**place(origin, variable="API_KEY"))
        check(origin, ask(other, origin), sandbox.shell(SEARCH, text=True).stdout)
        assert next(other.egress_events()).outcome == "opened"
        other.serve_egress("none")
        assert other.run(program(origin), env=DIRECT).returncode != 0


def test_for_asyncio(origin):
    async def asked(sandbox) -> None:
        said = (await sandbox.run(program(origin), env=DIRECT, text=True)).stdout
        check(origin, said, (await sandbox.shell(SEARCH, text=True)).stdout)
        origin.seen.clear()

    async def main():
        options = place(origin, variable="API_KEY")
        async with AsyncClient() as client:
            async with await client.create(**options) as sandbox:
                await asked(sandbox)
            async with await client.create() as sandbox:
                await sandbox.serve_egress(**options)
                await asked(sandbox)
            async with await client.pool(size=1, **options) as pool, await pool.take() as sandbox:
                await asked(sandbox)

    asyncio.run(main())


def test_pools_have_them(client: Client, origin):
    with client.pool(size=1, **place(origin, variable="API_KEY")) as pool, pool.take() as sandbox:
        check(origin, ask(sandbox, origin), sandbox.shell(SEARCH, text=True).stdout)
        assert next(sandbox.egress_events()).rule.endswith("(with its transform)")


def test_the_secret_is_in_no_text():
    transform = HostTransform("a.example", secret=SECRET, header="x-key", variable=["A", "B"])
    assert transform.variable == ("A", "B")
    assert SECRET not in f"{transform} {transform!r} {[transform]}"
    assert copy.deepcopy(transform) == transform and transform.secret == SECRET
    with pytest.raises(AttributeError):
        transform.secret = "another"
    with pytest.raises(TypeError):
        HostTransform("a.example", SECRET)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"host": "10.0.0.1"}, "is an address"),
        ({"host": "*.example"}, "write HOST or HOST:PORT"),
        ({"host": "https://a.example"}, "write HOST or HOST:PORT"),
        ({"host": "a.example:80"}, "port 80"),
        ({"secret": f"{SECRET}\n"}, "visible ASCII"),
        ({"secret": f"{SECRET}\n", "variable": "KEY"}, "visible ASCII"),
        ({"secret": ""}, "empty"),
        ({"header": "Host"}, "header"),
        ({"user": "a:b"}, "colon"),
        ({"variable": "A-B"}, "variable"),
        ({"ca": "/no/such/file"}, "cannot be read"),
        ({"ca": __file__}, "PEM"),
    ],
)
def test_what_is_no_transform_is_a_value_error_without_the_secret(client: Client, sbx, options, why):
    transform = HostTransform(**{"host": "a.example", "secret": SECRET, **options})
    for call in (client.create, client.preflight, sbx.serve_egress):
        with pytest.raises(InvalidArgumentError, match=why) as caught:
            call(egress_transforms=[transform])
        assert SECRET not in f"{caught.value} {caught.value!r} {caught.value.value}"


def test_what_excludes_transforms_is_refused(client: Client):
    one = HostTransform("a.example", secret=SECRET, variable="KEY")
    for other in (one, HostTransform("b.example", secret=SECRET, variable="KEY")):
        with pytest.raises(InvalidArgumentError):
            client.create(egress_transforms=[one, other])
    for rules in ({"egress": "internet"}, {"egress": "open"}, {"egress_allow": ["*"]}):
        with pytest.raises(InvalidArgumentError, match="nearly every host"):
            client.create(egress_transforms=[one], **rules)
    with pytest.raises(UnsupportedError):
        client.create(egress_transforms=[one], egress_unverified=True)


def test_two_ways_to_send_the_secret_are_refused_at_once():
    with pytest.raises(InvalidArgumentError) as caught:
        HostTransform("a.example", secret=SECRET, header="x", user="y")
    assert caught.value.argument == "transform" and SECRET not in str(caught.value)


@pytest.mark.parametrize("options", [{"secret": 7}, {"secret": None}, {"host": b"a"}, {"variable": [1]}, {"user": 1}])
def test_options_of_a_wrong_type_are_type_errors(options):
    with pytest.raises(TypeError):
        HostTransform(**{"host": "a.example", "secret": SECRET, **options})


@pytest.mark.parametrize(
    "transforms", ["a.example", HostTransform("a.example", secret=SECRET), ["a.example"], [{"host": "a.example"}]]
)
def test_what_is_no_list_of_transforms_is_a_type_error(client: Client, sbx, transforms):
    for call in (client.create, sbx.serve_egress):
        with pytest.raises(TypeError) as caught:
            call(egress_transforms=transforms)
        assert SECRET not in str(caught.value)


def test_it_is_exported():
    assert "HostTransform" in sandbox_sdk.__all__
