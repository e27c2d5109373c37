"""The home directory of a sandbox's user."""

from __future__ import annotations

from ..async_sandbox import AsyncSandbox


async def find_home(sandbox: AsyncSandbox) -> str:
    """Return what the backend knows, or ask: its image and its server decide that of a Pod. Commands begin there.

    :raises CommandExecutionError: it cannot be entered.
    """
    return sandbox.initial_info.home or (await sandbox.run(["pwd"], text=True, check=True)).stdout.removesuffix("\n")
