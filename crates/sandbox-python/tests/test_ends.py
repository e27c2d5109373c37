"""Signals, forks and exits of a program, and what it forgets; what it logs meanwhile."""

import gc
import os
import signal
import threading
import time
import warnings

import pytest

from sandbox_sdk import Client


def interrupt(call, wait):
    """Sends this process a Ctrl-C in a call, once `wait` has returned; returns how many seconds the call went on."""
    sent = []

    def send():
        wait()
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=send)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        call()
    thread.join()
    return time.monotonic() - sent[0]


def test_ctrl_c_ends_a_call(sbx):
    def wait():
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not (sbx.exists("interrupted") and sbx.read_text("interrupted")):
            time.sleep(0.02)

    line = "echo $$ >interrupted; exec sleep 300"
    assert interrupt(lambda: sbx.shell(line), wait) < 2
    pid = sbx.read_text("interrupted").strip()
    wait = f"for i in $(seq 50); do kill -0 {pid} 2>/dev/null || exit 0; sleep 0.1; done; exit 1"
    assert sbx.shell(wait).returncode == 0


def test_ctrl_c_ends_a_wait_for_output(sbx):
    with sbx.popen(["sleep", "300"]) as process:
        # The best of three, because this machine may be busy with something else.
        assert min(interrupt(process.wait, lambda: time.sleep(0.1)) for _ in range(3)) < 0.2
        process.kill()


def test_ctrl_c_during_a_creation_leaves_nothing():
    with Client() as client:
        before = {info.id for info in client.list()}
        assert interrupt(lambda: client.create(init=["sleep 60"]), lambda: time.sleep(0.1)) < 2
    with Client() as client:
        deadline = time.monotonic() + 5
        while {info.id for info in client.list()} - before:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_signal_handler_that_returns_interrupts_nothing(sbx):
    calls = []
    former = signal.signal(signal.SIGUSR1, lambda *_: calls.append(1))
    try:
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        assert sbx.shell("sleep 0.4; echo done").stdout == b"done\n"
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, former)
    assert calls == [1]


FORK = """
import os, sandbox_sdk
client = sandbox_sdk.Client()
sandbox = client.create()
pid = os.fork()
if pid == 0:
    for call in (lambda: sandbox.run(["true"]), client.list, sandbox_sdk.Client):
        try:
            call()
        except sandbox_sdk.ForkError as error:
            assert "spawn" in str(error)
        else:
            os._exit(3)
    # Nothing of the parent is dropped here, and the exit does not hang.
    del sandbox, client
    raise SystemExit(0)
assert os.waitpid(pid, 0)[1] == 0, "the child failed"
assert sandbox.run(["echo", "parent"]).stdout == b"parent\\n"
sandbox.delete()
client.close()
print("ok")
"""


def test_a_forked_child_gets_an_error(child):
    done = child(FORK, "-W", "error::ResourceWarning")
    assert (done.stdout, done.returncode) == ("ok\n", 0), done.stderr


FORK_FIRST = """
import os, sandbox_sdk
pid = os.fork()
if pid == 0:
    with sandbox_sdk.Client() as client:
        client.list()
    raise SystemExit(0)
assert os.waitpid(pid, 0)[1] == 0
print("ok")
"""


def test_a_child_that_was_forked_before_the_first_use_works(child):
    done = child(FORK_FIRST)
    assert (done.stdout, done.returncode) == ("ok\n", 0), done.stderr


EXIT = """
import sandbox_sdk
client = sandbox_sdk.Client()
sandbox = client.create()  # attached
kept = client.create(detached=True, ttl=60)
print(sandbox.id, kept.id)
"""


def test_an_exit_with_open_sandboxes(child, client):
    done = child(EXIT, "-W", "default::ResourceWarning")
    assert done.returncode == 0, done.stderr
    attached, detached = done.stdout.split()
    assert done.stderr.count(f"sandbox {attached} was not deleted") == 1
    assert detached not in done.stderr
    assert client.get(detached).run(["true"]).returncode == 0
    client.delete(detached)
    # The attached one ends without its client.
    deadline = time.monotonic() + 30
    while any(info.id == attached and info.state == "running" for info in client.list()):
        assert time.monotonic() < deadline
        time.sleep(0.1)


AT_EXIT = """
import asyncio, atexit

def clean_up():
    # Runs after the package has prepared for the exit, because it was registered before it.
    sandbox.delete()
    print(len(client.list()), flush=True)
    try:
        asyncio.run(sandbox_sdk.AsyncClient().list())
    except sandbox_sdk.ClosedError as error:
        print(error, flush=True)

atexit.register(clean_up)
import sandbox_sdk
client = sandbox_sdk.Client()
sandbox = client.create(detached=True, ttl=60)
others = len(client.list()) - 1
print(others, flush=True)
"""


def test_functions_that_run_at_the_exit_can_make_calls(child):
    done = child(AT_EXIT)
    assert done.returncode == 0, done.stderr
    before, after, refused = done.stdout.splitlines()
    assert before == after
    assert "exits" in refused


DAEMON = """
import threading, time, sandbox_sdk
client = sandbox_sdk.Client()
sandbox = client.create()
for _ in range(8):
    threading.Thread(target=lambda: sandbox.run(["sleep", "60"]), daemon=True).start()
time.sleep(0.3)
print("exiting", flush=True)
"""


def test_an_exit_while_daemon_threads_wait(child):
    start = time.monotonic()
    done = child(DAEMON)
    assert (done.stdout, done.returncode) == ("exiting\n", 0), done.stderr
    assert time.monotonic() - start < 20


def test_a_forgotten_sandbox_is_said(client):
    sandbox = client.create()
    id = sandbox.id
    with pytest.warns(ResourceWarning, match=f"sandbox {id} was not deleted"):
        del sandbox
        gc.collect()
    client.delete(id)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sandbox = client.create()
        id = sandbox.id
        sandbox.close()
        del sandbox
        gc.collect()
    client.delete(id)


LOGGING = """
import logging, sys, threading
names = set()
class Handler(logging.Handler):
    def emit(self, record):
        names.add((record.name, record.levelno, threading.current_thread() is threading.main_thread()))
        assert isinstance(record.fields, dict)
logging.getLogger("sandbox_sdk").addHandler(Handler())
import sandbox_sdk, time
with sandbox_sdk.Client() as client:
    with client.create() as sandbox:
        sandbox.run(["true"])
    assert not names, names
    logging.getLogger("sandbox_sdk").setLevel(logging.DEBUG)
    # The level is read every 100 ms at most.
    time.sleep(0.15)
    with client.create() as sandbox:
        sandbox.run(["true"])
# Records are emitted by a thread of the package.
deadline = time.monotonic() + 20
while not names and time.monotonic() < deadline:
    time.sleep(0.01)
assert names and all(name.startswith("sandbox_sdk.") for name, _, _ in names), names
assert not any(main for _, _, main in names)
print("ok")
"""


def test_the_log_goes_to_logging(child):
    done = child(LOGGING)
    assert (done.stdout, done.returncode) == ("ok\n", 0), done.stderr
