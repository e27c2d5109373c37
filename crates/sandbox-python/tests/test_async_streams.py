"""Streams for asyncio: reads that are cancelled, or that another task ends."""

import asyncio

import pytest

from sandbox_sdk import AsyncClient, ClosedError


def run(work):
    """Runs a coroutine function with a new client and a new sandbox."""

    async def main():
        async with AsyncClient() as client, await client.create() as sandbox:
            # A read that has lost something waits for ever.
            return await asyncio.wait_for(work(client, sandbox), 60)

    return asyncio.run(main())


@pytest.mark.parametrize("limit", [0.0005, 0.002, 0.005])
@pytest.mark.parametrize("by_line", [False, True])
def test_cancelling_a_read_loses_no_output(limit, by_line):
    async def work(client, sbx):
        line = "for n in $(seq 300); do echo $n; sleep 0.001; done"
        process = await sbx.popen(line, shell=True, text=True)
        output = process.lines() if by_line else process
        text = ""
        while process.returncode is None:
            try:
                text += (await asyncio.wait_for(output.__anext__(), limit)).data
            except asyncio.TimeoutError:
                continue
            except StopAsyncIteration:
                break
        return text + "".join([data async for _, data in output])

    assert run(work).split() == [str(n) for n in range(1, 301)]


def test_cancelling_communicate_loses_no_output():
    async def work(client, sbx):
        process = await sbx.popen("for n in $(seq 100); do echo $n; sleep 0.001; done", shell=True, text=True)
        while True:
            try:
                return await asyncio.wait_for(process.communicate(), 0.005)
            except asyncio.TimeoutError:
                continue

    assert run(work)[0].split() == [str(n) for n in range(1, 101)]


def test_cancelling_a_wait_for_a_file_event_loses_none():
    async def work(client, sbx):
        await sbx.mkdir("watched")
        async with await sbx.watch("watched") as events:
            await sbx.start_job("for n in $(seq 100) end; do mkdir watched/$n; sleep 0.001; done", shell=True)
            found = []
            while "watched/end" not in found:
                try:
                    found.append((await asyncio.wait_for(events.__anext__(), 0.002)).path)
                except asyncio.TimeoutError:
                    continue
            return found

    assert run(work) == [f"watched/{n}" for n in [*range(1, 101), "end"]]


def test_closing_a_process_ends_what_another_task_waits_for():
    async def work(client, sbx):
        process = await sbx.popen(["sleep", "60"])
        reading = asyncio.create_task(process.__anext__())
        ending = asyncio.create_task(process.wait())
        await asyncio.sleep(0.05)
        await asyncio.wait_for(process.close(), 30)
        with pytest.raises(StopAsyncIteration):
            await reading
        with pytest.raises(ClosedError):
            await ending

    run(work)
