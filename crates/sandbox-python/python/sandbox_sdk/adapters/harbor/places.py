"""Where the fixed paths of Harbor are in a sandbox whose root directory cannot be written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

FIXED = ("logs", "tests", "solution", "runtime", "app", "installed-agent")
"""The directories in ``/`` that Harbor, or tasks by convention, use."""
SYSTEM = frozenset(
    {"bin", "dev", "etc", "home", "lib", "lib64", "opt", "proc", "root", "run", "sbin", "sys", "tmp", "usr"}
)
"""Directories that a sandbox has. They are never moved."""
VARIABLE = "HARBOR_ROOT"
"""The variable that names the directory to which paths were moved. In other environments it is not set."""


class Places:
    """Moves ``/logs``, ``/tests`` and the like to a directory of the sandbox's user.

    Paths and commands of Harbor name these directories literally, so they are replaced in both. In the scripts of a
    task nothing is replaced: there ``"${HARBOR_ROOT:-}/logs"`` is right in every environment.
    """

    def __init__(self, root: str, paths: Iterable[str]) -> None:
        """:param paths: further absolute paths, such as the working directory of the task."""
        self.root = root.rstrip("/")
        names = set(FIXED)
        for path in paths:
            parts = PurePosixPath(path).parts
            if len(parts) > 1 and parts[0] == "/" and parts[1] not in SYSTEM:
                names.add(parts[1])
        either = "|".join(re.escape(name) for name in sorted(names))
        # Not within a longer path or word, and not after a variable.
        self._pattern = re.compile(rf"(?<![\w./~$}})-])/(?:{either})(?![\w.-])")

    def path(self, path: str) -> str:
        """A path of Harbor as it is in the sandbox."""
        found = self._pattern.match(path)
        return f"{self.root}{path}" if found else path

    def text(self, text: str) -> str:
        """A command, or the value of a variable, with the paths as they are in the sandbox."""
        return self._pattern.sub(lambda found: f"{self.root}{found[0]}", text)
