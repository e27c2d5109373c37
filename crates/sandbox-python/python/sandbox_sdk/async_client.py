"""Clients, for asyncio."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from . import _sandbox
from ._arguments import Duration, texts
from ._calls import finish, finish_creation
from ._checks import text
from ._client_state import client_options
from ._create_options import CreateOptions, claim_options, create_options, pool_options
from ._progress import event_report
from ._sandbox import RawClient
from .async_handles import AsyncPool
from .async_sandbox import AsyncSandbox
from .exceptions import ClosedError
from .types import EventCallback, PreflightCheck, SandboxInfo, SweepReport

if TYPE_CHECKING:
    import asyncio

    from typing_extensions import Unpack

__all__ = ["AsyncClient"]


class AsyncClient:
    """Creates, finds and deletes sandboxes, as :class:`Client`, for asyncio. It is opened by its first use, or by
    ``async with``.

    >>> async def count():
    ...     async with AsyncClient() as client:
    ...         sandboxes = await asyncio.gather(*(client.create() for _ in range(3)))
    ...         await asyncio.gather(*(sandbox.delete() for sandbox in sandboxes))
    ...         return len(sandboxes)
    >>> asyncio.run(count())
    3
    """

    def __init__(
        self,
        *,
        env_file: str | os.PathLike[str] | None = None,
        backend: str | None = None,
        image: str | None = None,
        namespace: str | None = None,
        context: str | None = None,
        kubeconfig: str | os.PathLike[str] | None = None,
        state_dir: str | os.PathLike[str] | None = None,
        isolation: str | None = None,
    ) -> None:
        options = client_options(
            env_file=env_file,
            backend=backend,
            image=image,
            namespace=namespace,
            context=context,
            kubeconfig=kubeconfig,
            state_dir=state_dir,
            isolation=isolation,
        )
        self._options = options
        self._opening: asyncio.Future[RawClient] | None = None
        self._is_closed = False

    async def _open(self) -> RawClient:
        if self._is_closed:
            raise ClosedError("the client is closed")
        import asyncio

        # Several tasks may be the first to use it; a failure is not kept, so that the next use tries again. Read once:
        # an event loop of another thread may open it, too.
        opening = self._opening
        if opening is None or _is_lost(opening, asyncio.get_running_loop()):
            opening = self._opening = asyncio.ensure_future(finish(_sandbox.open_client(self._options)))
        return await asyncio.shield(opening)

    async def backend(self) -> str:
        """As :attr:`Client.backend`."""
        return (await self._open()).place()[0]

    async def location(self) -> str | None:
        """As :attr:`Client.location`."""
        return (await self._open()).place()[1]

    async def create(
        self,
        *,
        on_event: EventCallback | None = None,
        **options: Unpack[CreateOptions],
    ) -> AsyncSandbox:
        """As :meth:`Client.create`."""
        raw = await finish_creation((await self._open()).create(create_options(**options), event_report(on_event)))
        return AsyncSandbox(raw, is_owner=True, is_detached=bool(options.get("detached")))

    async def from_pool(
        self,
        pool: str,
        *,
        on_empty: str | Duration | None = None,
        on_event: EventCallback | None = None,
        **options: Unpack[CreateOptions],
    ) -> AsyncSandbox:
        """As :meth:`Client.from_pool`."""
        claim = claim_options(on_empty)
        raw = await finish_creation(
            (await self._open()).claim(text(pool, "pool"), create_options(**options), claim, event_report(on_event))
        )
        return AsyncSandbox(raw, is_owner=True, is_detached=bool(options.get("detached")))

    async def get(self, id: str) -> AsyncSandbox:
        """As :meth:`Client.get`."""
        return AsyncSandbox(await finish((await self._open()).connect(text(id, "id"))), is_owner=False)

    attach = get

    async def list(self, labels: Mapping[str, str] | None = None) -> list[SandboxInfo]:
        """As :meth:`Client.list`."""
        records = await finish((await self._open()).list(texts(labels, "labels")))
        return [SandboxInfo._from(record) for record in records]

    async def info(self, id: str) -> SandboxInfo:
        """As :meth:`Client.info`."""
        return SandboxInfo._from(await finish((await self._open()).info(text(id, "id"))))

    async def delete(self, id: str) -> None:
        """As :meth:`Client.delete`."""
        await finish((await self._open()).delete(text(id, "id")))

    async def pool(
        self,
        *,
        size: int,
        max_size: int | None = None,
        max_age: Duration | None = None,
        concurrency: int | None = None,
        on_empty: str | Duration = "create",
        **options: Unpack[CreateOptions],
    ) -> AsyncPool:
        """As :meth:`Client.pool`."""
        settings = pool_options(size, max_size, max_age, concurrency, on_empty)
        return AsyncPool(await finish((await self._open()).pool(create_options(**options), settings)))

    async def preflight(self, **options: Unpack[CreateOptions]) -> Sequence[PreflightCheck]:
        """As :meth:`Client.preflight`."""
        return [
            PreflightCheck(*check) for check in await finish((await self._open()).preflight(create_options(**options)))
        ]

    async def sweep(self, *, dry_run: bool = False) -> SweepReport:
        """As :meth:`Client.sweep`."""
        return SweepReport(*await finish((await self._open()).sweep(dry_run)))

    async def close(self) -> None:
        """As :meth:`Client.close`."""
        self._is_closed = True
        opening, self._opening = self._opening, None
        import asyncio

        if opening is None or _is_lost(opening, asyncio.get_running_loop()):
            return
        if not opening.done():
            # A failure is raised where the client is used, not here.
            await asyncio.wait([opening])
        if _has_failed(opening):
            return
        # What tasks that were cancelled just now have awaited is dropped by callbacks of the event loop.
        await asyncio.sleep(0)
        await finish(opening.result().settle())

    async def __aenter__(self) -> AsyncClient:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _is_lost(opening: asyncio.Future[RawClient], loop: asyncio.AbstractEventLoop) -> bool:
    """Whether there will be no client: the opening has failed, or was begun in an event loop that runs no more."""
    return _has_failed(opening) if opening.done() else opening.get_loop() is not loop


def _has_failed(opening: asyncio.Future[RawClient]) -> bool:
    return opening.cancelled() or opening.exception() is not None
