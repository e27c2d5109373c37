"""What an evaluation of Inspect can say about its sandboxes, in code or in a file ``sandbox-sdk.yaml``."""

from __future__ import annotations

import pathlib
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

CONFIG_FILE = "sandbox-sdk.yaml"
VARIABLES = {
    "backend": "SANDBOX_BACKEND",
    "namespace": "SANDBOX_NAMESPACE",
    "context": "SANDBOX_KUBE_CONTEXT",
    "kubeconfig": "SANDBOX_KUBECONFIG",
    "isolation": "SANDBOX_LOCAL_ISOLATION",
}
"""The settings of a client, by their names here."""


class SandboxOptions(BaseModel):
    """One sandbox of a sample. What is not given has the default of :meth:`sandbox_sdk.Client.create`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str | None = None
    """The container image. Local sandboxes have none."""
    cpu: str | float | None = None
    """Processors, such as ``"500m"`` or 2."""
    memory: str | int | None = None
    """Bytes, such as ``"512Mi"``; and so is ``disk``."""
    disk: str | int | None = None
    pids: int | None = None
    """The largest number of processes and threads."""
    env: dict[str, str] = Field(default_factory=dict)
    """Variables of all commands."""
    init: tuple[str | tuple[str, ...], ...] = ()
    """Commands to run first: lines of the shell, or lists of a program and its arguments."""
    working_dir: str | None = None
    """Where commands run, and where relative paths begin; it must exist. The home directory if it is not given."""
    ttl: float | None = None
    """Seconds until it ends if it is not deleted before; the others are in seconds as well."""
    max_lifetime: float | None = None
    idle_timeout: float | None = None
    create_timeout: float | None = None
    """Seconds that the creation may take."""
    egress: str | None = None
    """What it may reach through this program: ``none``, ``packages``, ``internet`` or another preset."""
    egress_allow: tuple[str, ...] = ()
    """Rules that allow more, such as ``api.example.com:443``."""
    egress_deny: tuple[str, ...] = ()
    """Rules that deny, which are stronger."""
    egress_unverified: bool = False
    """Accept that a sandbox with a network of its own, such as a Pod, can reach more."""
    backend_options: dict[str, Any] | None = None
    """Options that only one backend has, such as ``{"k8s": {...}}``."""

    def create_options(self) -> dict[str, Any]:
        """The options as :meth:`sandbox_sdk.Client.create` takes them."""
        names = set(SandboxOptions.model_fields) - {"working_dir"}
        return {name: value for name in names if (value := getattr(self, name))}

    def __hash__(self) -> int:
        # Inspect collects configurations in sets, and a dictionary has no hash.
        return hash(self.model_dump_json())


class SandboxConfig(SandboxOptions):
    """The sandboxes of a sample: the default one, and others by name."""

    backend: Literal["local", "k8s"] | None = None
    """Where they are; ``SANDBOX_BACKEND`` if it is not given."""
    namespace: str | None = None
    """The namespace of the cluster; also ``context`` and ``kubeconfig`` are as kubectl has them."""
    context: str | None = None
    kubeconfig: str | None = None
    isolation: Literal["auto", "namespaces", "landlock", "none"] | None = None
    """The isolation of local sandboxes."""
    detached: bool = False
    """Let them outlive the evaluation with ``--no-sandbox-cleanup``. Otherwise they end about a minute after it."""
    sandboxes: dict[str, SandboxOptions] = Field(default_factory=dict)
    """Further sandboxes, which ``sandbox(NAME)`` returns."""

    def all(self) -> dict[str, SandboxOptions]:
        """The sandboxes by name, the default one first."""
        return {"default": self, **self.sandboxes}

    def client_options(self) -> dict[str, Any]:
        """The options of the client that creates them."""
        return {name: value for name in VARIABLES if (value := getattr(self, name)) is not None}

    def variables(self) -> list[str]:
        """The same as environment variables of the command ``sandbox``."""
        return [f"{VARIABLES[name]}={value}" for name, value in self.client_options().items()]

    def __hash__(self) -> int:
        return super().__hash__()


def read_config(config: BaseModel | str | None) -> SandboxConfig:
    """The configuration that a task has, or that is in the file which it names.

    :raises ValueError: it is invalid, or of another provider.
    :raises OSError: the file cannot be read.
    """
    if config is None:
        return SandboxConfig()
    if isinstance(config, SandboxConfig):
        return config
    if not isinstance(config, str):
        raise ValueError(
            f"the configuration must be a SandboxConfig or the path of a file, not {type(config).__name__}"
        )
    try:
        found = yaml.safe_load(pathlib.Path(config).read_text("utf-8"))
        return SandboxConfig.model_validate({} if found is None else found)
    except (yaml.YAMLError, ValidationError) as error:
        raise ValueError(f"{config} does not describe sandboxes: {error}") from error
