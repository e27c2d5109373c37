"""What a wrong key, a wrong id, another key's sandbox and an unsupported wish get: an error in words, of the right type."""

import os

import httpx
import pytest

from e2b import AuthenticationException, NotFoundException, Sandbox, SandboxException, SandboxQuery

API = os.environ["E2B_API_URL"]
UNKNOWN = "nosuchsandbox0000000"


@pytest.mark.smoke
@pytest.mark.parametrize("key", ["e2b_" + "0" * 40, "e2b_00"])
def test_wrong_key(key):
    with pytest.raises(AuthenticationException):
        Sandbox.create(api_key=key)
    with pytest.raises(AuthenticationException):
        Sandbox.list(api_key=key).next_items()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/sandboxes"),
        ("POST", "/sandboxes"),
        ("POST", "/v2/sandboxes"),
        ("GET", f"/sandboxes/{UNKNOWN}"),
        ("DELETE", f"/sandboxes/{UNKNOWN}"),
        ("POST", f"/sandboxes/{UNKNOWN}/connect"),
        ("POST", f"/v2/sandboxes/{UNKNOWN}/connect"),
        ("POST", f"/sandboxes/{UNKNOWN}/timeout"),
        ("POST", f"/sandboxes/{UNKNOWN}/pause"),
        ("GET", f"/sandboxes/{UNKNOWN}/metrics"),
    ],
)
def test_no_key_learns_nothing(method, path):
    response = httpx.request(method, API + path, json={} if method == "POST" else None)
    assert response.status_code == 401
    assert response.json()["code"] == 401 and response.json()["message"]
    assert UNKNOWN not in response.text


def test_no_such_sandbox():
    with pytest.raises(NotFoundException, match=UNKNOWN):
        Sandbox.get_info(UNKNOWN)
    with pytest.raises(NotFoundException):
        Sandbox.connect(UNKNOWN)
    with pytest.raises(NotFoundException):
        Sandbox.set_timeout(UNKNOWN, 60)
    assert Sandbox.kill(UNKNOWN) is False


def test_no_such_template():
    with pytest.raises(SandboxException, match="no-such-template"):
        Sandbox.create("no-such-template")


@pytest.mark.parametrize("identifier", ["%2e%2e", "a b", "A" * 300, "x-y", "ü", "id%00"])
def test_strange_ids(identifier):
    for method, suffix in (("GET", ""), ("DELETE", ""), ("POST", "/timeout"), ("POST", "/connect")):
        response = httpx.request(
            method,
            f"{API}/sandboxes/{identifier}{suffix}",
            headers={"X-API-KEY": os.environ["E2B_API_KEY"]},
            json={"timeout": 60} if method == "POST" else None,
        )
        assert response.status_code in (400, 404, 405)
        assert response.json()["code"] == response.status_code


def test_sandbox_of_another_key(fresh, other_key):
    identifier = fresh.sandbox_id
    with pytest.raises(NotFoundException):
        Sandbox.connect(identifier, api_key=other_key)
    with pytest.raises(NotFoundException):
        Sandbox.get_info(identifier, api_key=other_key)
    with pytest.raises(NotFoundException):
        Sandbox.set_timeout(identifier, 60, api_key=other_key)
    assert Sandbox.kill(identifier, api_key=other_key) is False
    query = SandboxQuery(metadata=fresh.get_info().metadata)
    assert Sandbox.list(query=query, api_key=other_key).next_items() == []
    assert fresh.is_running()


@pytest.mark.parametrize("token", [None, "", "0" * 64])
@pytest.mark.parametrize("path", ["/process.Process/List", "/filesystem.Filesystem/Stat", "/envs", "/metrics"])
def test_data_plane_needs_the_token(fresh, token, path):
    headers = {"E2b-Sandbox-Id": fresh.sandbox_id, "E2b-Sandbox-Port": "49983"}
    if token is not None:
        headers["X-Access-Token"] = token
    method = "POST" if "." in path else "GET"
    url = os.environ["E2B_SANDBOX_URL"] + path
    response = httpx.request(method, url, headers=headers, json={"path": "/"} if method == "POST" else None)
    assert response.status_code == 401


def test_token_of_another_sandbox(create):
    one, two = create(), create()
    token = one._envd_access_token
    response = httpx.post(
        os.environ["E2B_SANDBOX_URL"] + "/process.Process/List",
        headers={"E2b-Sandbox-Id": two.sandbox_id, "E2b-Sandbox-Port": "49983", "X-Access-Token": token},
        json={},
    )
    assert response.status_code == 401


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b'{"timeout":"x"}', b'{"timeout":-1}', b'{"metadata":7}'])
def test_malformed_create(body):
    headers = {"X-API-KEY": os.environ["E2B_API_KEY"], "Content-Type": "application/json"}
    response = httpx.post(f"{API}/v2/sandboxes", headers=headers, content=body)
    assert response.status_code == 400
    assert response.json()["code"] == 400 and response.json()["message"]


@pytest.mark.parametrize("path", ["/", "/v9/sandboxes", "/init", "/files/", "/sandboxes/a/b/c"])
def test_unknown_paths_are_answered_in_json(path):
    response = httpx.post(API + path, headers={"X-API-KEY": os.environ["E2B_API_KEY"]}, json={})
    assert 400 <= response.status_code < 502
    assert response.json()["message"]


@pytest.mark.since("2.45.0")
@pytest.mark.parametrize(
    "options",
    [
        {"volume_mounts": {"/data": "volume"}},
        {"network": {"rules": {"example.test": [{"transform": {"headers": {"a": "b"}}}]}}},
    ],
    ids=["volumes", "rules"],
)
def test_what_cannot_be_kept_is_refused(create, options):
    with pytest.raises(SandboxException) as raised:
        create(**options)
    assert "400" in str(raised.value)


@pytest.mark.since("2.45.0")
def test_template_builds_are_refused_in_words():
    from e2b import Template

    with pytest.raises(Exception, match="501"):
        Template.build(Template().from_image("debian:12"), alias="built")
