"""Commands as other users of a sandbox."""

import asyncio
import os
import pwd

import pytest

from sandbox_sdk import AsyncClient, Client, RefusedError, Sandbox, UnsupportedError

HAS_OTHER_USERS = pytest.mark.skipif(os.geteuid() != 0, reason="only a server that is root can change its user")


def test_the_own_user_and_no_other(sbx: Sandbox, home):
    own = sbx.run(["id", "-u"], text=True).stdout
    for user in (int(own), own.strip(), sbx.initial_info.user):
        assert sbx.run(["id", "-u"], user=user, text=True, check=True).stdout == own
        assert sbx.shell("id -u", user=user, text=True).stdout == own
        with sbx.popen(["id", "-u"], user=user, text=True) as process:
            assert next(process).data == own
    calls = [
        lambda user: sbx.run(["touch", f"{home}/ran"], user=user),
        lambda user: sbx.popen(["touch", f"{home}/ran"], user=user),
        lambda user: sbx.start_job(["touch", f"{home}/ran"], user=user),
    ]
    for call in calls:
        with pytest.raises(RefusedError) as refused:
            call("no such user")
        assert refused.value.reason == "unknown-user" and "no such user" in str(refused.value)
        with pytest.raises(TypeError):
            call(True)
        with pytest.raises(ValueError):
            call("a:b")
    assert not sbx.exists(f"{home}/ran")


@pytest.mark.parametrize("user", ["root", "nobody", 0])
def test_a_confined_sandbox_has_no_other_users(sbx: Sandbox, home, user):
    if sbx.initial_info.isolation == "none":
        pytest.skip("this sandbox is not confined")
    with pytest.raises((RefusedError, UnsupportedError)) as caught:
        sbx.run(["touch", f"{home}/ran"], user=user)
    assert str(user) in str(caught.value)
    assert not sbx.exists(f"{home}/ran")


@HAS_OTHER_USERS
def test_another_user():
    nobody = pwd.getpwnam("nobody").pw_uid

    async def for_asyncio(id):
        async with AsyncClient(isolation="none") as client, await client.get(id) as sandbox:
            return (await sandbox.run(["id", "-u"], user="nobody", cwd="/", text=True)).stdout

    with Client(isolation="none") as client, client.create(env={"FROM": "sandbox"}) as sandbox:
        line = "id -u; echo $USER $FROM $OWN"
        done = sandbox.shell(line, user="nobody", cwd="/", env={"OWN": "1"}, text=True)
        assert done.stdout == f"{nobody}\nnobody sandbox 1\n"
        assert sandbox.run(["id", "-u"], user=nobody, cwd="/", text=True).stdout == f"{nobody}\n"
        with sandbox.popen("id -u; : >/dev/tty", shell=True, user="nobody", cwd="/", pty=True, text=True) as process:
            assert "".join(chunk.data for chunk in process) == f"{nobody}\r\n"
        assert process.returncode == 0
        job = sandbox.start_job(["id", "-u"], user="nobody", cwd="/")
        assert job.wait() == 0 and job.logs().text == f"{nobody}\n"
        assert asyncio.run(for_asyncio(sandbox.id)) == f"{nobody}\n"
        # Ended like any other.
        process = sandbox.popen(["sleep", "60"], user="nobody", cwd="/")
        process.kill()
        assert process.wait() == -9
