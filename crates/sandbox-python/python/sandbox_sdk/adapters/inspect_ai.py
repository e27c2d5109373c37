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

import logging
import os
import posixpath
import shlex
from typing import Any, Literal, overload

from .._arguments import seconds
from ..async_client import AsyncClient
from ..async_sandbox import AsyncSandbox
from ..exceptions import CommandTimeoutError, SandboxError, SandboxFileNotFoundError, SandboxNotFoundError
from ..types import FileInfo
from ._home import find_home

try:
    import anyio
    from inspect_ai.util import (
        ExecResult,
        SandboxConnection,
        SandboxEnvironment,
        SandboxEnvironmentConfigType,
        SandboxEnvironmentLimits,
        SandboxUnavailableError,
        sandboxenv,
    )
    from pydantic import BaseModel
    from typing_extensions import override

    from ._inspect_ai_config import CONFIG_FILE, SandboxConfig, SandboxOptions, read_config
    from ._inspect_ai_results import (
        check_regular,
        check_size,
        exec_result,
        raise_file_error,
        raise_if_unavailable,
        raise_if_user_unsupported,
    )
    from ._inspect_ai_run import Run, check_event_loop, current_run, label_value
except ImportError as error:
    raise ImportError(
        f"{error}: sandbox_sdk.adapters.inspect_ai needs Inspect; pip install 'sandbox-sdk[inspect-ai]'",
        name=error.name,
    ) from error

__all__ = ["SandboxConfig", "SandboxOptions", "SandboxSdkEnvironment"]

LABEL = "inspect-ai"
"""The label of all sandboxes of this provider."""
log = logging.getLogger(__name__)


@sandboxenv(name="sandbox-sdk")
class SandboxSdkEnvironment(SandboxEnvironment):
    """A sandbox of a sample.

    Programs are started directly, never by a shell. Relative paths begin at ``working_dir``, or at the home directory.
    Commands run as another user where the server in the sandbox is root; elsewhere that is refused with
    ``SandboxUserUnsupportedError``.
    """

    def __init__(self, sandbox: AsyncSandbox, options: SandboxOptions, config: SandboxConfig, run: Run) -> None:
        super().__init__()
        self.sandbox = sandbox
        """The sandbox, for what Inspect has no method for, such as ports and trees of files."""
        self._working_dir = options.working_dir
        self._config = config
        self._run = run
        self._home: str | None = None

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
        check_event_loop()
        await current_run().client(read_config(config)).backend()

    @override
    @classmethod
    async def sample_init(
        cls, task_name: str, config: SandboxEnvironmentConfigType | None, metadata: dict[str, str]
    ) -> dict[str, SandboxEnvironment]:
        """Create the sandboxes of a sample, all at once. If one fails, or the sample is cancelled, none is left.

        :raises SandboxCreationError: with the stage, the reason, and the latest events.
        """
        check_event_loop()
        settings = read_config(config)
        run = current_run()
        client = run.client(settings)
        labels = {LABEL: "sample", f"{LABEL}-task": label_value(task_name)}
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
        run = current_run()
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
        :raises SandboxUserUnsupportedError: there is no such user, or the sandbox cannot change to it.
        :raises SandboxUnavailableError: the sandbox has ended, or cannot be reached.
        """
        limit = SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE
        other = self._other_user(user)
        try:
            done = await self.sandbox.run(
                cmd,
                input=input.encode() if isinstance(input, str) else input,
                cwd=self._path(cwd or ".") if other is None else await self._absolute_path(cwd or "."),
                env=env,
                timeout=timeout,
                user=other,
                # The first and the last half are kept: so these are always the last bytes up to the limit.
                output_cap=2 * limit,
            )
        except CommandTimeoutError as error:
            raise TimeoutError(f"the command was killed after {seconds(timeout, 'timeout')} s") from error
        except SandboxError as error:
            raise_if_unavailable(error)
            if other is not None:
                raise_if_user_unsupported(error, other)
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

        :raises SandboxUserUnsupportedError: there is no such user, or the sandbox cannot change to it.
        :raises ConnectionError: the sandbox has ended.
        """
        other = self._other_user(user)
        try:
            await self.sandbox.info()
            await self.exec(["true"], user=other)
        except (SandboxError, SandboxUnavailableError) as error:
            raise ConnectionError(str(error)) from error
        command = ["sandbox", "exec", "-it", *(["--user", other] if other is not None else []), self.sandbox.id]
        line = ["env", *self._config.variables(), *command, "--", "/bin/sh", "-l"]
        return SandboxConnection(type="sandbox-sdk", command=shlex.join(line))

    def _path(self, file: str) -> str:
        return file if self._working_dir is None else posixpath.join(self._working_dir, file)

    async def _stat(self, path: str) -> FileInfo | None:
        try:
            return await self.sandbox.stat(path)
        except SandboxFileNotFoundError:
            return None

    async def _absolute_path(self, file: str) -> str:
        """The path for another user, whose home directory is another one."""
        if self._home is None:
            self._home = await find_home(self.sandbox)
        return posixpath.join(self._home, self._path(file))

    def _other_user(self, user: str | None) -> str | None:
        """The user that a command must change to."""
        return None if user == self.sandbox.initial_info.user else user

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
