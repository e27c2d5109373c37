"""Traffic to ports of a sandbox, by header and by host name."""

import os
import time

import httpx
import pytest

from conftest import create_sandbox, kill_later, wait_until

SERVER = r'''
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        length = int(self.headers.get("content-length") or 0)
        body = json.dumps({"method": self.command, "path": self.path, "body": self.rfile.read(length).decode(),
                           "headers": {k.lower(): v for k, v in self.headers.items()}}).encode()
        self.send_response(201)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-from-inside", "yes")
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST = do_PUT = do_DELETE = answer
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", %d), Handler).serve_forever()
'''
GATEWAY = os.environ["E2B_SANDBOX_URL"]


def free_port():
    """A port that is free here; on the local backend without its own network it is the sandbox's, too."""
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def served():
    """A public sandbox that serves HTTP, and the port it does that on."""
    sandbox = create_sandbox()
    port = free_port()
    sandbox.files.write("server.py", SERVER % port)
    sandbox.commands.run("python3 server.py", background=True, timeout=0)
    headers = {"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": str(port)}

    def is_served():
        return httpx.get(f"{GATEWAY}/", headers=headers).status_code == 201

    wait_until(is_served, what="the server in the sandbox")
    yield sandbox, port, headers
    kill_later(sandbox)


def test_request_by_header(served):
    _, _, headers = served
    response = httpx.post(f"{GATEWAY}/some/path?q=1%202", headers=headers, content="body")
    assert response.status_code == 201 and response.headers["x-from-inside"] == "yes"
    seen = response.json()
    assert (seen["method"], seen["path"], seen["body"]) == ("POST", "/some/path?q=1%202", "body")


def test_paths_of_the_api_belong_to_the_sandbox_then(served):
    _, _, headers = served
    for path in ("/sandboxes", "/files", "/health", "/process.Process/Start"):
        assert httpx.get(f"{GATEWAY}{path}", headers=headers).json()["path"] == path


def test_request_by_host_name(served):
    sandbox, port, _ = served
    headers = {"Host": sandbox.get_host(port)}
    response = httpx.get(f"{GATEWAY}/by-host", headers=headers)
    assert response.status_code == 201 and response.json()["path"] == "/by-host"


def test_credentials_of_the_gateway_do_not_reach_the_sandbox(served):
    sandbox, _, headers = served
    secrets = {"X-API-KEY": os.environ["E2B_API_KEY"], "X-Access-Token": "token", **headers}
    text = httpx.get(f"{GATEWAY}/", headers=secrets).text
    assert os.environ["E2B_API_KEY"] not in text
    assert "x-access-token" not in text.lower()


def test_closed_port(served):
    sandbox, _, headers = served
    # A server that starts just now is waited for.
    response = httpx.get(f"{GATEWAY}/", headers={**headers, "E2b-Sandbox-Port": str(free_port())}, timeout=30)
    assert response.status_code == 502
    body = response.json()
    assert body["sandboxId"] == sandbox.sandbox_id and body["code"] == 502
    assert "port is not open" in body["message"]


def test_no_such_sandbox():
    headers = {"E2b-Sandbox-Id": "nosuchsandbox0000000", "E2b-Sandbox-Port": "8080"}
    response = httpx.get(f"{GATEWAY}/", headers=headers)
    assert response.status_code == 502
    assert "was not found" in response.json()["message"]


@pytest.mark.parametrize("port", ["0", "65536", "-1", "80a", "", "22; id"])
def test_bad_port(served, port):
    _, _, headers = served
    response = httpx.get(f"{GATEWAY}/", headers={**headers, "E2b-Sandbox-Port": port})
    assert 400 <= response.status_code < 500


def test_killed_sandbox_has_no_ports(create):
    sandbox = create()
    headers = {"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": "8080"}
    sandbox.kill()
    response = httpx.get(f"{GATEWAY}/", headers=headers)
    assert response.status_code == 502 and "was not found" in response.json()["message"]


@pytest.mark.since("2.45.0")
def test_private_traffic_needs_the_token(create):
    sandbox = create(network={"allow_public_traffic": False})
    port = free_port()
    sandbox.files.write("server.py", SERVER % port)
    sandbox.commands.run("python3 server.py", background=True, timeout=0)
    headers = {"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": str(port)}
    token = {"e2b-traffic-access-token": sandbox.traffic_access_token}
    wait_until(
        lambda: httpx.get(f"{GATEWAY}/", headers={**headers, **token}).status_code == 201, what="the server inside"
    )
    assert httpx.get(f"{GATEWAY}/", headers=headers).status_code == 403
    wrong = {"e2b-traffic-access-token": "0" * len(sandbox.traffic_access_token)}
    assert httpx.get(f"{GATEWAY}/", headers={**headers, **wrong}).status_code == 403
    assert sandbox.traffic_access_token not in httpx.get(f"{GATEWAY}/", headers={**headers, **token}).text


def test_server_sent_events_come_at_once(served):
    sandbox, _, headers = served
    port = free_port()
    program = (
        "import socket, time\n"
        f"server = socket.create_server(('127.0.0.1', {port}))\n"
        "while True:\n"
        "    client, _ = server.accept()\n"
        "    client.recv(65536)\n"
        "    client.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\nConnection: close\\r\\n\\r\\n')\n"
        "    for number in range(3):\n"
        "        client.sendall(b'data: %d\\n\\n' % number)\n"
        "        time.sleep(0.5)\n"
        "    client.close()\n"
    )
    sandbox.files.write("events.py", program)
    handle = sandbox.commands.run("python3 events.py", background=True, timeout=0)
    headers = {**headers, "E2b-Sandbox-Port": str(port)}
    wait_until(lambda: httpx.get(f"{GATEWAY}/", headers=headers).status_code == 200, what="the server of events")
    arrivals = []
    with httpx.stream("GET", f"{GATEWAY}/", headers=headers) as response:
        for line in response.iter_lines():
            if line:
                arrivals.append((time.monotonic(), line))
    assert [line for _, line in arrivals] == ["data: 0", "data: 1", "data: 2"]
    assert arrivals[2][0] - arrivals[0][0] > 0.7
    sandbox.commands.kill(handle.pid)
