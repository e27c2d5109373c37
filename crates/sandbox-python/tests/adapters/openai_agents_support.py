"""What the tests of the client for the OpenAI Agents SDK share."""

import asyncio

from sandbox_sdk.adapters.openai_agents import SdkSandboxClient


def run(work, **options):
    """Runs a coroutine function with a session that has been started."""

    async def main():
        async with SdkSandboxClient() as client:
            async with await client.create(**options) as session:
                return await work(session)

    return asyncio.run(main())
