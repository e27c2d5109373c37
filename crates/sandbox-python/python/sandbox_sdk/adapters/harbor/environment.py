"""The environment of a trial: one sandbox."""

from __future__ import annotations

import contextlib
import os
from typing import Any, ClassVar, NoReturn

from harbor.environments.base import ExecResult
from harbor.environments.capabilities import EnvironmentCapabilities, EnvironmentResourceCapabilities
from harbor.environments.definition import parse_dockerfile_workdir
from harbor.environments.ssh import SSHAccess, StreamHandle
from harbor.models.task.config import NetworkMode, NetworkPolicy
from harbor.models.trial.config import ResourceMode
from harbor.models.trial.paths import EnvironmentPaths

from ... import AsyncClient, AsyncSandbox, CommandTimeoutError, SandboxError, SandboxNotFoundError
from ..._command import find_command
from .._home import find_home
from .files import FilesOfEnvironment
from .network import ENTRY_KINDS, egress_rules
from .options import SandboxOptions
from .output import Text
from .places import VARIABLE, Places
from .stream import Reference, open_ssh

TIMED_OUT = 124
"""The exit code of a command that ran longer than its timeout, as that of timeout(1)."""
ANNOTATION = "harbor.sandbox-sdk"
"""The prefix of the annotations with which a sandbox names its trial."""
COMPOSE_FILES = ("docker-compose.yaml", "docker-compose.yml")


class SandboxEnvironment(FilesOfEnvironment):
    """A sandbox in which a trial runs. Its options are :class:`SandboxOptions`.

    On a cluster it runs the image of the task, as root if the security profile permits that. A local sandbox has no
    image, one ordinary user, and a root directory that cannot be written: there ``/logs``, ``/tests`` and the like are
    in the directory that ``$HARBOR_ROOT`` names (:class:`Places`), and what Harbor does as root is done as that user.
    """

    options_model = SandboxOptions
    options: SandboxOptions
    # Trials with the same settings share connections to the API server.
    _clients: ClassVar[dict[tuple[str | None, ...], AsyncClient]] = {}

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        chosen = {name: keywords[name] for name in SandboxOptions.model_fields if name in keywords}
        options = type(self).parse_options(chosen)
        assert isinstance(options, SandboxOptions)
        # The checks of the base class need these.
        self.options = options
        self._backend = options.backend or os.environ.get("SANDBOX_BACKEND") or "local"
        self._isolation = options.isolation or os.environ.get("SANDBOX_LOCAL_ISOLATION") or "auto"
        super().__init__(*arguments, **keywords)
        self._sandbox: AsyncSandbox | None = None
        self._places: Places | None = None
        self._shell = "sh"
        self._first_rules = self._find_first_rules()
        self._workdir: str | None = None
        self._home: str | None = None

    # -- what it is, and what it refuses

    @staticmethod
    def type() -> str:
        return "sandbox-sdk"

    @property
    def _is_local(self) -> bool:
        return self._backend == "local"

    @property
    def _image(self) -> str | None:
        return self.options.image or self.task_env_config.docker_image

    @property
    def capabilities(self) -> EnvironmentCapabilities:
        """A local sandbox has no network unless it has no isolation, and with namespaces one by rules. The creation of
        a Pod with rules fails unless its cluster enforces them."""
        has_rules = not self._is_local or self._isolation in ("auto", "namespaces")
        return EnvironmentCapabilities(
            disable_internet=not self._is_local or self._isolation != "none",
            network_allowlist=has_rules,
            **{f"network_allowlist_{kind}": has_rules for kind in ENTRY_KINDS},
            dynamic_network_policy=has_rules,
            # The keys of a Pod that ends with its program are with that program only.
            stream=self._is_local or self.options.detached,
        )

    @classmethod
    def resource_capabilities(cls) -> EnvironmentResourceCapabilities:
        return EnvironmentResourceCapabilities(
            cpu_limit=True, cpu_request=True, memory_limit=True, memory_request=True, fractional_cpus=True
        )

    def _validate_definition(self) -> None:
        """Refuse a task that needs what sandboxes do not have.

        :raises ValueError: it needs Docker Compose; or an image that would have to be built, or any image in a local
            sandbox; or a processor or memory of this machine that is reserved, and not only limited.
        """
        for name in COMPOSE_FILES:
            if (self.environment_dir / name).exists():
                self._refuse(f"it is defined by {name}, and sandboxes do not run Docker Compose")
        has_dockerfile = (self.environment_dir / "Dockerfile").exists()
        if not self._is_local:
            if self._image is None:
                what = "it has a Dockerfile, and images are not built" if has_dockerfile else "it names no image"
                self._refuse(f"{what}: push one, and name it in [environment].docker_image or the option image")
            return
        if self.options.image is not None:
            self._refuse("local sandboxes have no image: leave the option image out, or use backend=k8s")
        if (has_dockerfile or self._image) and not self.options.host_programs:
            self._refuse(
                "it has an image, and local sandboxes have none: use backend=k8s, or host_programs=true to run it with "
                "the programs of this machine"
            )
        reserved = {ResourceMode.REQUEST, ResourceMode.GUARANTEE}
        if reserved & {self._cpu_resource_mode, self._memory_resource_mode}:
            self._refuse("nothing can be reserved for a local sandbox: use the enforcement policy limit, or auto")

    def _refuse(self, why: str) -> NoReturn:
        raise ValueError(f"the task {self.environment_name} cannot run in {self.type()}: {why}")

    # -- its life

    async def start(self, force_build: bool) -> None:
        """Create the sandbox, with the directories that Harbor needs. If that fails or is cancelled, nothing is left.

        :raises ValueError: the image is to be built.
        :raises RuntimeError: the sandbox's user cannot create the directories, or its network cannot be cut.
        :raises SandboxCreationError: it could not be created.
        """
        if force_build:
            self._refuse("images are not built: leave --force-build out")
        await self.stop(delete=True)
        sandbox = await self._create()
        try:
            self._sandbox = sandbox
            await self._set_up(sandbox)
        except BaseException:
            self._sandbox = None
            with contextlib.suppress(SandboxNotFoundError):
                await sandbox.delete()
            raise

    async def stop(self, delete: bool) -> None:
        """Delete the sandbox. With ``delete=False`` it is kept, which needs the option ``detached``.

        :raises SandboxDeletionError: it may still exist.
        """
        sandbox, self._sandbox = self._sandbox, None
        if sandbox is None:
            return
        if delete:
            with contextlib.suppress(SandboxNotFoundError):
                await sandbox.delete()
        elif self.options.detached:
            self.logger.info("sandbox %s is kept: sandbox exec -it %s -- sh", sandbox.id, sandbox.id)
        else:
            self.logger.warning("sandbox %s ends soon after this program; keep one with detached=true", sandbox.id)
        sandbox.close()

    async def _create(self) -> AsyncSandbox:
        options = self.options
        key = (self._backend, self._isolation, options.namespace, options.context, options.kubeconfig)
        if key not in self._clients:
            self._clients[key] = AsyncClient(
                backend=self._backend,
                isolation=self._isolation if self._is_local else None,
                namespace=options.namespace,
                context=options.context,
                kubeconfig=options.kubeconfig,
            )
        backend_options = dict(options.backend_options or {})
        cpu, memory = self._amount("cpu"), self._amount("memory")
        requests = {name: value for name, value in (("cpu", cpu[1]), ("memory", memory[1])) if value is not None}
        if requests:
            pod = dict(backend_options.get("k8s") or {})
            backend_options["k8s"] = pod | {"requests": requests | pod.get("requests", {})}
        storage = self._effective_storage_mb
        if storage is not None and self._is_local:
            self.logger.warning("the storage of a local sandbox is not limited to the %d MiB of the task", storage)
        return await self._clients[key].create(
            image=None if self._is_local else self._image,
            cpu=cpu[0],
            memory=memory[0],
            disk=None if storage is None or self._is_local else f"{storage}Mi",
            annotations={f"{ANNOTATION}/session": self.session_id, f"{ANNOTATION}/task": self.environment_name},
            backend_options=backend_options or None,
            **self._first_rules,
            ttl=options.ttl,
            create_timeout=options.create_timeout,
            detached=options.detached,
        )

    def _find_first_rules(self) -> dict[str, Any]:
        """The egress rules at the start. Without any, a Pod has the network of its cluster, and a local sandbox none.

        :raises ValueError: the allow-list of any phase names this machine.
        """
        policies = [self._network_policy, *self._phase_network_policies]
        first, *_ = [self._rules(policy) for policy in policies]
        own = NetworkMode.NO_NETWORK if self._is_local else NetworkMode.PUBLIC
        is_own = all(policy.network_mode == own for policy in policies)
        return {} if is_own or not self.capabilities.dynamic_network_policy else first

    def _rules(self, policy: NetworkPolicy) -> dict[str, Any]:
        return egress_rules(policy, self.options.public_egress, self.options.egress_allow)

    async def _apply_network_policy(self, network_policy: NetworkPolicy) -> None:
        """Replace the rules. Connections that the new ones refuse are closed."""
        change = self._running().update_egress if self._first_rules else self._running().serve_egress
        await change(**self._rules(network_policy))

    def _amount(self, resource: Any) -> tuple[str | None, str | None]:
        """How much of a resource is the limit, and how much is requested apart from that. What is limited in a Pod is
        requested, too. In a local sandbox nothing is limited unless the policy says so."""
        value = self._resource_value(resource)
        mode = self._resource_mode(resource)
        if value is None or (self._is_local and mode == ResourceMode.AUTO):
            return None, None
        amount = f"{value:g}" if resource == "cpu" else f"{value}Mi"
        return (None, amount) if mode == ResourceMode.REQUEST else (amount, None)

    async def _set_up(self, sandbox: AsyncSandbox) -> None:
        info = sandbox.initial_info
        if self._network_disabled and not self._first_rules:
            if info.isolation not in ("namespaces", "landlock"):
                raise RuntimeError(
                    f"sandbox {sandbox.id} has isolation {info.isolation}, which does not cut its network"
                )
            # The settings of this program may give every sandbox a way out. Nothing untrusted has run in it yet.
            if (await sandbox.run(["sh", "-c", '[ -z "$HTTP_PROXY" ]'])).returncode:
                raise RuntimeError(
                    f"SANDBOX_EGRESS gives sandbox {sandbox.id} a network, and the task has none: unset it"
                )
        if self._network_is_public and self._is_local and self._isolation != "none":
            reach = f"what the egress preset {self.options.public_egress} allows" if self._first_rules else "nothing"
            self.logger.warning("the network of the task is public, and its local sandbox can reach %s", reach)
        dockerfile = self.environment_dir / "Dockerfile"
        self._workdir = self.task_env_config.workdir or parse_dockerfile_workdir(dockerfile)
        paths = EnvironmentPaths.for_os(self.os)
        fixed = (paths.agent_dir, paths.verifier_dir, paths.artifacts_dir, paths.tests_dir, paths.solution_dir)
        directories = [str(path) for path in fixed] + self._mount_targets(writable_only=True)
        if self._workdir is not None:
            directories.append(self._workdir)
        self._home = await find_home(sandbox)
        if self._is_local:
            self._places = Places(f"{self._home}/harbor", directories)
            if self._workdir is not None:
                self._workdir = self._places.path(self._workdir)
        found = await sandbox.run(["sh", "-c", "command -v bash >/dev/null && echo bash"], cwd="/")
        self._shell = "bash" if found.stdout == b"bash\n" else "sh"
        # The working directory may not exist yet.
        workdir, self._workdir = self._workdir, "/"
        made = await self.ensure_dirs(directories)
        self._workdir = workdir
        if made is not None and made.return_code:
            reason = (made.stderr or "no reason is given").strip().splitlines()[0]
            raise RuntimeError(
                f"the user {info.user} of sandbox {sandbox.id} cannot create the directories that Harbor needs: "
                f"{reason!r}; a task needs root, which the security profile baseline permits "
                '(backend_options={"k8s": {"securityProfile": "baseline"}}) if the image has it'
            )
        await self._upload_environment()

    async def _upload_environment(self) -> None:
        """Upload what is in ``environment/`` beside the definition of an image, as for a task with a ready image."""
        if not self._is_local:
            await self._upload_environment_dir_after_start()
            return
        directory = self.environment_dir
        if self._enable_environment_dir_upload and directory.is_dir() and not (directory / "Dockerfile").exists():
            await self.upload_dir(directory, self._workdir or ".")

    # -- commands

    async def exec(
        self,
        command: str,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        timeout_sec: int | None = None,
        user: str | int | None = None,
    ) -> ExecResult:
        """Run a line of the shell (``bash`` if there is one). It begins in the working directory of the task, or in the
        home directory. A command that a signal has ended has 128 and its number as exit code, one that ran longer than
        ``timeout_sec`` seconds is killed and has 124. Of each stream the first and the last 8 MiB are kept.

        :raises UnsupportedError: another user is to run it, and the sandbox's server is not root.
        :raises RefusedError: there is no such user.
        :raises SandboxError: the sandbox has ended, or the connection was lost. The command is not repeated.
        """
        sandbox = self._running()
        runner = self._user(sandbox, self._resolve_user(user))
        variables = self._merge_env(env) or {}
        directory = cwd or self._workdir
        if self._places is not None:
            command = self._places.text(command)
            variables = {name: self._places.text(value) for name, value in variables.items()}
            variables.setdefault(VARIABLE, self._places.root)
            directory = None if directory is None else self._places.path(directory)
        callback = self._output_callback()
        streams = {"stdout": Text("stdout"), "stderr": Text("stderr")}
        notices: list[str] = []
        process = await sandbox.popen(
            [self._shell, "-c", command], cwd=directory, env=variables, timeout=timeout_sec or None, user=runner
        )
        try:
            async for chunk in process:
                await streams[chunk.stream].push(chunk.data, callback)
            code = process.returncode or 0
        except CommandTimeoutError:
            code = TIMED_OUT
            notices.append(f"the command was killed after {timeout_sec} s")
        except BaseException:
            with contextlib.suppress(SandboxError):
                await process.kill()
            raise
        finally:
            await process.close()
        stdout, stderr = [await stream.finish(callback) for stream in streams.values()]
        stderr += "".join(f"\n[sandbox: {notice}]" for notice in process.notices + notices)
        return ExecResult(stdout=stdout, stderr=stderr, return_code=code if code >= 0 else 128 - code)

    def _user(self, sandbox: AsyncSandbox, user: str | int | None) -> str | int | None:
        """The user of a command, if it is not the sandbox's own. Harbor asks for root to be sure to have enough rights,
        which the one user of a local sandbox has."""
        is_own = user is None or str(user) == sandbox.initial_info.user
        return None if is_own or (self._is_local and str(user) in ("root", "0")) else user

    async def attach(self) -> None:
        """Replace this program by a shell in the sandbox, which has to be detached on a cluster."""
        sandbox, command = self._running(), find_command()
        if command is None:
            raise RuntimeError("the command sandbox is not installed: install this package from its wheel")
        settings = {
            "SANDBOX_BACKEND": self._backend,
            "SANDBOX_NAMESPACE": self.options.namespace,
            "SANDBOX_KUBE_CONTEXT": self.options.context,
            "SANDBOX_KUBECONFIG": self.options.kubeconfig,
        }
        environment = os.environ | {name: value for name, value in settings.items() if value is not None}
        os.execve(command, [command, "exec", "-it", sandbox.id, "--", self._shell], environment)

    @property
    def stream_handle(self) -> StreamHandle:
        """With which :meth:`connect_ssh` reaches the sandbox, also in another program."""
        sandbox = self._running()
        reference = Reference(
            id=sandbox.id,
            uid=sandbox.uid,
            backend="local" if self._is_local else "k8s",
            namespace=self.options.namespace,
            context=self.options.context,
        )
        workspace = self._workdir or self._home
        return StreamHandle(provider=self.type(), reference=reference.model_dump(), workspace=workspace)

    @classmethod
    def connect_ssh(cls, handle: StreamHandle) -> contextlib.AbstractAsyncContextManager[SSHAccess]:
        """Reach a sandbox with OpenSSH: commands, and ports of it. It needs ``ssh`` on this machine."""
        return open_ssh(handle)
