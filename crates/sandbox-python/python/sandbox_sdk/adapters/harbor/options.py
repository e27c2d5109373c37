"""What a user can set with ``--ek NAME=VALUE``."""

from __future__ import annotations

from typing import Any, Literal

from harbor.environments.options import EnvironmentOptions
from pydantic import Field


class SandboxOptions(EnvironmentOptions):
    """The options of :class:`SandboxEnvironment`. What is not given is decided by the variables ``SANDBOX_…``."""

    backend: Literal["local", "k8s"] | None = Field(default=None, description="Where sandboxes are.")
    isolation: Literal["auto", "namespaces", "landlock", "none"] | None = Field(
        default=None, description="How local sandboxes are isolated."
    )
    namespace: str | None = Field(default=None, description="The namespace in the cluster.")
    context: str | None = Field(default=None, description="The context of the kubeconfig.")
    kubeconfig: str | None = Field(default=None, description="The path of the kubeconfig.")
    image: str | None = Field(default=None, description="An image in place of the one that the task names or builds.")
    host_programs: bool = Field(
        default=False,
        description="In a local sandbox, use this machine's programs in place of the image of the task.",
    )
    backend_options: dict[str, Any] | None = Field(
        default=None, description='Options of one backend, such as {"k8s": {"securityProfile": "baseline"}}.'
    )
    public_egress: Literal["internet", "open", "packages", "none"] = Field(
        default="internet", description="The egress preset of a phase whose network is public."
    )
    egress_allow: list[str] = Field(
        default_factory=list, description="Egress rules that are added to the allow-lists of tasks."
    )
    ttl: float | None = Field(default=None, description="Seconds after which the sandbox ends in any case.")
    create_timeout: float | None = Field(default=None, description="Seconds that its creation may take.")
    detached: bool = Field(
        default=False, description="Let the sandbox outlive this program, so that --no-delete can keep it."
    )
