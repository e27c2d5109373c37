"""What an evaluation of Inspect has open."""

from __future__ import annotations

import asyncio
import re
from contextvars import ContextVar
from typing import TYPE_CHECKING

from ..async_client import AsyncClient
from ._inspect_ai_config import SandboxConfig

if TYPE_CHECKING:
    from .inspect_ai import SandboxSdkEnvironment


class Run:
    """What an evaluation has open: its clients by their settings, and its sandboxes by their uid."""

    def __init__(self) -> None:
        self.clients: dict[str, AsyncClient] = {}
        self.environments: dict[str, SandboxSdkEnvironment] = {}

    def client(self, config: SandboxConfig) -> AsyncClient:
        options = config.client_options()
        key = repr(options)
        if key not in self.clients:
            self.clients[key] = AsyncClient(**options)
        return self.clients[key]

    async def close(self) -> None:
        while self.clients:
            _, client = self.clients.popitem()
            await client.close()


_run: ContextVar[Run | None] = ContextVar("sandbox_sdk_inspect_ai_run", default=None)


def current_run() -> Run:
    """The evaluation of this task. Tasks that it starts inherit it."""
    run = _run.get()
    if run is None:
        run = Run()
        _run.set(run)
    return run


def check_event_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError("sandbox-sdk needs asyncio: run Inspect with INSPECT_ASYNC_BACKEND=asyncio") from None


def label_value(name: str) -> str:
    """A name as Kubernetes allows it as the value of a label."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name)[:63].strip("-")
