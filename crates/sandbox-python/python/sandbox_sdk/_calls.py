"""How a call is made: by a thread that waits, or by an event loop."""

from __future__ import annotations

from typing import Any

from ._sandbox import Operation


def wait(operation: Operation) -> Any:
    """Make a call and block until its end. Ctrl-C ends it."""
    return operation.wait()


async def finish(operation: Operation) -> Any:
    """Make a call without blocking. Cancelling the task drops it."""
    # Programs without asyncio need not wait for its import.
    import asyncio

    return await operation.start(asyncio.get_running_loop())


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
