"""Creates, resumes and deletes sessions."""

from __future__ import annotations

import uuid
from typing import Any

from agents.sandbox.manifest import Manifest
from agents.sandbox.session.base_sandbox_session import BaseSandboxSession
from agents.sandbox.session.dependencies import Dependencies
from agents.sandbox.session.manager import Instrumentation
from agents.sandbox.session.sandbox_client import BaseSandboxClient
from agents.sandbox.session.sandbox_session import SandboxSession
from agents.sandbox.session.sandbox_session_state import SandboxSessionState
from agents.sandbox.snapshot import SnapshotBase, SnapshotSpec, resolve_snapshot

from ... import AsyncClient, AsyncSandbox, SandboxCreationError, SandboxNotFoundError
from .._home import find_home
from .session import SdkSandboxSession
from .state import SESSION_ANNOTATION, TYPE, SdkSandboxClientOptions, SdkSandboxSessionState

WORKSPACE_LIMIT = 1 << 30
"""The size in bytes beyond which a workspace is not kept as an archive."""


class SdkSandboxClient(BaseSandboxClient[SdkSandboxClientOptions | None]):
    """Gives each session a sandbox of its own: pass it as ``SandboxRunConfig(client=…)``.

    :param client: creates the sandboxes; without it, ``AsyncClient()`` with the settings of the environment.
    :param workspace_limit: refuse to keep or restore a workspace of more bytes than these. One GiB.
    """

    backend_id = TYPE
    supports_default_options = True

    def __init__(
        self,
        client: AsyncClient | None = None,
        *,
        workspace_limit: int = WORKSPACE_LIMIT,
        instrumentation: Instrumentation | None = None,
        dependencies: Dependencies | None = None,
    ) -> None:
        self._is_owner = client is None
        self._client = client or AsyncClient()
        self._workspace_limit = workspace_limit
        self._instrumentation = instrumentation or Instrumentation()
        self._dependencies = dependencies

    async def create(
        self,
        *,
        snapshot: SnapshotSpec | SnapshotBase | None = None,
        manifest: Manifest | None = None,
        options: SdkSandboxClientOptions | None = None,
    ) -> SandboxSession:
        """Create a sandbox for a new session, whose workspace is set up by ``session.start()``.

        The manifest's root is used as it is, unless it is the default and the sandbox's user cannot create it: then the
        workspace is the directory ``workspace`` in the home directory.

        :raises ValueError: the manifest grants paths of this machine, which a sandbox does not have.
        :raises SandboxCreationError: the sandbox could not be created; nothing is left behind.
        """
        options = options or SdkSandboxClientOptions()
        manifest = manifest or Manifest()
        refuse_host_paths(manifest)
        self._validate_manifest_for_create(manifest)
        session_id = uuid.uuid4()
        sandbox = await self._create_sandbox(options, session_id)
        try:
            manifest = await place_workspace(sandbox, manifest)
            state = SdkSandboxSessionState(
                session_id=session_id,
                manifest=manifest,
                snapshot=resolve_snapshot(snapshot, str(session_id)),
                exposed_ports=options.exposed_ports,
                sandbox_id=sandbox.id,
                sandbox_uid=sandbox.uid,
                options=options,
            )
        except BaseException:
            await sandbox.delete()
            raise
        return self._session(state, sandbox, is_new=True)

    async def resume(self, state: SandboxSessionState) -> SandboxSession:
        """Connect to the sandbox of a session, and continue it if it is paused. If it is gone, or is not that of the
        session, create another one, into which ``session.start()`` restores the snapshot.

        The state may come from storage that others can write, so the sandbox itself has to name the session.
        """
        if not isinstance(state, SdkSandboxSessionState):
            raise TypeError(f"{type(self).__name__}.resume expects an SdkSandboxSessionState")
        state.assert_path_grants_rebound()
        refuse_host_paths(state.manifest)
        sandbox = await self._find_sandbox(state)
        is_new = sandbox is None
        if sandbox is None:
            sandbox = await self._create_sandbox(state.options, state.session_id)
            state.sandbox_id, state.sandbox_uid = sandbox.id, sandbox.uid
            state.workspace_root_ready = False
        return self._session(state, sandbox, is_new=is_new)

    async def delete(self, session: SandboxSession) -> SandboxSession:
        """Delete the sandbox of a session, unless its option ``pause_on_exit`` keeps it.

        :raises SandboxDeletionError: it may still exist.
        """
        inner: BaseSandboxSession = session._inner
        if not isinstance(inner, SdkSandboxSession):
            raise TypeError(f"{type(self).__name__}.delete expects a session of this client")
        await inner.end_sandbox()
        return session

    def deserialize_session_state(self, payload: dict[str, object]) -> SandboxSessionState:
        """Read a state that ``serialize_session_state`` has written."""
        return self._deserialize_session_state_payload(payload, SdkSandboxSessionState)

    async def close(self) -> None:
        """Finish deletions that still run, and close the client of the SDK if this object has opened it."""
        if self._is_owner:
            await self._client.close()

    async def __aenter__(self) -> SdkSandboxClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _session(self, state: SdkSandboxSessionState, sandbox: AsyncSandbox, *, is_new: bool) -> SandboxSession:
        inner = SdkSandboxSession(state=state, sandbox=sandbox, workspace_limit=self._workspace_limit, is_new=is_new)
        inner._set_start_state_preserved(not is_new)
        return self._wrap_session(inner, instrumentation=self._instrumentation)

    async def _create_sandbox(self, options: SdkSandboxClientOptions, session_id: uuid.UUID) -> AsyncSandbox:
        return await self._client.create(
            image=options.image,
            cpu=options.cpu,
            memory=options.memory,
            disk=options.disk,
            pids=options.pids,
            labels=options.labels,
            annotations={SESSION_ANNOTATION: str(session_id)},
            backend_options=options.backend_options,
            **self._egress(options),
            ttl=options.ttl,
            max_lifetime=options.max_lifetime,
            idle_timeout=options.idle_timeout,
            create_timeout=options.create_timeout,
            # Otherwise it would end with this program.
            detached=options.pause_on_exit,
        )

    def _egress(self, options: SdkSandboxClientOptions) -> dict[str, Any]:
        """The rules, if there are any."""
        if options.egress is None and not options.egress_allow and not options.egress_deny:
            return {}
        return {
            "egress": options.egress,
            "egress_allow": options.egress_allow,
            "egress_deny": options.egress_deny,
            "egress_unverified": options.egress_unverified,
        }

    async def _find_sandbox(self, state: SdkSandboxSessionState) -> AsyncSandbox | None:
        try:
            info = await self._client.info(state.sandbox_id)
            is_that_of_the_session = info.annotations.get(SESSION_ANNOTATION) == str(state.session_id)
            if info.uid != state.sandbox_uid or info.state == "ended" or not is_that_of_the_session:
                return None
            sandbox = await self._client.get(state.sandbox_id)
            if info.is_paused or await sandbox.is_paused():
                await sandbox.resume(state.options.ttl)
            if egress := self._egress(state.options):
                # The program that carried it may have ended.
                await sandbox.serve_egress(**egress)
        except SandboxNotFoundError:
            return None
        return sandbox


async def place_workspace(sandbox: AsyncSandbox, manifest: Manifest) -> Manifest:
    """Give a manifest with the default root one that the sandbox's user can write."""
    default: Any = Manifest.model_fields["root"].default
    if manifest.root != default:
        return manifest
    probe = 'mkdir -p -- "$1" 2>/dev/null && [ -w "$1" ]'
    if (await sandbox.run(["sh", "-c", probe, "sh", default])).returncode == 0:
        return manifest
    home = await find_home(sandbox)
    if not home.startswith("/"):
        raise SandboxCreationError(
            f"sandbox {sandbox.id} can have no workspace: its user cannot create {default}, and its home directory is "
            f"{home!r}; set Manifest(root=…)",
            sandbox_id=sandbox.id,
            stage="personalise",
            reason="setup",
        )
    return manifest.model_copy(update={"root": f"{home.rstrip('/')}/workspace"}, deep=True)


def refuse_host_paths(manifest: Manifest) -> None:
    """Refuse what only a backend on this machine's own file system can do."""
    for grant in manifest.extra_path_grants:
        if getattr(grant, "host_path", None) is not None:
            raise ValueError(
                f"the manifest grants {grant.path} from a path of this machine, which a sandbox does not have; copy it "
                "into the workspace with a LocalDir entry"
            )
