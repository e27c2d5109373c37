"""How a call is made: by a thread that waits, or by an event loop."""

from __future__ import annotations

from typing import Any

from ._sandbox import Operation, RawItem


def wait(operation: Operation) -> Any:
    """Make a call and block until its end. Ctrl-C ends it."""
    return operation.wait()


async def finish(operation: Operation) -> Any:
    """Make a call without blocking. Cancelling the task drops it."""
    # Programs without asyncio need not wait for its import.
    import asyncio

    return await operation.start(asyncio.get_running_loop())


def wait_for_item(operation: Operation) -> Any:
    """Wait for the next item of a stream; ``None`` is its end."""
    item: RawItem | None = operation.wait()
    return None if item is None else item.take()


async def finish_item(operation: Operation) -> Any:
    """Wait for the next item of a stream; ``None`` is its end. If the task is cancelled at the moment when
    the item was handed over, the next call gets it."""
    import asyncio

    future = operation.start(asyncio.get_running_loop())
    try:
        item: RawItem | None = await future
    except BaseException:
        if future.done() and not future.cancelled() and future.exception() is None:
            left = future.result()
            if left is not None:
                left.give_back()
        raise
    return None if item is None else item.take()


async def finish_creation(operation: Operation) -> Any:
    """Make a call that creates a sandbox. If the task is cancelled at the moment when the sandbox was handed over, it
    is deleted, because the caller never sees it."""
    import asyncio

    future = operation.start(asyncio.get_running_loop())
    try:
        return await future
    except asyncio.CancelledError:
        if future.done() and not future.cancelled() and future.exception() is None:
            future.result().delete_soon()
        raise
