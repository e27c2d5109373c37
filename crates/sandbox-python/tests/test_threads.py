"""Many threads at once, with and without the interpreter's lock."""

import asyncio
import threading
import time

import pytest

from sandbox_sdk import AsyncClient, Client, ClosedError, SandboxError

COUNT = 24


def run_threads(work, count=COUNT):
    """Runs `work` with the number of each thread, all at once; returns what they return."""
    results, failures = [], []
    barrier = threading.Barrier(count)

    def run(number):
        barrier.wait()
        try:
            results.append(work(number))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    return results


UNLOCKED = """
import sys
is_locked = getattr(sys, "_is_gil_enabled", lambda: True)
before = is_locked()
import sandbox_sdk
print(before == is_locked())
"""


def test_the_import_does_not_bring_back_the_lock(child):
    done = child(UNLOCKED, "-W", "error")
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr


def test_threads_by_the_dozen(sbx):
    results, failures = [], []

    def work(number):
        try:
            for _ in range(3):
                results.append(int(sbx.run(["echo", str(number)]).stdout))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(36)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert sorted(results) == sorted(list(range(36)) * 3)


def test_the_interpreter_goes_on_while_a_thread_waits(sbx, home):
    returned = []

    def work():
        returned.append(sbx.shell("until [ -e go ]; do sleep 0.01; done", cwd=home, timeout=60).returncode)

    # It ends only because this thread goes on.
    waiting = threading.Thread(target=work)
    waiting.start()
    for _ in range(10):
        time.sleep(0.01)
    assert waiting.is_alive()
    sbx.write_text(f"{home}/go", "")
    waiting.join()
    assert returned == [0]


def test_threads_do_different_things_with_one_client(client, sbx, home, tmp_path):
    local = tmp_path / "data"
    local.write_bytes(bytes(1 << 20))

    def run(number):
        assert sbx.run(["echo", str(number)], text=True).stdout == f"{number}\n"

    def move_files(number):
        progress = []
        sbx.upload(local, f"{home}/data-{number}", progress=progress.append)
        assert sbx.stat(f"{home}/data-{number}").size == progress[-1].bytes == 1 << 20
        with pytest.raises(FileNotFoundError) as caught:
            sbx.read_bytes(f"{home}/missing-{number}")
        assert caught.value.path == f"{home}/missing-{number}"

    def stream(number):
        with sbx.popen(["cat"], stdin=True, text=True) as process:
            assert process.communicate("hello\n" * 100) == ("hello\n" * 100, "")

    def find(number):
        with client.get(sbx.id) as found:
            assert found.start_job(["true"]).wait() == 0
        assert sbx.id in [info.id for info in client.list()]

    def use_asyncio(number):
        async def main():
            async with AsyncClient() as other:
                found = await other.get(sbx.id)
                done = await asyncio.gather(*(found.run(["echo", str(n)]) for n in range(4)))
                found.close()
                return [int(each.stdout) for each in done]

        assert asyncio.run(main()) == [0, 1, 2, 3]

    kinds = [run, move_files, stream, find, use_asyncio]
    run_threads(lambda number: [kinds[(number + turn) % len(kinds)](number) for turn in range(len(kinds))], count=12)


def test_threads_share_the_output_of_a_process(sbx):
    expected = [f"{n}\n" for n in range(1, 5001)]
    process = sbx.popen(["seq", "5000"], text=True)
    pieces = run_threads(lambda _: sum(len(data) for _, data in process))
    assert sum(pieces) == len("".join(expected))
    lines = sbx.popen(["seq", "5000"], text=True).lines()
    found = run_threads(lambda _: [line.data for line in lines])
    assert sorted((line for each in found for line in each), key=int) == expected


@pytest.mark.parametrize("name", ["next", "lines", "wait", "communicate", "write"])
def test_closing_a_process_ends_what_another_thread_waits_for(sbx, name):
    process = sbx.popen(["sleep", "60"], stdin=True)
    begun = threading.Event()
    ended = []

    def wait():
        begun.set()
        try:
            while name == "write":
                process.stdin.write(bytes(1 << 20))
            calls = {"next": list, "lines": lambda it: list(it.lines())}
            ended.append(calls.get(name, lambda it: getattr(it, name)())(process))
        except ClosedError as error:
            ended.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    begun.wait()
    # It waits in the call, or finds the process closed: both end in the same way.
    time.sleep(0.1)
    process.close()
    waiting.join(30)
    assert not waiting.is_alive()
    assert ended == [[]] if name in ("next", "lines") else isinstance(ended[0], ClosedError)


def test_threads_use_and_end_one_process(sbx):
    process = sbx.popen(["sleep", "60"])
    calls = [process.poll, process.kill, process.wait, process.close, lambda: list(process.lines())]

    def call(number):
        try:
            calls[number % len(calls)]()
        except SandboxError as error:
            return type(error).__name__

    assert set(run_threads(call)) <= {None, "ClosedError", "CommandExecutionError"}


def test_threads_close_what_others_use(client):
    other = Client()
    sandbox = client.create()

    def use(number):
        try:
            for _ in range(8):
                other.list()
                sandbox.run(["true"])
                repr(other), repr(sandbox)
        except ClosedError:
            return
        if number % 3 == 0:
            other.close()
            sandbox.close()

    run_threads(use)
    client.delete(sandbox.id)


def test_one_asyncio_client_in_the_event_loops_of_many_threads():
    client = AsyncClient()

    async def main():
        return [len(each) for each in await asyncio.gather(*(client.list() for _ in range(4)))]

    assert len(run_threads(lambda _: asyncio.run(main()))) == COUNT
    asyncio.run(client.close())
