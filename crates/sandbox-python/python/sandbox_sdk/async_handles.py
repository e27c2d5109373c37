"""Jobs and pools, watches of files, and decisions about egress, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from ._arguments import Signal
from ._calls import finish, finish_creation, finish_item
from ._create_options import TakeOptions, take_options
from ._process_state import signal_operation
from ._sandbox import RawDecisions, RawJob, RawPool, RawWatch
from .async_process import AsyncProcess
from .types import EgressEvent, FileEvent, JobLog, PoolStatus

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .async_sandbox import AsyncSandbox

__all__ = ["AsyncEgressEvents", "AsyncFileWatch", "AsyncJob", "AsyncPool"]


class AsyncJob:
    """A command that outlives the program that started it, as :class:`Job`."""

    def __init__(self, raw: RawJob) -> None:
        self._raw = raw

    @property
    def id(self) -> str:
        """As :meth:`Job.id`."""
        return self._raw.id

    async def wait(self) -> int:
        """As :meth:`Job.wait`."""
        code: int = await finish(self._raw.wait())
        return code

    async def logs(self) -> JobLog:
        """As :meth:`Job.logs`."""
        return JobLog(*await finish(self._raw.logs()))

    async def follow(self, offset: int = 0) -> AsyncProcess[bytes]:
        """As :meth:`Job.follow`."""
        return AsyncProcess(await finish(self._raw.follow(offset)), None, None, "replace", has_stdin=False)

    async def send_signal(self, signal: Signal) -> None:
        """As :meth:`Job.send_signal`."""
        await finish(signal_operation(self._raw, signal))

    async def kill(self) -> None:
        """As :meth:`Job.kill`."""
        await self.send_signal("KILL")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"


class AsyncFileWatch:
    """The events of a directory, as :class:`FileWatch`. Created by :meth:`AsyncSandbox.watch`."""

    def __init__(self, raw: RawWatch) -> None:
        self._raw = raw

    def __aiter__(self) -> AsyncIterator[FileEvent]:
        return self

    async def __anext__(self) -> FileEvent:
        """As :meth:`FileWatch.__next__`. Cancelling it loses no event."""
        found = await finish_item(self._raw.next())
        if found is None:
            raise StopAsyncIteration
        return FileEvent(*found)

    async def close(self) -> None:
        """As :meth:`FileWatch.close`."""
        await finish(self._raw.close())

    async def __aenter__(self) -> AsyncFileWatch:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class AsyncEgressEvents:
    """The decisions about what a sandbox has asked to reach, as :class:`EgressEvents`. Created by
    :meth:`AsyncSandbox.egress_events`."""

    def __init__(self, raw: RawDecisions) -> None:
        self._raw = raw

    def __aiter__(self) -> AsyncIterator[EgressEvent]:
        return self

    async def __anext__(self) -> EgressEvent:
        """As :meth:`EgressEvents.__next__`. Cancelling it loses no decision."""
        found = await finish_item(self._raw.next())
        if found is None:
            raise StopAsyncIteration
        return EgressEvent._from(found)

    async def pending(self) -> list[EgressEvent]:
        """As :meth:`EgressEvents.pending`."""
        return [EgressEvent._from(record) for record in await finish_item(self._raw.pending()) or ()]


class AsyncPool:
    """Sandboxes that are ready before they are needed, as :class:`Pool`."""

    def __init__(self, raw: RawPool) -> None:
        self._raw = raw

    async def take(self, **options: Unpack[TakeOptions]) -> AsyncSandbox:
        """As :meth:`Pool.take`."""
        from .async_sandbox import AsyncSandbox

        return AsyncSandbox(await finish_creation(self._raw.take(take_options(**options))), is_owner=True)

    async def filled(self) -> None:
        """As :meth:`Pool.filled`."""
        await finish(self._raw.filled())

    def status(self) -> PoolStatus:
        """As :meth:`Pool.status`."""
        return PoolStatus(**self._raw.status())

    async def close(self) -> None:
        """As :meth:`Pool.close`."""
        await finish(self._raw.close())

    async def __aenter__(self) -> AsyncPool:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
