"""Sandboxes for `Inspect <https://inspect.aisi.org.uk>`_: the provider ``sandbox-sdk``.

.. code-block:: python

    from inspect_ai import Task
    from inspect_ai.util import SandboxEnvironmentSpec
    from sandbox_sdk.adapters.inspect_ai import SandboxConfig

    Task(..., sandbox="sandbox-sdk")
    Task(..., sandbox=("sandbox-sdk", "sandbox-sdk.yaml"))
    Task(..., sandbox=SandboxEnvironmentSpec("sandbox-sdk", SandboxConfig(image="python:3.12-slim", memory="1Gi")))

It needs ``pip install 'sandbox-sdk[inspect-ai]'``. Inspect finds it by its entry point.
"""

from __future__ import annotations

import asyncio
import logging
import os
import posixpath
import re
import shlex
from contextvars import ContextVar
from typing import Any, Literal, overload

from .._arguments import seconds
from ..async_client import AsyncClient
from ..async_sandbox import AsyncSandbox
from ..exceptions import CommandTimeoutError, SandboxError, SandboxFileNotFoundError, SandboxNotFoundError
from ..types import FileInfo

try:
    import anyio
    from inspect_ai.util import (
        ExecResult,
        SandboxConnection,
        SandboxEnvironment,
        SandboxEnvironmentConfigType,
        SandboxEnvironmentLimits,
        SandboxUserUnsupportedError,
        sandboxenv,
    )
    from pydantic import BaseModel
    from typing_extensions import override

    from ._inspect_ai_config import CONFIG_FILE, SandboxConfig, SandboxOptions, read_config
    from ._inspect_ai_results import check_regular, check_size, exec_result, raise_file_error, raise_if_unavailable
except ImportError as error:
    raise ImportError(
        f"{error}: sandbox_sdk.adapters.inspect_ai needs Inspect; pip install 'sandbox-sdk[inspect-ai]'",
        name=error.name,
    ) from error

__all__ = ["SandboxConfig", "SandboxOptions", "SandboxSdkEnvironment"]

LABEL = "inspect-ai"
"""The label of all sandboxes of this provider."""
log = logging.getLogger(__name__)


class _Run:
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


_run: ContextVar[_Run | None] = ContextVar("sandbox_sdk_inspect_ai_run", default=None)


def _current_run() -> _Run:
    """The evaluation of this task. Tasks that it starts inherit it."""
    run = _run.get()
    if run is None:
        run = _Run()
        _run.set(run)
    return run


@sandboxenv(name="sandbox-sdk")
class SandboxSdkEnvironment(SandboxEnvironment):
    """A sandbox of a sample.

    Programs are started directly, never by a shell. Relative paths begin at ``working_dir``, or at the home directory.
    A sandbox has one user: commands for another one are refused with ``SandboxUserUnsupportedError``.
    """

    def __init__(self, sandbox: AsyncSandbox, options: SandboxOptions, config: SandboxConfig, run: _Run) -> None:
        super().__init__()
        self.sandbox = sandbox
        """The sandbox, for what Inspect has no method for, such as ports and trees of files."""
        self._working_dir = options.working_dir
        self._config = config
        self._run = run
        self._uid: str | None = None

    # What Inspect asks of the provider.

    @override
    @classmethod
    def config_files(cls) -> list[str]:
        return [CONFIG_FILE]

    @override
    @classmethod
    def config_deserialize(cls, config: dict[str, Any]) -> BaseModel:
        return SandboxConfig.model_validate(config)

    @override
    @classmethod
    def default_concurrency(cls) -> int | None:
        """Twice as many local sandboxes as there are processors, as for Docker. A cluster has quotas."""
        is_local = os.environ.get("SANDBOX_BACKEND", "local") == "local"
        return 2 * (os.cpu_count() or 1) if is_local else None

    @override
    def default_polling_interval(self) -> float:
        return 0.2

    # From the beginning of a task to its end.

    @override
    @classmethod
    async def task_init(cls, task_name: str, config: SandboxEnvironmentConfigType | None) -> None:
        """Check the configuration, and that the backend can be used, before the first sample.

        :raises ValueError: the configuration is invalid.
        :raises SandboxError: the backend cannot be used.
        """
        _check_event_loop()
        await _current_run().client(read_config(config)).backend()

    @override
    @classmethod
    async def sample_init(
        cls, task_name: str, config: SandboxEnvironmentConfigType | None, metadata: dict[str, str]
    ) -> dict[str, SandboxEnvironment]:
        """Create the sandboxes of a sample, all at once. If one fails, or the sample is cancelled, none is left.

        :raises SandboxCreationError: with the stage, the reason, and the latest events.
        """
        _check_event_loop()
        settings = read_config(config)
        run = _current_run()
        client = run.client(settings)
        labels = {LABEL: "sample", f"{LABEL}-task": _label_value(task_name)}
        created: dict[str, SandboxSdkEnvironment] = {}
        failures: list[SandboxError] = []

        async def create(name: str, options: SandboxOptions) -> None:
            try:
                sandbox = await client.create(labels=labels, detached=settings.detached, **options.create_options())
            except SandboxError as error:
                failures.append(error)
                group.cancel_scope.cancel()
                return
            created[name] = cls(sandbox, options, settings, run)
            run.environments[sandbox.uid] = created[name]

        try:
            async with anyio.create_task_group() as group:
                for name, options in settings.all().items():
                    group.start_soon(create, name, options)
            if failures:
                raise failures[0]
        except BaseException:
            await _delete(list(created.values()))
            raise
        # The first is the default.
        return {name: created[name] for name in settings.all()}

    @override
    @classmethod
    async def sample_cleanup(
        cls,
        task_name: str,
        config: SandboxEnvironmentConfigType | None,
        environments: dict[str, SandboxEnvironment],
        interrupted: bool,
    ) -> None:
        """Delete the sandboxes of a sample, also of one that has failed or was cancelled. What cannot be deleted is
        logged, and tried again at the end of the task."""
        await _delete([environment.as_type(SandboxSdkEnvironment) for environment in environments.values()])

    @override
    @classmethod
    async def task_cleanup(cls, task_name: str, config: SandboxEnvironmentConfigType | None, cleanup: bool) -> None:
        """Delete what is left of the evaluation, or with ``--no-sandbox-cleanup`` say how to reach and delete it.

        :raises SandboxError: something could not be deleted.
        """
        run = _current_run()
        left = list(run.environments.values())
        try:
            if cleanup:
                failures = await _delete(left)
                if failures:
                    raise failures[0]
            else:
                for environment in left:
                    environment._leave()
        finally:
            with anyio.CancelScope(shield=True):
                await run.close()

    @override
    @classmethod
    async def cli_cleanup(cls, id: str | None) -> None:
        """``inspect sandbox cleanup sandbox-sdk [ID]``: delete one sandbox of this provider, or all, also those of
        evaluations that are still running. It looks where the variables ``SANDBOX_…`` say.

        :raises SandboxNotFoundError: there is none with this id.
        """
        async with AsyncClient() as client:
            found = [info.id for info in await client.list({LABEL: "sample"})]
            if id is not None:
                if id not in found:
                    raise SandboxNotFoundError(f"there is no sandbox {id} of Inspect", sandbox_id=id)
                found = [id]
            for name in found:
                await client.delete(name)
                print(f"deleted sandbox {name}")
            if not found:
                print("there are no sandboxes of Inspect")

    # What tools and scorers ask of a sandbox.

    @override
    async def exec(
        self,
        cmd: list[str],
        input: str | bytes | None = None,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
        timeout: int | None = None,
        timeout_retry: bool = True,
        concurrency: bool = True,
    ) -> ExecResult[str]:
        """Run a program to its end. It is never run a second time: ``timeout_retry`` has no effect, and neither has
        ``concurrency``, which is about processes of this machine.

        Output that is not UTF-8 is decoded with U+FFFD. A signal is 128 plus its number as ``returncode``.

        :param timeout: seconds after which its process group is killed.
        :raises TimeoutError: it ran longer.
        :raises PermissionError: it may not be executed.
        :raises OutputLimitExceededError: with the last 10 MiB (``SandboxEnvironmentLimits``) of each stream.
        :raises SandboxUserUnsupportedError: the user is not that of the sandbox.
        :raises SandboxUnavailableError: the sandbox has ended, or cannot be reached.
        """
        await self._check_user(user)
        limit = SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE
        try:
            done = await self.sandbox.run(
                cmd,
                input=input.encode() if isinstance(input, str) else input,
                cwd=self._path(cwd or "."),
                env=env,
                timeout=timeout,
                # The first and the last half are kept: so these are always the last bytes up to the limit.
                output_cap=2 * limit,
            )
        except CommandTimeoutError as error:
            raise TimeoutError(f"the command was killed after {seconds(timeout, 'timeout')} s") from error
        except SandboxError as error:
            raise_if_unavailable(error)
            raise
        return exec_result(cmd, done, limit)

    @override
    async def write_file(self, file: str, contents: str | bytes) -> None:
        """Write a file, and create the directories above it. An existing one is replaced at once, with its mode.

        :raises PermissionError: the user may not write it.
        :raises IsADirectoryError: it is a directory.
        :raises SandboxUnavailableError: the sandbox has ended, or cannot be reached.
        """
        path = self._path(file)
        data = contents.encode() if isinstance(contents, str) else contents
        try:
            info = await self._stat(path)
            if info is not None:
                check_regular(info, file)
                # The file is replaced, which needs only the permission for its directory.
                await self.sandbox.append_bytes(path, b"")
            else:
                await self.sandbox.mkdir(posixpath.dirname(path) or ".", parents=True)
            await self.sandbox.write_bytes(path, data)
        except SandboxError as error:
            raise_file_error(error, file)

    @overload
    async def read_file(self, file: str, text: Literal[True] = True) -> str: ...

    @overload
    async def read_file(self, file: str, text: Literal[False]) -> bytes: ...

    @override
    async def read_file(self, file: str, text: bool = True) -> str | bytes:
        """Read a file of at most 100 MiB (``SandboxEnvironmentLimits``). Line ends are kept.

        :raises FileNotFoundError: there is none.
        :raises UnicodeDecodeError: with ``text``, it is not UTF-8.
        :raises PermissionError: the user may not read it.
        :raises IsADirectoryError: it is a directory.
        :raises OutputLimitExceededError: it is larger.
        :raises SandboxUnavailableError: the sandbox has ended, or cannot be reached.
        """
        path = self._path(file)
        try:
            info = await self.sandbox.stat(path)
            check_regular(info, file)
            check_size(info.size)
            data = await self.sandbox.read_bytes(path)
        except SandboxError as error:
            raise_file_error(error, file)
        # It may have grown, and files of /proc have no size.
        check_size(len(data))
        return data.decode("utf-8") if text else data

    @override
    async def connection(self, *, user: str | None = None) -> SandboxConnection:
        """How a person opens a shell in it, on this machine.

        :raises SandboxUserUnsupportedError: the user is not that of the sandbox.
        :raises ConnectionError: the sandbox has ended.
        """
        try:
            await self.sandbox.info()
            await self._check_user(user)
        except SandboxError as error:
            raise ConnectionError(str(error)) from error
        command = ["env", *self._config.variables(), "sandbox", "exec", "-it", self.sandbox.id, "--", "/bin/sh", "-l"]
        return SandboxConnection(type="sandbox-sdk", command=shlex.join(command))

    def _path(self, file: str) -> str:
        return file if self._working_dir is None else posixpath.join(self._working_dir, file)

    async def _stat(self, path: str) -> FileInfo | None:
        try:
            return await self.sandbox.stat(path)
        except SandboxFileNotFoundError:
            return None

    async def _check_user(self, user: str | None) -> None:
        """Refuse another user than that of the sandbox, which can be given by name or by number."""
        if user is None or user == self.sandbox.initial_info.user:
            return
        if self._uid is None:
            done = await self.sandbox.run(["id", "-u"], output_cap=64, timeout=30)
            self._uid = done.stdout.decode("ascii", "replace").strip()
        if user not in (self._uid, "root" if self._uid == "0" else None):
            raise SandboxUserUnsupportedError(
                f"cannot run as user {user!r}: all commands of the sandbox run as {self.sandbox.initial_info.user!r}"
            )

    def _leave(self) -> None:
        """Keep the sandbox, and say how to reach it."""
        how_long = "" if self._config.detached else ", for about a minute; set `detached: true` to keep it longer"
        print(f"sandbox {self.sandbox.id} is left{how_long}: sandbox exec -it {self.sandbox.id} -- sh")
        print(f"delete it with: inspect sandbox cleanup sandbox-sdk {self.sandbox.id}")
        self._forget()

    def _forget(self) -> None:
        self._run.environments.pop(self.sandbox.uid, None)
        self.sandbox.close()


async def _delete(environments: list[SandboxSdkEnvironment]) -> list[SandboxError]:
    """Delete sandboxes, also while the task is being cancelled. Returns what has failed."""
    failures: list[SandboxError] = []

    async def delete(environment: SandboxSdkEnvironment) -> None:
        try:
            await environment.sandbox.delete()
        except SandboxError as error:
            log.warning("sandbox %s may still exist: %s", environment.sandbox.id, error)
            failures.append(error)
        else:
            environment._forget()

    with anyio.CancelScope(shield=True):
        async with anyio.create_task_group() as group:
            for environment in environments:
                group.start_soon(delete, environment)
    return failures


def _check_event_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError("sandbox-sdk needs asyncio: run Inspect with INSPECT_ASYNC_BACKEND=asyncio") from None


def _label_value(name: str) -> str:
    """A name as Kubernetes allows it as the value of a label."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name)[:63].strip("-")
