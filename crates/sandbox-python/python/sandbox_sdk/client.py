"""Clients."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from . import _sandbox
from ._arguments import Duration, texts
from ._calls import wait
from ._checks import text
from ._client_state import client_options
from ._create_options import CreateOptions, claim_options, create_options, pool_options
from ._progress import event_report
from ._sandbox import RawClient
from .exceptions import ClosedError
from .handles import Pool
from .sandbox import Sandbox
from .types import EventCallback, PreflightCheck, SandboxInfo, SweepReport

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Client"]


class Client:
    """Creates, finds and deletes sandboxes. Methods may be called from many threads at once.

    Settings come from the environment variables ``SANDBOX_…``; arguments take precedence. Without any, sandboxes run on
    this machine.

    >>> with Client() as client, client.create() as sandbox:
    ...     sandbox.run(["echo", "hello"]).stdout
    b'hello\\n'

    :param env_file: read settings from this file as well. The environment takes precedence over it.
    :param backend: ``local`` or ``k8s``.
    :param image: the default image of sandboxes.
    :param namespace: the namespace of the cluster; also ``context`` and ``kubeconfig`` are as kubectl has them.
    :param state_dir: the directory of local sandboxes.
    :param isolation: of local sandboxes: ``auto``, ``namespaces``, ``landlock`` or ``none``.
    :raises ConfigError: settings are invalid.
    """

    def __init__(
        self,
        *,
        env_file: str | os.PathLike[str] | None = None,
        backend: str | None = None,
        image: str | None = None,
        namespace: str | None = None,
        context: str | None = None,
        kubeconfig: str | os.PathLike[str] | None = None,
        state_dir: str | os.PathLike[str] | None = None,
        isolation: str | None = None,
    ) -> None:
        options = client_options(
            env_file=env_file,
            backend=backend,
            image=image,
            namespace=namespace,
            context=context,
            kubeconfig=kubeconfig,
            state_dir=state_dir,
            isolation=isolation,
        )
        self._handle: RawClient | None = wait(_sandbox.open_client(options))

    @property
    def _raw(self) -> RawClient:
        # Read once: another thread may close it.
        handle = self._handle
        if handle is None:
            raise ClosedError("the client is closed")
        return handle

    @property
    def backend(self) -> str:
        """``local`` or ``k8s``."""
        return self._raw.place()[0]

    @property
    def location(self) -> str | None:
        """Where sandboxes are created, such as the context and the namespace of a cluster."""
        return self._raw.place()[1]

    def create(
        self,
        *,
        on_event: EventCallback | None = None,
        **options: Unpack[CreateOptions],
    ) -> Sandbox:
        """Create a sandbox, and return when SSH answers in it. If that fails, or Ctrl-C ends it, nothing is left.

        >>> with client.create(labels={"team": "ml"}, env={"MODE": "ci"}, ttl=1800) as sandbox:
        ...     sandbox.shell("echo $MODE", text=True).stdout
        'ci\\n'

        An option that the backend cannot apply is never ignored: it raises :class:`UnsupportedError`.

        :param name: its id, instead of a generated one.
        :param image: the container image, such as ``python:3.12-slim``. Local sandboxes have none.
        :param cpu: processors, such as ``"500m"`` or ``2``.
        :param memory: bytes, such as ``"512Mi"``; and so is ``disk``.
        :param pids: the largest number of processes and threads.
        :param labels: to find it with :meth:`list`.
        :param annotations: facts that are kept with it.
        :param env: variables of all commands, stored in the sandbox.
        :param secret_env: the same, but kept in the memory of this program.
        :param init: commands to run first: lines of the shell, or lists of a program and its arguments.
        :param ttl: seconds until it ends; :meth:`Sandbox.extend` moves that.
        :param max_lifetime: seconds until it ends in any case. 24 hours.
        :param idle_timeout: seconds without use until it ends.
        :param create_timeout: seconds that the creation may take. Five minutes.
        :param on_expiry: at the end of ``ttl``: ``end`` or ``pause``.
        :param egress: let it reach, through this program, what a preset allows: ``none``, ``packages``, ``internet`` or
            ``open``. See docs/EGRESS.md. Without it, it has the network of its backend: locally none.
        :param egress_allow: rules that allow more, such as ``["api.example.com:443", "10.0.0.0/8"]``.
        :param egress_deny: rules that deny, which are stronger.
        :param egress_upstreams: let it use HTTPS services with secrets that stay in this program, such as
            ``[Upstream("openai", secret=key)]``. They need no rules.
        :param egress_transforms: the same for programs that have the address of one host built in, such as
            ``[HostTransform("api.example.com", secret=key, variable="API_KEY")]``. Not with rules
            that allow every host.
        :param egress_unverified: accept that a sandbox with a network of its own, such as a Pod, can reach more.
        :param detached: let it outlive this program. Otherwise it ends when no client is connected any more.
        :param backend_options: options that only one backend has, such as ``{"k8s": {...}}``.
        :param on_event: called for each step, in the thread that waits. If it raises, the creation ends with that.
        :raises TypeError: there is no such option, or its value is of a wrong type.
        :raises SandboxCreationError: with the stage, the reason, the latest events and the end of the log.
        """
        raw = wait(self._raw.create(create_options(**options), event_report(on_event)))
        return Sandbox(raw, is_owner=True, is_detached=bool(options.get("detached")))

    def from_pool(
        self,
        pool: str,
        *,
        on_empty: str | Duration | None = None,
        on_event: EventCallback | None = None,
        **options: Unpack[CreateOptions],
    ) -> Sandbox:
        """Claim a sandbox from a pool that processes share, such as one that ``sandbox pool run`` fills.

        :param on_empty: if none waits: ``create`` one, ``fail``, or wait this many seconds. Without it, waits as long
            as a creation may take.
        :param options: options of :meth:`create` that can be given to a sandbox that exists.
        :raises PoolEmptyError: none waits.
        :raises UnsupportedError: the backend has no shared pools.
        """
        claim = claim_options(on_empty)
        raw = wait(self._raw.claim(text(pool, "pool"), create_options(**options), claim, event_report(on_event)))
        return Sandbox(raw, is_owner=True, is_detached=bool(options.get("detached")))

    def get(self, id: str) -> Sandbox:
        """Connect to a sandbox that exists, also one of another program.

        >>> client.get(sbx.id).uid == sbx.uid
        True

        :raises SandboxNotFoundError: there is none.
        :raises SSHConnectionError: it does not answer.
        """
        return Sandbox(wait(self._raw.connect(text(id, "id"))), is_owner=False)

    attach = get

    def list(self, labels: Mapping[str, str] | None = None) -> list[SandboxInfo]:
        """List the sandboxes that have all of these labels, oldest first."""
        records = wait(self._raw.list(texts(labels, "labels")))
        return [SandboxInfo._from(record) for record in records]

    def info(self, id: str) -> SandboxInfo:
        """Describe a sandbox, without connecting to it.

        :raises SandboxNotFoundError: there is none.
        """
        return SandboxInfo._from(wait(self._raw.info(text(id, "id"))))

    def delete(self, id: str) -> None:
        """Delete a sandbox by its id. One that does not exist is no error, as with :meth:`Sandbox.delete`."""
        wait(self._raw.delete(text(id, "id")))

    def pool(
        self,
        *,
        size: int,
        max_size: int | None = None,
        max_age: Duration | None = None,
        concurrency: int | None = None,
        on_empty: str | Duration = "create",
        **options: Unpack[CreateOptions],
    ) -> Pool:
        """Start a pool of sandboxes that wait until this program takes them.

        :param size: how many wait; with ``max_size`` at least, and as many as are taken, up to that.
        :param max_age: seconds after which one that waits is replaced.
        :param concurrency: how many are created at once.
        :param on_empty: if none waits: ``create`` one, ``fail``, or wait this many seconds.
        :param options: options of :meth:`create`, for all of them.
        """
        settings = pool_options(size, max_size, max_age, concurrency, on_empty)
        return Pool(wait(self._raw.pool(create_options(**options), settings)))

    def preflight(self, **options: Unpack[CreateOptions]) -> Sequence[PreflightCheck]:
        """Check whether a sandbox with these options of :meth:`create` could be created, without creating one."""
        return [PreflightCheck(*check) for check in wait(self._raw.preflight(create_options(**options)))]

    def sweep(self, *, dry_run: bool = False) -> SweepReport:
        """Remove what ended sandboxes have left.

        :param dry_run: only report it.
        """
        return SweepReport(*wait(self._raw.sweep(dry_run)))

    def close(self) -> None:
        """Close the client, after waiting at most ten seconds until what interrupted calls have left is removed.
        Sandboxes and pools stay usable."""
        handle, self._handle = self._handle, None
        if handle is not None:
            wait(handle.settle())

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        handle = self._handle
        return f"<{type(self).__name__} {'closed' if handle is None else handle.place()[0]}>"
