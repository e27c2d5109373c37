"""What blocking and asyncio clients share: their settings."""

from __future__ import annotations

import os
from typing import Any

from ._arguments import path_bytes
from ._checks import optional_text
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
        "env_file": _path(env_file, "env_file"),
        "backend": optional_text(backend, "backend"),
        "image": optional_text(image, "image"),
        "namespace": optional_text(namespace, "namespace"),
        "context": optional_text(context, "context"),
        "kubeconfig": _path(kubeconfig, "kubeconfig"),
        "state_dir": _path(state_dir, "state_dir"),
        "isolation": optional_text(isolation, "isolation"),
        "command": find_command() if is_local else None,
        "servers": None if is_local else find_servers(),
    }


def _path(path: str | os.PathLike[str] | None, name: str) -> str | None:
    return None if path is None else os.fsdecode(path_bytes(path, name))
