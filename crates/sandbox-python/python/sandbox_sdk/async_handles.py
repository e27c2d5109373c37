"""Jobs and pools, for asyncio."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ._arguments import Args, Duration, Signal, take_options
from ._calls import finish, finish_creation
from ._process_state import signal_operation
from ._sandbox import RawJob, RawPool
from .async_process import AsyncProcess
from .types import JobLog, PoolStatus

if TYPE_CHECKING:
    from .async_sandbox import AsyncSandbox

__all__ = ["AsyncJob", "AsyncPool"]


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


class AsyncPool:
    """Sandboxes that are ready before they are needed, as :class:`Pool`."""

    def __init__(self, raw: RawPool) -> None:
        self._raw = raw

    async def take(
        self,
        *,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        secret_env: Mapping[str, str] | None = None,
        init: Iterable[str | Args] = (),
        ttl: Duration | None = None,
        on_expiry: str | None = None,
    ) -> AsyncSandbox:
        """As :meth:`Pool.take`."""
        from .async_sandbox import AsyncSandbox

        options = take_options(labels, annotations, env, secret_env, init, ttl, on_expiry)
        return AsyncSandbox(await finish_creation(self._raw.take(options)), is_owner=True)

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
