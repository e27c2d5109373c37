"""What blocking and asyncio clients share: their settings."""

from __future__ import annotations

import os
from typing import Any

from ._command import find_command, find_servers


def client_options(
    *,
    env_file: str | os.PathLike[str] | None,
    backend: str | None,
    image: str | None,
    namespace: str | None,
    context: str | None,
    kubeconfig: str | os.PathLike[str] | None,
    state_dir: str | os.PathLike[str] | None,
    isolation: str | None,
) -> dict[str, Any]:
    is_local = (backend or os.environ.get("SANDBOX_BACKEND") or "local") == "local"
    return {
        "env_file": env_file,
        "backend": backend,
        "image": image,
        "namespace": namespace,
        "context": context,
        "kubeconfig": kubeconfig,
        "state_dir": state_dir,
        "isolation": isolation,
        "command": find_command() if is_local else None,
        "servers": None if is_local else find_servers(),
    }
