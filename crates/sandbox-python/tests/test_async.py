"""The same for asyncio."""

import asyncio
import subprocess
import threading
import time

import pytest

from sandbox_sdk import (
    AsyncClient,
    AsyncSandbox,
    ClosedError,
    CommandTimeoutError,
    ConfigError,
    SandboxError,
    SandboxNotFoundError,
)


def run(work):
    """Runs a coroutine function with a new client and a new sandbox."""

    async def main():
        async with AsyncClient() as client, await client.create() as sandbox:
            return await work(client, sandbox)

    return asyncio.run(main())


def test_commands_files_and_ports(tmp_path):
    async def work(client: AsyncClient, sbx: AsyncSandbox):
        assert await client.backend() == "local"
        await sbx.write_text("a", "text")
        assert (await sbx.run(["cat", "a"], text=True)).stdout == "text"
        assert (await sbx.shell("exit 3")).returncode == 3
        with pytest.raises(CommandTimeoutError):
            await sbx.run(["sleep", "60"], timeout=0.1)
        with pytest.raises(FileNotFoundError):
            await sbx.read_bytes("missing")
        (tmp_path / "up").write_text("up")
        assert (await sbx.upload(tmp_path / "up", "up")).bytes == 2
        assert (await sbx.download_dir(".", tmp_path / "down")).files >= 2
        async with await sbx.popen(["cat"], stdin=subprocess.PIPE, text=True) as process:
            await process.stdin.write("line\n")
            await process.stdin.close()
            assert [line.data async for line in process.lines()] == ["line\n"]
        job = await sbx.start_job(["true"])
        assert await job.wait() == 0
        server = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=8123, bind='127.0.0.1')"
        async with await sbx.popen(["python3", "-c", server]) as process, await sbx.forward(8123) as web:
            status = b""
            while not status:
                reader, writer = await asyncio.open_connection(*web.address)
                try:
                    writer.write(b"GET /a HTTP/1.0\r\n\r\n")
                    status = await reader.readline()
                except ConnectionError:
                    await asyncio.sleep(0.05)
                finally:
                    writer.close()
            assert b"200" in status
            await process.kill()
        assert sbx.id in [info.id for info in await client.list()]

    run(work)


def test_many_commands_at_once():
    async def work(client, sbx):
        outputs = await asyncio.gather(*(sbx.run(["echo", str(n)], text=True) for n in range(100)))
        assert [int(done.stdout) for done in outputs] == list(range(100))

    run(work)


def test_the_event_loop_goes_on_meanwhile():
    async def work(client, sbx):
        # It ends only because the event loop goes on.
        waiting = asyncio.create_task(sbx.shell("until [ -e go ]; do sleep 0.01; done", timeout=60))
        for _ in range(10):
            await asyncio.sleep(0.01)
        assert not waiting.done()
        await sbx.write_text("go", "")
        assert (await waiting).returncode == 0

    run(work)


def test_cancelling_a_task_ends_its_command():
    async def work(client, sbx):
        task = asyncio.create_task(sbx.shell("echo $$ >pid; exec sleep 300"))
        while not await sbx.exists("pid") or not await sbx.read_text("pid"):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        pid = (await sbx.read_text("pid")).strip()
        line = f"for i in $(seq 50); do kill -0 {pid} 2>/dev/null || exit 0; sleep 0.1; done; exit 1"
        assert (await sbx.shell(line)).returncode == 0
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(sbx.run(["sleep", "60"]), 0.1)

    run(work)


@pytest.mark.parametrize("delay", [0, 0.005, 0.02, 0.05])
def test_a_cancelled_creation_leaves_nothing(delay):
    async def main():
        async with AsyncClient() as client:
            before = {info.id for info in await client.list()}
            task = asyncio.create_task(client.create())
            await asyncio.sleep(delay)
            task.cancel()
            try:
                sandbox = await task
            except asyncio.CancelledError:
                pass
            else:
                await sandbox.delete()
        async with AsyncClient() as client:
            for _ in range(100):
                left = {info.id for info in await client.list()} - before
                if not left:
                    return
                await asyncio.sleep(0.05)
            raise AssertionError(left)

    asyncio.run(main())


async def list_others(before):
    async with AsyncClient() as client:
        return {info.id for info in await client.list()} - before


@pytest.mark.parametrize("delay", [0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2])
@pytest.mark.parametrize("is_awaited", [False, True])
def test_a_closed_client_has_removed_what_cancelled_creations_have_left(delay, is_awaited):
    async def main():
        client = AsyncClient()
        before = {info.id for info in await client.list()}
        task = asyncio.create_task(client.create())
        await asyncio.sleep(delay)
        is_done = task.done()
        task.cancel()
        if is_awaited:
            await asyncio.wait([task])
        await client.close()
        # Not a moment later.
        left = await list_others(before)
        if is_done:
            await task.result().delete()
        else:
            assert not left
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_a_closed_client_has_removed_what_was_ready_when_its_caller_left():
    async def main():
        client = AsyncClient()
        before = {info.id for info in await client.list()}

        def leave(event):
            # The result arrives right after this, or with it.
            if event.kind == "Ready":
                task.cancel()

        task = asyncio.create_task(client.create(on_event=leave))
        await asyncio.wait([task])
        await client.close()
        assert task.cancelled() and not await list_others(before)

    asyncio.run(main())


def test_closing_does_not_raise_what_has_prevented_the_opening():
    async def main():
        client = AsyncClient(isolation="none of them")
        task = asyncio.create_task(client.create())
        # It has begun to open the client.
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(SandboxError):
            await task
        cancelled = AsyncClient()
        task = asyncio.create_task(cancelled.list())
        await asyncio.sleep(0)
        task.cancel()
        await cancelled.close()

    asyncio.run(main())


def test_a_client_whose_first_event_loop_has_left_it_half_open_can_be_used():
    client = AsyncClient()
    loop = asyncio.new_event_loop()
    task = loop.create_task(client.list())
    loop.run_until_complete(asyncio.sleep(0))
    # It is neither awaited nor cancelled, as in a program that stops its loop too early.
    loop.close()
    opening = client._opening
    assert isinstance(asyncio.run(client.list()), list)
    asyncio.run(client.close())
    for left in (task, opening):
        left._log_destroy_pending = False


@pytest.mark.parametrize("name", ["pause", "resume", "is_paused", "usage", "info"])
def test_a_sandbox_that_another_program_has_deleted_is_not_found(name):
    async def work(client, sbx):
        await sbx.run(["true"])
        async with AsyncClient() as other:
            await other.delete(sbx.id)
        with pytest.raises(SandboxNotFoundError):
            await getattr(sbx, name)()

    run(work)


def test_an_event_loop_that_is_closed_ends_its_calls(sbx):
    client = AsyncClient()
    loop = asyncio.new_event_loop()
    sandbox = loop.run_until_complete(client.get(sbx.id))
    # The task is kept alive, as a program would that closes its loop too early.
    task = loop.create_task(sandbox.shell("echo $$ >closed-loop; exec sleep 300"))
    while not sbx.exists("closed-loop") or not sbx.read_text("closed-loop"):
        loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    pid = sbx.read_text("closed-loop").strip()
    line = f"for i in $(seq 80); do kill -0 {pid} 2>/dev/null || exit 0; sleep 0.1; done; exit 1"
    assert sbx.shell(line).returncode == 0
    task._log_destroy_pending = False
    sandbox.close()

    async def again():
        async with client:
            return (await (await client.get(sbx.id)).run(["echo", "again"])).stdout

    # The client is not bound to the loop that it was first used in.
    assert asyncio.run(again()) == b"again\n"


def test_one_loop_for_each_thread():
    results = []

    def main(number):
        async def work(client, sbx):
            return int((await sbx.run(["echo", str(number)])).stdout)

        results.append(run(work))

    threads = [threading.Thread(target=main, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [0, 1, 2, 3]


def test_a_callback_runs_in_the_event_loop_and_may_raise(tmp_path):
    local = tmp_path / "data"
    local.write_bytes(bytes(4 << 20))

    async def work(client, sbx):
        threads = []
        await sbx.upload(local, "data", progress=lambda progress: threads.append(threading.current_thread()))
        assert set(threads) <= {threading.current_thread()}

        def fail(event):
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await client.create(on_event=fail)

    run(work)


def test_closed_and_deleted():
    async def main():
        client = AsyncClient()
        sandbox = await client.create()
        await sandbox.delete()
        with pytest.raises(SandboxNotFoundError):
            await sandbox.run(["true"])
        sandbox.close()
        with pytest.raises(ClosedError):
            await sandbox.run(["true"])
        await client.close()
        await client.close()
        with pytest.raises(ClosedError):
            await client.create()

    asyncio.run(main())


def test_wrong_settings_are_reported_by_each_use(monkeypatch):
    async def main():
        client = AsyncClient(isolation="none of them")
        for _ in range(2):
            with pytest.raises(SandboxError):
                await client.list()

    asyncio.run(main())
    monkeypatch.setenv("SANDBOX_TTL", "soon")
    with pytest.raises(ConfigError):
        asyncio.run(AsyncClient().list())


def test_an_operation_without_a_loop_is_never_started(sbx):
    async def main():
        sandbox = await AsyncClient().get(sbx.id)
        sandbox.close()
        return sandbox.run

    call = asyncio.run(main())
    coroutine = call(["true"])
    with pytest.raises(ClosedError):
        coroutine.send(None)


def test_exceptions_inside_async_with():
    ids = []

    async def main():
        async with AsyncClient() as client:
            async with await client.create() as sandbox:
                ids.append(sandbox.id)
                raise KeyError("mine")

    with pytest.raises(KeyError):
        asyncio.run(main())

    async def is_gone():
        async with AsyncClient() as client:
            return ids[0] not in [info.id for info in await client.list()]

    assert asyncio.run(is_gone())


def test_time_is_not_lost_to_delivery(sbx):
    async def main():
        async with AsyncClient() as client:
            sandbox = await client.get(sbx.id)
            await sandbox.run(["true"])
            start = time.monotonic()
            for _ in range(20):
                await sandbox.run(["true"])
            sandbox.close()
            return (time.monotonic() - start) / 20

    assert asyncio.run(main()) < 0.2
