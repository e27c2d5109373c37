"""The files of an environment."""

from __future__ import annotations

import os
from pathlib import Path

from harbor.environments.base import BaseEnvironment

from ... import AsyncSandbox, TreeReport
from .places import Places


class FilesOfEnvironment(BaseEnvironment):
    """Copies files into the sandbox, and out of it."""

    _sandbox: AsyncSandbox | None
    _places: Places | None

    def _running(self) -> AsyncSandbox:
        if self._sandbox is None:
            raise RuntimeError("the environment has no sandbox: call start() first")
        return self._sandbox

    def _place(self, path: str) -> str:
        return path if self._places is None else self._places.path(path)

    async def upload_file(self, source_path: Path | str, target_path: str) -> None:
        """Copy a file into the sandbox, with its mode; directories above it are created."""
        target = self._place(target_path)
        await self._running().mkdir(os.path.dirname(target) or ".", parents=True)
        await self._running().upload(source_path, target)

    async def upload_dir(self, source_dir: Path | str, target_dir: str) -> None:
        """Copy what is in a directory into one of the sandbox, which is created.

        :raises FileTransferError: something could not be copied.
        """
        target = self._place(target_dir)
        await self._running().mkdir(target, parents=True)
        self._check_copy(await self._running().upload_dir(source_dir, target), str(source_dir))

    async def download_file(self, source_path: str, target_path: Path | str) -> None:
        """Copy a file out of the sandbox. Set-uid bits and the permission of others to write are dropped."""
        Path(target_path).parent.mkdir(parents=True, exist_ok=True)
        await self._running().download(self._place(source_path), target_path)

    async def download_dir(self, source_dir: str, target_dir: Path | str) -> None:
        """Copy what is in a directory of the sandbox to this machine. Nothing is written outside of the target: links
        that lead out, devices and FIFOs are left out, and logged.

        :raises FileTransferError: something could not be copied.
        """
        Path(target_dir).parent.mkdir(parents=True, exist_ok=True)
        self._check_copy(await self._running().download_dir(self._place(source_dir), target_dir), source_dir)

    def _check_copy(self, report: TreeReport, source: str) -> None:
        for path, reason in report.skipped[:20]:
            self.logger.warning("%r of %s was not copied: %s", path, source, reason)
        if len(report.skipped) > 20:
            self.logger.warning("%d entries of %s were not copied", len(report.skipped), source)
        report.check()
