"""What a sandbox may reach, and what is decided about it. Everything stays on this machine."""

import asyncio
import http.server
import socket
import threading
import time

import pytest

from sandbox_sdk import AsyncClient, Client, InvalidArgumentError, Sandbox, UnsupportedError

# Sends a request through the proxy as it is, because of which no variable keeps it from it.
FETCH = """
import http.client, os, sys, urllib.parse
proxy = urllib.parse.urlsplit(os.environ["HTTP_PROXY"])
connection = http.client.HTTPConnection(proxy.hostname, proxy.port, timeout=30)
connection.request("GET", sys.argv[1])
response = connection.getresponse()
print(response.status, response.read().decode())
"""


class Greeting(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def web():
    """A web server of this machine, as its port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Greeting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture(scope="module", autouse=True)
def needs_namespaces(shared):
    if "namespaces" not in shared.initial_info.isolation:
        pytest.skip("rules are enforced by a network namespace only")


def fetch(sandbox: Sandbox, url: str) -> str:
    return sandbox.run(["python3", "-c", FETCH, url], text=True, check=True).stdout


def wait_for_outcomes(events, count: int) -> list[str]:
    outcomes = []
    deadline = time.monotonic() + 20
    while len(outcomes) < count:
        assert time.monotonic() < deadline, outcomes
        outcomes += [event.outcome for event in events.pending()]
        time.sleep(0.02)
    return outcomes


def test_rules_decide(client: Client, web):
    with client.create(egress="none", egress_allow=[f"127.0.0.0/8:{web}"], egress_deny=["127.0.0.9"]) as sandbox:
        assert sandbox.egress_rules() == f"none +127.0.0.0/8:{web} -127.0.0.9"
        events = sandbox.egress_events()
        assert fetch(sandbox, f"http://127.0.0.1:{web}/") == "200 hello\n"
        for url in (f"http://127.0.0.1:{web ^ 1}/", f"http://127.0.0.9:{web}/", "http://example.com/"):
            assert fetch(sandbox, url).startswith("403 "), url
        opened = next(events)
        assert (opened.outcome, opened.host, opened.port, opened.address) == ("opened", "127.0.0.1", web, "127.0.0.1")
        assert opened.rule == f"allow 127.0.0.0/8:{web}" and opened.lost == 0 and opened.at.tzinfo is not None
        assert sorted(wait_for_outcomes(events, 4)) == ["closed", "refused", "refused", "refused"]
        assert events.pending() == []

        # The whole set at once; then nothing at all.
        sandbox.update_egress()
        assert sandbox.egress_rules() == "none"
        assert fetch(sandbox, f"http://127.0.0.1:{web}/").startswith("403 ")
        refused = next(sandbox.egress_events())
        assert refused.outcome == "refused" and refused.reason
        sandbox.stop_egress()
        assert sandbox.egress_rules() is None
        assert list(events) == []


def test_a_sandbox_of_another_handle_is_served(client: Client, web):
    with client.create() as sandbox:
        with pytest.raises(InvalidArgumentError):
            sandbox.egress_events()
        with pytest.raises(InvalidArgumentError):
            sandbox.update_egress("packages")
        with client.get(sandbox.id) as other:
            other.serve_egress(egress_allow=[f"127.0.0.1:{web}"])
            assert fetch(sandbox, f"http://127.0.0.1:{web}/") == "200 hello\n"
            assert next(other.egress_events()).outcome == "opened"


def test_what_is_taken_from_a_pool_has_decisions_of_its_own(client: Client, web):
    # Whether it has waited or is created for the call.
    with client.pool(size=1, egress_allow=[f"127.0.0.0/8:{web}"]) as pool:
        pool.filled()
        with pool.take() as first, pool.take() as second:
            for sandbox, other in ((first, second), (second, first)):
                assert fetch(sandbox, f"http://127.0.0.1:{web}/") == "200 hello\n"
                assert next(sandbox.egress_events()).outcome == "opened"
                assert other.egress_events().pending() == []
                assert wait_for_outcomes(sandbox.egress_events(), 1) == ["closed"]
    with client.pool(size=1) as pool, pool.take() as sandbox, pytest.raises(InvalidArgumentError):
        sandbox.egress_events()


def test_what_is_taken_from_a_pool_has_decisions_for_asyncio():
    async def main():
        async with AsyncClient() as client:
            async with await client.pool(size=1, egress="none") as pool, await pool.take() as sandbox:
                events = sandbox.egress_events()
                await sandbox.run(["python3", "-c", FETCH, "http://evil.example/"], check=True)
                assert (await anext(events)).outcome == "refused"

    asyncio.run(main())


def test_a_thread_that_waits_for_decisions_ends_with_the_sandbox(client: Client):
    with client.create(egress="packages") as sandbox:
        taken = []
        thread = threading.Thread(target=lambda: taken.extend(sandbox.egress_events()))
        thread.start()
    thread.join(20)
    assert not thread.is_alive() and taken == []


def test_decisions_that_nobody_takes_are_counted(client: Client):
    line = """
import os, socket, urllib.parse
proxy = urllib.parse.urlsplit(os.environ["HTTP_PROXY"])
for n in range(1100):
    with socket.create_connection((proxy.hostname, proxy.port)) as s:
        s.sendall(b"GET http://192.0.2.1:81/ HTTP/1.0\\r\\n\\r\\n")
        while s.recv(4096):
            pass
"""
    with client.create(egress="none") as sandbox:
        events = sandbox.egress_events()
        sandbox.run(["python3", "-c", line], check=True)
        kept = events.pending()
        assert len(kept) == 1024 and {event.outcome for event in kept} == {"refused"}
        sandbox.run(["python3", "-c", line.replace("1100", "1")], check=True)
        assert next(events).lost == 1100 - 1024


@pytest.mark.parametrize(
    "options",
    [
        {"egress": "everything"},
        {"egress_allow": ["http://example.com/"]},
        {"egress_deny": ["10.0.0.0/33"]},
        {"egress_allow": ["example.com:99999"]},
    ],
)
def test_what_is_no_rule_is_a_value_error(client: Client, options):
    with pytest.raises(InvalidArgumentError) as caught:
        client.create(**options)
    assert caught.value.argument
    with client.create(egress="none") as sandbox, pytest.raises(InvalidArgumentError):
        sandbox.update_egress(**options)


@pytest.mark.parametrize("options", [{"egress_allow": "example.com"}, {"egress_deny": [7]}, {"egress": 1}])
def test_rules_of_a_wrong_type_are_type_errors(client: Client, options):
    with pytest.raises(TypeError):
        client.create(**options)


def test_rules_that_nothing_enforces_are_refused():
    with Client(isolation="none") as client, pytest.raises(UnsupportedError):
        client.create(egress="packages")


def test_for_asyncio(web):
    async def main():
        async with AsyncClient() as client, await client.create(egress_allow=[f"127.0.0.1:{web}"]) as sandbox:
            events = sandbox.egress_events()
            url = f"http://127.0.0.1:{web}/"
            done = await sandbox.run(["python3", "-c", FETCH, url], text=True)
            assert done.stdout == "200 hello\n"
            assert (await anext(events)).outcome == "opened"
            waiting = asyncio.create_task(collect(events))
            await sandbox.update_egress("none")
            await sandbox.run(["python3", "-c", FETCH, url], text=True)
            await sandbox.stop_egress()
            ended, refused = await waiting
            assert ended in ("closed", "revoked") and refused == "refused"
            assert sandbox.egress_rules() is None

    async def collect(events):
        return [event.outcome async for event in events]

    asyncio.run(main())


def test_the_network_of_this_machine_is_not_reached(client: Client, web):
    line = f"import socket; socket.create_connection(('127.0.0.1', {web}), timeout=5)"
    with client.create(egress="open") as sandbox:
        assert sandbox.run(["python3", "-c", line]).returncode != 0
    with socket.create_connection(("127.0.0.1", web)):
        pass
