"""Arguments that are refused: by name, and before anything happens in the sandbox."""

import datetime
import subprocess

import pytest

from sandbox_sdk import Client, InvalidArgumentError, PoolEmptyError


async def coroutine_function(_):
    pass


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"output_cap": "1"}, "output_cap must be int, not str"),
        ({"output_cap": 1.5}, "output_cap must be int, not float"),
        ({"pty": (10,)}, "pty must be True or (columns, rows)"),
        ({"pty": ("10", 10)}, "columns must be int, not str"),
        ({"timeout": "1"}, "timeout must be seconds"),
        ({"encoding": 1}, "encoding must be str, not int"),
        ({"capture_output": True}, "output is always collected"),
        ({"stdout": subprocess.PIPE}, "output is always collected"),
        ({"universal_newlines": True}, "use text=True"),
        ({"unknown": 1}, "there is no option 'unknown'; there are check, "),
    ],
)
def test_options_of_commands(sbx, home, options, words):
    with pytest.raises(TypeError) as caught:
        sbx.run(["touch", f"{home}/ran"], **options)
    assert words in str(caught.value)
    assert not sbx.exists(f"{home}/ran")


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"output_cap": -1}, InvalidArgumentError),
        ({"pty": (-1, 10)}, InvalidArgumentError),
        ({"timeout": 10**400}, InvalidArgumentError),
        ({"timeout": float("nan")}, InvalidArgumentError),
        ({"encoding": "nonsense"}, LookupError),
        ({"errors": "nonsense"}, LookupError),
    ],
)
def test_values_of_commands(sbx, home, options, kind):
    with pytest.raises(kind):
        sbx.run(["touch", f"{home}/ran"], **options)
    assert not sbx.exists(f"{home}/ran")


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda client, sbx: client.get(1), "id"),
        (lambda client, sbx: client.info(b"a"), "id"),
        (lambda client, sbx: client.delete(None), "id"),
        (lambda client, sbx: client.create(name=3), "name"),
        (lambda client, sbx: client.create(pids="1"), "pids"),
        (lambda client, sbx: client.create(egress="none", egress_allow=[1]), "a rule of egress_allow"),
        (lambda client, sbx: client.create(on_event=3), "on_event"),
        (lambda client, sbx: client.create(on_event=coroutine_function), "on_event"),
        (lambda client, sbx: client.pool(size="1"), "size"),
        (lambda client, sbx: client.pool(size=1, max_age="1h"), "max_age"),
        (lambda client, sbx: client.from_pool(3), "pool"),
        (lambda client, sbx: Client(backend=1), "backend"),
        (lambda client, sbx: Client(state_dir=1), "state_dir"),
        (lambda client, sbx: sbx.forward("80"), "port"),
        (lambda client, sbx: sbx.forward(80, host=1), "host"),
        (lambda client, sbx: sbx.logs("3"), "tail"),
        (lambda client, sbx: sbx.job(1), "id"),
        (lambda client, sbx: sbx.upload(__file__, "a", progress=3), "progress"),
        (lambda client, sbx: sbx.upload(__file__, "a", progress=coroutine_function), "progress"),
    ],
)
def test_wrong_types_are_named(client, sbx, call, name):
    with pytest.raises(TypeError) as caught:
        call(client, sbx)
    assert str(caught.value).startswith(f"{name} must be ")


@pytest.mark.parametrize(
    "call",
    [
        lambda client, sbx: sbx.forward(0),
        lambda client, sbx: sbx.forward(70000),
        lambda client, sbx: sbx.forward(80, local_port=-1),
        lambda client, sbx: sbx.logs(-1),
        lambda client, sbx: client.pool(size=0),
        lambda client, sbx: client.pool(size=-1),
        lambda client, sbx: client.create(pids=-1),
    ],
)
def test_numbers_out_of_range(client, sbx, call):
    with pytest.raises(InvalidArgumentError) as caught:
        call(client, sbx)
    assert caught.value.argument


def test_durations_can_be_timedeltas(client):
    with client.pool(size=1, on_empty=datetime.timedelta(seconds=60)) as pool:
        with pool.take(ttl=datetime.timedelta(minutes=1)) as taken:
            assert taken.info().expires_at is not None
    with pytest.raises(PoolEmptyError):
        pool.take()
