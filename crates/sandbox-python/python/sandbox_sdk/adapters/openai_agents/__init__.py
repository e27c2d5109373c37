"""Sandboxes for the OpenAI Agents SDK (``agents.sandbox``).

A ``SandboxAgent`` runs its commands and keeps its workspace in a sandbox of this SDK, local or on a cluster::

    client = SdkSandboxClient()
    config = RunConfig(sandbox=SandboxRunConfig(client=client, options=SdkSandboxClientOptions(ttl=3600)))
    result = await Runner.run(agent, "…", run_config=config)

Everything is there that the framework can use: commands with and without a terminal, files, snapshots of the workspace
as tar archives, exposed ports (forwarded to this machine's loopback interface), and resuming a session by the id of its
sandbox. A sandbox is deleted with its session, unless ``pause_on_exit`` keeps it.
"""

try:
    from agents.sandbox.session.base_sandbox_session import BaseSandboxSession as _  # noqa: F401
except ImportError as error:
    raise ImportError(
        "sandbox_sdk.adapters.openai_agents needs a newer openai-agents, or there is none: "
        "pip install 'sandbox-sdk[openai-agents]'"
    ) from error

from .client import SdkSandboxClient
from .session import SdkSandboxSession
from .state import SdkSandboxClientOptions, SdkSandboxSessionState

__all__ = ["SdkSandboxClient", "SdkSandboxClientOptions", "SdkSandboxSession", "SdkSandboxSessionState"]
