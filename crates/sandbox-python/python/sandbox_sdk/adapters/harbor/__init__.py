"""Sandboxes for Harbor (``harbor.environments``): each trial runs in one, local or on a cluster::

    harbor run --env sandbox_sdk.adapters.harbor:SandboxEnvironment --ek backend=k8s …

A task names an image that exists (``[environment].docker_image``): images are not built. What a task needs and a
sandbox does not have, such as GPUs, Docker Compose or a network policy that would not be enforced, is refused before it
starts.
"""

try:
    from harbor.environments.capabilities import EnvironmentCapabilities as _  # noqa: F401
except ImportError as error:
    raise ImportError(
        "sandbox_sdk.adapters.harbor needs a newer harbor, or there is none: pip install 'sandbox-sdk[harbor]'"
    ) from error

from .environment import SandboxEnvironment

__all__ = ["SandboxEnvironment"]
