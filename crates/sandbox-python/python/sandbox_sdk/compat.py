"""The class of the original Python SDK, so that a program only changes an import.

>>> from sandbox_sdk.compat import K8sSandboxSDK
>>> sdk = K8sSandboxSDK(backend="local")
>>> sandbox = sdk.create_sandbox()
>>> result = sdk.execute_command(sandbox["sandbox_id"], "echo hello; exit 3")
>>> result["stdout"], result["return_code"]
('hello\\n', 3)
>>> sdk.delete_sandbox(sandbox["sandbox_id"])
True
>>> sdk.close()

What is different is in docs/FROM-PYTHON.md: among others, each sandbox has keys of its own, so ``public_key`` and
``private_key`` are accepted and have no effect, and a command that takes too long is killed.
"""

from __future__ import annotations

import datetime
import os
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from .client import Client
from .exceptions import (
    CommandExecutionError,
    FileTransferError,
    SandboxCreationError,
    SandboxDeletionError,
    SandboxError,
    SandboxNotFoundError,
    SSHConnectionError,
)
from .sandbox import Sandbox
from .types import SandboxInfo, TransferProgress

__all__ = [
    "CommandExecutionError",
    "FileTransferError",
    "K8sSandboxSDK",
    "SSHConnectionError",
    "SandboxCreationError",
    "SandboxDeletionError",
    "SandboxError",
    "SandboxNotFoundError",
]

T = TypeVar("T")


class _Created(str):
    """What `create_sandbox` returns: the id, which also has the items of the dictionary that it was once."""

    _record: dict[str, Any]

    def __new__(cls, info: SandboxInfo) -> _Created:
        created = super().__new__(cls, info.id)
        created._record = _record(info)
        return created

    def __getitem__(self, key: Any) -> Any:
        return self._record[key] if isinstance(key, str) else super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        return self._record.get(key, default)


class _Result(dict[str, Any]):
    """What `execute_command` returns: a dictionary whose items are attributes, too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class K8sSandboxSDK:
    """The seven methods of the original SDK, which take an id. It may be used from many threads.

    :param namespace: the namespace of the cluster; that of the settings, if it is not given.
    :param backend: ``k8s``, as in the original, unless ``SANDBOX_BACKEND`` or this says otherwise.
    :param settings: other arguments of :class:`Client`.
    """

    def __init__(self, namespace: str | None = None, *, backend: str | None = None, **settings: Any) -> None:
        backend = backend or os.environ.get("SANDBOX_BACKEND") or "k8s"
        self._client = Client(backend=backend, namespace=namespace, **settings)
        self._sandboxes: dict[str, Sandbox] = {}
        self._lock = threading.Lock()

    def create_sandbox(
        self,
        public_key: str | None = None,
        image: str | None = None,
        cpu: str | None = None,
        memory: str | None = None,
        name_prefix: str | None = None,
        **options: Any,
    ) -> Any:
        """Create a sandbox. Returns its id, which has the items ``sandbox_id``, ``ip_address``, ``port`` and
        ``created_at``, too.

        :param public_key: no longer needed: a key is generated for each sandbox.
        :param options: other options of :meth:`Client.create`.
        :raises SandboxCreationError: it could not be created; nothing is left.
        """
        if name_prefix is not None and "name" not in options:
            options["name"] = f"{name_prefix}-{secrets.token_hex(4)}"
        create = lambda: self._client.create(image=image, cpu=cpu, memory=memory, **options)  # noqa: E731
        sandbox = _as(SandboxCreationError, create)
        with self._lock:
            self._sandboxes[sandbox.id] = sandbox
        return _Created(sandbox.initial_info)

    def delete_sandbox(self, sandbox_id: str) -> bool:
        """Delete a sandbox. Returns ``False`` if there was none.

        :raises SandboxDeletionError: it may still exist.
        """
        with self._lock:
            sandbox = self._sandboxes.pop(str(sandbox_id), None)
        try:
            if sandbox is not None:
                _as(SandboxDeletionError, sandbox.delete)
                return True
            self._client.info(str(sandbox_id))
        except SandboxNotFoundError:
            return False
        _as(SandboxDeletionError, lambda: self._client.delete(str(sandbox_id)))
        return True

    def shutdown_sandbox(self, sandbox_id: str) -> bool:
        """The same as :meth:`delete_sandbox`."""
        return self.delete_sandbox(sandbox_id)

    def execute_command(
        self,
        sandbox_id: str,
        *arguments: str,
        private_key: str | None = None,
        command: str | None = None,
        timeout: float = 30,
    ) -> Any:
        """Run a line in the sandbox's shell: ``execute_command(id, command)``, or with the private key before the
        command, as in the original. Returns a dictionary with ``stdout``, ``stderr`` and ``return_code``.

        :param private_key: no longer needed, and not used.
        :param timeout: seconds after which the command is killed.
        :raises SandboxNotFoundError: there is no such sandbox.
        :raises CommandExecutionError: it could not be run to its end. An exit code other than 0 is no error.
        """
        (line,), limit = _positional(arguments, private_key, {"command": command}, timeout)
        sandbox = self._sandbox(sandbox_id)
        done = _as(CommandExecutionError, lambda: sandbox.shell(line, text=True, timeout=limit))
        return _Result(stdout=done.stdout, stderr=done.stderr, return_code=done.returncode)

    def upload_file(
        self,
        sandbox_id: str,
        *arguments: str,
        private_key: str | None = None,
        local_path: str | None = None,
        remote_path: str | None = None,
        timeout: float = 60,
    ) -> bool:
        """Copy a file into a sandbox: ``upload_file(id, local_path, remote_path)``, or with the private key before.

        :raises FileTransferError: with the path and the reason.
        """
        paths = {"local_path": local_path, "remote_path": remote_path}
        (local, remote), limit = _positional(arguments, private_key, paths, timeout)
        sandbox = self._sandbox(sandbox_id)
        _as(FileTransferError, lambda: sandbox.upload(local, remote, progress=_Deadline(local, limit)))
        return True

    def download_file(
        self,
        sandbox_id: str,
        *arguments: str,
        private_key: str | None = None,
        remote_path: str | None = None,
        local_path: str | None = None,
        timeout: float = 60,
    ) -> bool:
        """Copy a file out of a sandbox: ``download_file(id, remote_path, local_path)``, or with the private key before.

        :raises FileTransferError: with the path and the reason.
        """
        paths = {"remote_path": remote_path, "local_path": local_path}
        (remote, local), limit = _positional(arguments, private_key, paths, timeout)
        sandbox = self._sandbox(sandbox_id)
        _as(FileTransferError, lambda: sandbox.download(remote, local, progress=_Deadline(remote, limit)))
        return True

    def get_sandbox_info(self, sandbox_id: str) -> dict[str, Any]:
        """Describe a sandbox: ``sandbox_id``, ``ip_address``, ``port``, ``status``, ``created_at`` and
        ``running_time`` in seconds.

        :raises SandboxNotFoundError: there is no such sandbox.
        """
        info = self._client.info(str(sandbox_id))
        age = datetime.datetime.now(datetime.timezone.utc) - info.created_at
        return {**_record(info), "status": info.state.capitalize(), "running_time": age.total_seconds()}

    def close(self) -> None:
        """Delete the sandboxes that were created here and still exist, and close the client."""
        with self._lock:
            sandboxes, self._sandboxes = list(self._sandboxes.values()), {}
        try:
            for sandbox in sandboxes:
                with sandbox:
                    pass
        finally:
            self._client.close()

    def __enter__(self) -> K8sSandboxSDK:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _sandbox(self, sandbox_id: str) -> Sandbox:
        """The handle of a sandbox, which is kept, so that the next call finds its connections open."""
        name = str(sandbox_id)
        with self._lock:
            sandbox = self._sandboxes.get(name)
        if sandbox is None:
            sandbox = self._client.get(name)
            with self._lock:
                sandbox = self._sandboxes.setdefault(name, sandbox)
        return sandbox


def _record(info: SandboxInfo) -> dict[str, Any]:
    return {
        "sandbox_id": info.id,
        "ip_address": info.address,
        "port": None if info.port is None else str(info.port),
        "created_at": info.created_at.isoformat(),
    }


class _Deadline:
    """Ends a transfer that takes too long, from its reports of progress."""

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._end = time.monotonic() + timeout

    def __call__(self, progress: TransferProgress) -> None:
        if time.monotonic() > self._end:
            raise FileTransferError(
                f"the transfer of {self._path!r} took longer than {self._timeout} s", path=self._path, reason="other"
            )


def _positional(
    arguments: tuple[Any, ...], private_key: str | None, named: dict[str, str | None], timeout: float
) -> tuple[list[str], float]:
    """Sort positional arguments, which may begin with a private key and end with a timeout."""
    given = list(arguments)
    if given and isinstance(given[-1], (int, float)):
        timeout = given.pop()
    missing = [name for name, value in named.items() if value is None]
    if private_key is None and len(given) == len(missing) + 1:
        given.pop(0)
    if len(given) != len(missing):
        raise TypeError(f"expected {', '.join(named)}, got {len(arguments)} positional arguments")
    values = dict(named, **dict(zip(missing, given, strict=True)))
    return [value for value in values.values() if value is not None], timeout


def _as(kind: type[SandboxError], call: Callable[[], T]) -> T:
    """Make a call whose errors are of this kind, as the original's were. Those that programs tell apart stay."""
    try:
        return call()
    except (kind, SandboxNotFoundError, SSHConnectionError):
        raise
    except SandboxError as error:
        raised = kind(error.message, sandbox_id=error.sandbox_id, causes=error.causes, is_retryable=error.is_retryable)
        raise raised from error
