"""What a session's sandbox is made of, and what is kept of a session. Both are JSON, recognised by their ``type``."""

from __future__ import annotations

from typing import Any, Literal

from agents.sandbox.session.sandbox_client import BaseSandboxClientOptions
from agents.sandbox.session.sandbox_session_state import SandboxSessionState

TYPE: Literal["sandbox_sdk"] = "sandbox_sdk"
SESSION_ANNOTATION = "openai-agents.sandbox-sdk/session"
"""The annotation of a sandbox that names its session. A state whose sandbox lacks it is not trusted."""


class SdkSandboxClientOptions(BaseSandboxClientOptions):
    """The sandbox of a session. What is not given has the value of the client's settings (``SANDBOX_…``).

    Secrets do not belong here, because options are stored with the session: use ``Manifest.environment``.
    """

    type: Literal["sandbox_sdk"] = TYPE
    image: str | None = None
    """The image; local sandboxes have none."""
    cpu: str | float | None = None
    """Processors, such as ``0.5`` or ``"500m"``."""
    memory: str | int | None = None
    """Bytes, or an amount such as ``"512Mi"``."""
    disk: str | int | None = None
    """Bytes, or an amount."""
    pids: int | None = None
    """How many processes it may have."""
    labels: dict[str, str] | None = None
    """Labels to find it by."""
    backend_options: dict[str, Any] | None = None
    """Options of one backend, such as ``{"k8s": {"runtimeClass": "gvisor"}}``."""
    egress: str | None = None
    """What it may reach through this program: ``none``, ``packages``, ``internet`` or ``open`` (docs/EGRESS.md). If
    it is not given, the sandbox has the network of its backend: locally none."""
    egress_allow: tuple[str, ...] = ()
    """Rules that allow more, such as ``api.example.com:443``."""
    egress_deny: tuple[str, ...] = ()
    """Rules that deny, which are stronger."""
    egress_unverified: bool = False
    """Accept that a sandbox with a network of its own, such as a Pod, can reach more."""
    ttl: float | None = None
    """Seconds after which it ends."""
    max_lifetime: float | None = None
    """Seconds after which it ends in any case. 24 hours."""
    idle_timeout: float | None = None
    """Seconds without use after which it ends."""
    create_timeout: float | None = None
    """Seconds that its creation may take."""
    exposed_ports: tuple[int, ...] = ()
    """Ports that ``resolve_exposed_port`` forwards to this machine."""
    pause_on_exit: bool = False
    """Pause the sandbox at the end of the session, and do not delete it, so that it can be resumed by its id, also by
    another program. It ends with its ``ttl`` or ``max_lifetime``, or by ``AsyncClient.delete(state.sandbox_id)``."""


class SdkSandboxSessionState(SandboxSessionState):
    """What is kept of a session, to resume it."""

    type: Literal["sandbox_sdk"] = TYPE
    sandbox_id: str
    """The id of its sandbox."""
    sandbox_uid: str
    """The id of that instance, because an id can be reused."""
    options: SdkSandboxClientOptions
    """To create it again, if it is gone."""
