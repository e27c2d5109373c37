"""Sandboxes, for asyncio."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ._arguments import Duration, certain_seconds, forward_options, seconds, texts
from ._async_sandbox_commands import AsyncSandboxCommands
from ._async_sandbox_files import AsyncSandboxFiles
from ._calls import finish
from ._checks import optional_number
from ._create_options import egress_options, transform_list, upstream_list
from ._host_transform import HostTransform
from ._upstream import Upstream
from .async_handles import AsyncEgressEvents
from .handles import Forward
from .types import Diagnosis, SandboxInfo, Usage

__all__ = ["AsyncSandbox"]


class AsyncSandbox(AsyncSandboxCommands, AsyncSandboxFiles):
    """An isolated place to run commands and keep files for a while, as :class:`Sandbox`. Created by
    :meth:`AsyncClient.create`. Cancelling a task drops the call that it awaits: a command is ended, a half-written file
    is removed.

    >>> async def greet():
    ...     async with AsyncClient() as client, await client.create() as sandbox:
    ...         return (await sandbox.run(["echo", "hello"])).stdout
    >>> asyncio.run(greet())
    b'hello\\n'
    """

    async def forward(self, port: int, *, host: str = "127.0.0.1", local_port: int = 0) -> Forward:
        """As :meth:`Sandbox.forward`."""
        return Forward(await finish(self._raw.forward(*forward_options(port, host, local_port))))

    def egress_rules(self) -> str | None:
        """As :meth:`Sandbox.egress_rules`."""
        return self._raw.egress().rules()

    async def update_egress(
        self, egress: str | None = None, *, egress_allow: Iterable[str] = (), egress_deny: Iterable[str] = ()
    ) -> None:
        """As :meth:`Sandbox.update_egress`."""
        rules = egress_options(egress=egress, egress_allow=egress_allow, egress_deny=egress_deny)
        await finish(self._raw.egress().update(rules))

    async def serve_egress(
        self,
        egress: str | None = None,
        *,
        egress_allow: Iterable[str] = (),
        egress_deny: Iterable[str] = (),
        egress_upstreams: Iterable[Upstream] = (),
        egress_transforms: Iterable[HostTransform] = (),
        egress_unverified: bool = False,
    ) -> None:
        """As :meth:`Sandbox.serve_egress`."""
        rules = egress_options(egress=egress, egress_allow=egress_allow, egress_deny=egress_deny)
        upstreams, transforms = upstream_list(egress_upstreams), transform_list(egress_transforms)
        await finish(self._raw.egress().serve(rules, upstreams, transforms, egress_unverified))

    async def stop_egress(self) -> None:
        """As :meth:`Sandbox.stop_egress`."""
        await finish(self._raw.egress().stop())

    def egress_events(self) -> AsyncEgressEvents:
        """As :meth:`Sandbox.egress_events`."""
        return AsyncEgressEvents(self._raw.egress().decisions())

    async def info(self) -> SandboxInfo:
        """As :meth:`Sandbox.info`."""
        return SandboxInfo._from(await finish(self._raw.info()))

    async def extend(self, ttl: Duration) -> SandboxInfo:
        """As :meth:`Sandbox.extend`."""
        return SandboxInfo._from(await finish(self._raw.extend(certain_seconds(ttl, "ttl"))))

    async def set_ttl(self, ttl: Duration) -> SandboxInfo:
        """As :meth:`Sandbox.set_ttl`."""
        return SandboxInfo._from(await finish(self._raw.set_ttl(certain_seconds(ttl, "ttl"))))

    async def set_on_expiry(self, on_expiry: str) -> None:
        """As :meth:`Sandbox.set_on_expiry`."""
        await finish(self._raw.set_on_expiry(on_expiry))

    async def annotate(self, annotations: Mapping[str, str]) -> SandboxInfo:
        """As :meth:`Sandbox.annotate`."""
        return SandboxInfo._from(await finish(self._raw.annotate(texts(annotations, "annotations"))))

    async def pause(self) -> bool:
        """As :meth:`Sandbox.pause`."""
        changed: bool = await finish(self._raw.pause())
        return changed

    async def resume(self, ttl: Duration | None = None) -> bool:
        """As :meth:`Sandbox.resume`."""
        changed: bool = await finish(self._raw.resume(seconds(ttl, "ttl")))
        return changed

    async def is_paused(self) -> bool:
        """As :meth:`Sandbox.is_paused`."""
        paused: bool = await finish(self._raw.is_paused())
        return paused

    async def usage(self) -> Usage:
        """As :meth:`Sandbox.usage`."""
        return Usage._from(await finish(self._raw.usage()))

    async def diagnose(self) -> Diagnosis:
        """As :meth:`Sandbox.diagnose`."""
        return Diagnosis._from(await finish(self._raw.diagnose()))

    async def logs(self, tail: int | None = None) -> str:
        """As :meth:`Sandbox.logs`."""
        log: str = await finish(self._raw.logs(optional_number(tail, "tail")))
        return log

    async def delete(self) -> None:
        """As :meth:`Sandbox.delete`."""
        await finish(self._raw.delete())
        self._release()

    async def shutdown(self) -> None:
        """As :meth:`Sandbox.shutdown`."""
        await self.delete()

    def close(self) -> None:
        """As :meth:`Sandbox.close`."""
        self._close()

    async def __aenter__(self) -> AsyncSandbox:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._handle is None:
            return
        try:
            if self._is_owner:
                await self.delete()
        finally:
            self._close()
