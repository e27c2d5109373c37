"""Signed addresses of files, fetched without an SDK."""

import base64
import hashlib
import time
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from conftest import wait_until


def test_download(sandbox, directory):
    sandbox.files.write(f"{directory}/a file+ü", "content")
    response = httpx.get(sandbox.download_url(f"{directory}/a file+ü"))
    assert (response.status_code, response.text) == (200, "content")
    assert "a%20file" in response.headers["content-disposition"]


def test_download_of_a_relative_path(sandbox):
    sandbox.files.write("signed-relative", "content")
    assert httpx.get(sandbox.download_url("signed-relative")).text == "content"
    sandbox.files.remove("signed-relative")


def test_upload(sandbox, directory):
    url = sandbox.upload_url(f"{directory}/uploaded")
    response = httpx.post(url, files={"file": ("ignored", b"\x00\xffdata")})
    assert response.status_code == 200
    assert response.json()[0]["path"] == f"{directory}/uploaded"
    assert bytes(sandbox.files.read(f"{directory}/uploaded", format="bytes")) == b"\x00\xffdata"


def test_expiry(sandbox, directory):
    sandbox.files.write(f"{directory}/file", "content")
    url = sandbox.download_url(f"{directory}/file", use_signature_expiration=100)
    assert httpx.get(url).text == "content"
    url = sandbox.download_url(f"{directory}/file", use_signature_expiration=1)
    response = wait_until(lambda: (lambda r: r if r.status_code == 401 else None)(httpx.get(url)), 10, "the expiry")
    assert response.json() == {"code": 401, "message": "signature is already expired"}


def test_signature_is_for_one_path_and_one_direction(sandbox, directory):
    sandbox.files.write(f"{directory}/one", "1")
    sandbox.files.write(f"{directory}/two", "2")
    url = sandbox.download_url(f"{directory}/one")
    assert httpx.get(url.replace("one", "two")).status_code == 401
    assert httpx.post(url, files={"file": ("one", b"overwritten")}).status_code == 401
    assert httpx.get(sandbox.upload_url(f"{directory}/one")).status_code == 401
    assert sandbox.files.read(f"{directory}/one") == "1"


def test_expiry_is_part_of_the_signature(sandbox, directory):
    sandbox.files.write(f"{directory}/file", "content")
    url = sandbox.download_url(f"{directory}/file", use_signature_expiration=1000)
    expiry = parse_qs(urlsplit(url).query)["signature_expiration"][0]
    assert httpx.get(url.replace(expiry, str(int(expiry) + 1))).status_code == 401
    assert httpx.get(url.replace(f"&signature_expiration={expiry}", "")).status_code == 401


def test_no_signature(sandbox, directory):
    sandbox.files.write(f"{directory}/file", "content")
    url = sandbox.download_url(f"{directory}/file").split("&signature")[0]
    response = httpx.get(url)
    assert response.status_code == 401
    assert response.json()["code"] == 401


@pytest.mark.parametrize("token", ["", "0" * 64, "null"])
def test_signature_by_a_guessed_token(sandbox, directory, token):
    path = f"{directory}/file"
    sandbox.files.write(path, "content")
    digest = hashlib.sha256(f"{path}:read::{token}".encode()).digest()
    signature = "v1_" + base64.b64encode(digest).decode().rstrip("=")
    url = sandbox.download_url(path).split("?")[0]
    assert httpx.get(url, params={"path": path, "signature": signature}).status_code == 401


def test_url_ends_with_the_sandbox(create):
    sandbox = create()
    sandbox.files.write("file", "content")
    url = sandbox.download_url("file")
    assert httpx.get(url).status_code == 200
    sandbox.kill()
    assert httpx.get(url).status_code in (401, 404, 502)


def test_range(sandbox, directory):
    sandbox.files.write(f"{directory}/file", "0123456789")
    response = httpx.get(sandbox.download_url(f"{directory}/file"), headers={"Range": "bytes=2-5"})
    assert (response.status_code, response.text) == (206, "2345")
    assert response.headers["content-range"] == "bytes 2-5/10"


def test_url_is_valid_at_once_and_for_long(sandbox, directory):
    sandbox.files.write(f"{directory}/file", "content")
    url = sandbox.download_url(f"{directory}/file", use_signature_expiration=86_400)
    expiry = int(parse_qs(urlsplit(url).query)["signature_expiration"][0])
    assert expiry > time.time() + 86_000
    assert httpx.get(url).status_code == 200
