"""What a sandbox may reach. The templates of these tests allow nothing, so each request is refused.

`SANDBOX_TEST_ANSWERING` is the address of a server that answers where rules are not enforced.
"""

import os

import httpx
import pytest

from e2b import SandboxException

pytestmark = pytest.mark.since("2.45.0")

ALL_TRAFFIC = "0.0.0.0/0"


def details(sandbox):
    url = f"{os.environ['E2B_API_URL']}/sandboxes/{sandbox.sandbox_id}"
    return httpx.get(url, headers={"X-API-KEY": os.environ["E2B_API_KEY"]}).json()


@pytest.mark.smoke
def test_nothing_is_reached_that_the_template_does_not_allow(sandbox):
    host, port = os.environ.get("SANDBOX_TEST_ANSWERING", "1.1.1.1:443").rsplit(":", 1)
    reached = sandbox.commands.run(f"timeout 5 bash -c '</dev/tcp/{host}/{port}' && echo reached || echo offline")
    assert reached.stdout == "offline\n"
    if "SANDBOX_TEST_ANSWERING" not in os.environ:
        # A local sandbox has no network, and without rules that allow anything no way out either.
        assert sandbox.commands.run('echo "[$HTTP_PROXY]"').stdout == "[]\n"
        return
    # The one way out of a Pod is there, and allows nothing.
    request = r"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"
    refused = sandbox.commands.run(
        f"exec 3<>/dev/tcp/127.0.0.1/${{HTTP_PROXY##*:}}; printf '{request}' >&3; head -n 1 <&3"
    )
    assert refused.stdout.split()[1] == "403"


def test_a_sandbox_without_the_internet(create):
    sandbox = create(allow_internet_access=False)
    assert details(sandbox)["allowInternetAccess"] is False
    reached = sandbox.commands.run("timeout 5 bash -c '</dev/tcp/1.1.1.1/443' && echo reached || echo offline")
    assert reached.stdout == "offline\n"


def test_what_is_denied_is_recorded(create):
    sandbox = create(network={"deny_out": ["1.1.1.1", "10.0.0.0/8"]})
    assert details(sandbox)["network"] == {"denyOut": ["1.1.1.1", "10.0.0.0/8"]}


@pytest.mark.parametrize(
    "network",
    [
        {"allow_out": ["example.com"], "deny_out": [ALL_TRAFFIC]},
        {"allow_out": ["1.1.1.1"]},
        {"deny_out": ["10.0.0.1/8"]},
    ],
    ids=["more than the template", "allow without deny", "no network"],
)
def test_what_cannot_be_kept_is_refused(create, network):
    with pytest.raises(SandboxException) as raised:
        create(network=network)
    assert "400" in str(raised.value) and "network." in str(raised.value)


@pytest.mark.since("2.63.0")
def test_rules_are_replaced(create):
    sandbox = create()
    sandbox.update_network({"deny_out": [ALL_TRAFFIC]})
    assert details(sandbox)["network"] == {"denyOut": [ALL_TRAFFIC]}
    with pytest.raises(SandboxException):
        sandbox.update_network({"allow_out": ["example.com"], "deny_out": [ALL_TRAFFIC]})
    sandbox.update_network({})
    assert "network" not in details(sandbox)
