"""What the tests of Harbor's environments share."""

import asyncio

from harbor.models.task.config import NetworkMode, NetworkPolicy

from sandbox_sdk import SandboxError
from sandbox_sdk.adapters.harbor import SandboxEnvironment

IMPORT_PATH = "sandbox_sdk.adapters.harbor:SandboxEnvironment"
NO_NETWORK = NetworkPolicy(network_mode=NetworkMode.NO_NETWORK)
PUBLIC = NetworkPolicy()


def allow_list(*hosts: str) -> NetworkPolicy:
    return NetworkPolicy(network_mode=NetworkMode.ALLOWLIST, allowed_hosts=list(hosts))


def run(environment, work):
    """Runs a coroutine function with a started environment."""

    async def main():
        await environment.start(force_build=False)
        try:
            return await work(environment)
        finally:
            await environment.stop(delete=True)

    return asyncio.run(main())


class Recorder:
    """A client that keeps what it was asked to create."""

    def __init__(self):
        self.asked = {}

    async def create(self, **options):
        self.asked = options
        raise SandboxError("enough")


def record_creation(environment: SandboxEnvironment, *key: str | None) -> dict:
    """Starts an environment whose client has this key, and returns what it was asked to create."""
    recorder = SandboxEnvironment._clients[key] = Recorder()
    try:
        asyncio.run(environment.start(force_build=False))
    except SandboxError as error:
        assert "enough" in str(error)
    return recorder.asked
