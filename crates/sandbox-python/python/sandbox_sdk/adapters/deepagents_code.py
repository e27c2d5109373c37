"""Sandboxes for `Deep Agents Code <https://pypi.org/project/deepagents-code/>`_: ``dcode --sandbox sandbox-sdk``.

It needs ``pip install 'sandbox-sdk[deepagents-code]'``, and Python 3.12. Deep Agents Code finds the provider by its
entry point. Options of new sandboxes are in its ``config.toml``::

    [sandboxes.providers.sandbox-sdk]
    class_path = "sandbox_sdk.adapters.deepagents_code:SandboxSdkProvider"
    working_dir = "/tmp/workspace"
    params = {image = "python:3.12-slim", memory = "2Gi"}
"""

from __future__ import annotations

import threading
from typing import Any

from .._arguments import Duration
from ..client import Client
from ..exceptions import SandboxNotFoundError
from ..sandbox import Sandbox

try:
    from deepagents_code.integrations import sandbox_provider as dcode

    from .deepagents import SandboxBackend
except ImportError as error:
    raise ImportError(
        f"{error}: sandbox_sdk.adapters.deepagents_code needs Deep Agents Code; "
        "pip install 'sandbox-sdk[deepagents-code]'",
        name=error.name,
    ) from error

__all__ = ["SandboxSdkProvider"]

NAME = "sandbox-sdk"
WORKING_DIR = "/tmp/workspace"
"""Where agents work, in any image: Deep Agents Code must name the directory before there is a sandbox."""


class SandboxSdkProvider(dcode.SandboxProvider):
    """Creates, finds and deletes sandboxes where the variables ``SANDBOX_…`` say, also when Deep Agents Code fails. One
    that it has created ends with it at the latest, unless ``detached`` is among its options."""

    def __init__(self) -> None:
        # It is also created to ask for its description: so it opens the client only when that is needed.
        self._client: Client | None = None
        self._lock = threading.Lock()
        self._sandboxes: dict[str, Sandbox] = {}

    @property
    def metadata(self) -> dcode.SandboxProviderMetadata:
        """The description for Deep Agents Code."""
        return dcode.SandboxProviderMetadata(
            name=NAME,
            working_dir=WORKING_DIR,
            install=dcode.SandboxInstallHint(kind="package", name="sandbox-sdk[deepagents-code]"),
            supports_sandbox_id=True,
            supports_snapshot_name=False,
            backend_module="sandbox_sdk",
        )

    def get_or_create(
        self,
        *,
        sandbox_id: str | None = None,
        working_dir: str = WORKING_DIR,
        timeout: Duration | None = 1800,
        **options: Any,
    ) -> SandboxBackend:
        """Create a sandbox, or connect to the one with this id, and create its working directory.

        :param timeout: how many seconds a command may take that has no timeout of its own.
        :param options: options of :meth:`sandbox_sdk.Client.create`; one that exists takes none.
        :raises deepagents_code.integrations.sandbox_provider.SandboxNotFoundError: there is none with this id.
        :raises SandboxError: it could not be created, or the directory could not.
        """
        client = self._open()
        if sandbox_id is None:
            sandbox = client.create(**options)
        elif options:
            raise TypeError(f"a sandbox that exists takes no options of a new one: {', '.join(sorted(options))}")
        else:
            try:
                sandbox = client.get(sandbox_id)
            except SandboxNotFoundError as error:
                raise dcode.SandboxNotFoundError(sandbox_id) from error
        try:
            sandbox.mkdir(working_dir, parents=True)
        except BaseException:
            if sandbox_id is None:
                sandbox.delete()
            sandbox.close()
            raise
        # The handle that has created an attached sandbox is kept until its deletion: to forget it would be a warning.
        self._sandboxes.setdefault(sandbox.id, sandbox)
        return SandboxBackend(sandbox, working_dir=working_dir, timeout=timeout)

    def delete(self, *, sandbox_id: str, **_: Any) -> None:
        """Delete a sandbox.

        :raises deepagents_code.integrations.sandbox_provider.SandboxNotFoundError: there is none with this id.
        :raises SandboxDeletionError: it may still exist.
        """
        client = self._open()
        try:
            # Deleting what does not exist would succeed.
            client.info(sandbox_id)
        except SandboxNotFoundError as error:
            raise dcode.SandboxNotFoundError(sandbox_id) from error
        client.delete(sandbox_id)
        sandbox = self._sandboxes.pop(sandbox_id, None)
        if sandbox is not None:
            sandbox.close()

    def _open(self) -> Client:
        with self._lock:
            if self._client is None:
                self._client = Client()
            return self._client
