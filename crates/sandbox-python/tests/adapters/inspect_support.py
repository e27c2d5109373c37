"""What the tests of the provider for Inspect share."""

import asyncio
import contextlib

from sandbox_sdk.adapters.inspect_ai import SandboxSdkEnvironment


@contextlib.asynccontextmanager
async def sample(config=None, interrupted=False):
    """The sandboxes of a sample, as Inspect creates and deletes them."""
    await SandboxSdkEnvironment.task_init("task", config)
    try:
        environments = await SandboxSdkEnvironment.sample_init("task", config, {})
        try:
            yield environments
        finally:
            await SandboxSdkEnvironment.sample_cleanup("task", config, environments, interrupted)
    finally:
        await SandboxSdkEnvironment.task_cleanup("task", config, True)


def in_sample(work, config=None):
    """Runs a coroutine function with the default sandbox of a sample."""

    async def main():
        async with sample(config) as environments:
            return await work(environments["default"])

    return asyncio.run(main())
