"""The files of a sandbox, for asyncio."""

from __future__ import annotations

import os

from ._arguments import StrPath, content, path_bytes
from ._calls import finish
from ._progress import progress_report
from ._sandbox_state import SandboxState
from .async_handles import AsyncFileWatch
from .types import FileInfo, ProgressCallback, TransferReport, TreeReport


class AsyncSandboxFiles(SandboxState):
    """Files. A path in the sandbox is absolute, or relative to the home directory."""

    async def read_bytes(self, path: StrPath) -> bytes:
        """As :meth:`Sandbox.read_bytes`."""
        data: bytes = await finish(self._raw.files().read(path_bytes(path)))
        return data

    async def read_text(self, path: StrPath, encoding: str = "utf-8", errors: str = "strict") -> str:
        """As :meth:`Sandbox.read_text`."""
        return (await self.read_bytes(path)).decode(encoding, errors)

    async def write_bytes(self, path: StrPath, data: bytes | bytearray | memoryview) -> int:
        """As :meth:`Sandbox.write_bytes`."""
        written = content(data, "data", None)
        await finish(self._raw.files().write(path_bytes(path), written))
        return len(written)

    async def write_text(self, path: StrPath, text: str, encoding: str = "utf-8") -> None:
        """As :meth:`Sandbox.write_text`."""
        if not isinstance(text, str):
            raise TypeError(f"text must be str, not {type(text).__name__}; use write_bytes()")
        await finish(self._raw.files().write(path_bytes(path), text.encode(encoding)))

    async def append_bytes(self, path: StrPath, data: bytes | bytearray | memoryview) -> None:
        """As :meth:`Sandbox.append_bytes`."""
        await finish(self._raw.files().append(path_bytes(path), content(data, "data", None)))

    async def listdir(self, path: StrPath = ".") -> list[FileInfo]:
        """As :meth:`Sandbox.listdir`."""
        return [FileInfo._from(record) for record in await finish(self._raw.files().list(path_bytes(path)))]

    async def stat(self, path: StrPath) -> FileInfo:
        """As :meth:`Sandbox.stat`."""
        return FileInfo._from(await finish(self._raw.files().stat(path_bytes(path))))

    async def exists(self, path: StrPath) -> bool:
        """As :meth:`Sandbox.exists`."""
        found: bool = await finish(self._raw.files().exists(path_bytes(path)))
        return found

    async def mkdir(self, path: StrPath, *, parents: bool = False) -> None:
        """As :meth:`Sandbox.mkdir`."""
        await finish(self._raw.files().mkdir(path_bytes(path), parents))

    async def rename(self, path: StrPath, target: StrPath) -> None:
        """As :meth:`Sandbox.rename`."""
        await finish(self._raw.files().rename(path_bytes(path), path_bytes(target, "target")))

    async def remove(self, path: StrPath) -> None:
        """As :meth:`Sandbox.remove`."""
        await finish(self._raw.files().remove(path_bytes(path)))

    async def rmdir(self, path: StrPath) -> None:
        """As :meth:`Sandbox.rmdir`."""
        await finish(self._raw.files().rmdir(path_bytes(path)))

    async def rmtree(self, path: StrPath) -> None:
        """As :meth:`Sandbox.rmtree`."""
        await finish(self._raw.files().rmtree(path_bytes(path)))

    async def chmod(self, path: StrPath, mode: int) -> None:
        """As :meth:`Sandbox.chmod`."""
        await finish(self._raw.files().chmod(path_bytes(path), mode))

    async def symlink(self, target: StrPath, path: StrPath) -> None:
        """As :meth:`Sandbox.symlink`."""
        await finish(self._raw.files().symlink(path_bytes(target, "target"), path_bytes(path)))

    async def readlink(self, path: StrPath) -> str:
        """As :meth:`Sandbox.readlink`."""
        target: str = await finish(self._raw.files().readlink(path_bytes(path)))
        return target

    async def watch(self, path: StrPath, *, recursive: bool = False) -> AsyncFileWatch:
        """As :meth:`Sandbox.watch`."""
        return AsyncFileWatch(await finish(self._raw.watch(path_bytes(path), recursive)))

    async def upload(
        self,
        local: str | os.PathLike[str],
        remote: StrPath,
        *,
        resume: bool = False,
        progress: ProgressCallback | bool | None = None,
    ) -> TransferReport:
        """As :meth:`Sandbox.upload`."""
        with progress_report(progress, os.fspath(local)) as report:
            done = await finish(self._raw.transfers().upload(local, path_bytes(remote, "remote"), resume, report))
        return TransferReport(**done)

    async def download(
        self,
        remote: StrPath,
        local: str | os.PathLike[str],
        *,
        resume: bool = False,
        progress: ProgressCallback | bool | None = None,
    ) -> TransferReport:
        """As :meth:`Sandbox.download`."""
        with progress_report(progress, os.fspath(local)) as report:
            done = await finish(self._raw.transfers().download(path_bytes(remote, "remote"), local, resume, report))
        return TransferReport(**done)

    async def upload_dir(
        self,
        local: str | os.PathLike[str],
        remote: StrPath,
        *,
        progress: ProgressCallback | bool | None = None,
    ) -> TreeReport:
        """As :meth:`Sandbox.upload_dir`."""
        with progress_report(progress, os.fspath(local)) as report:
            done = await finish(self._raw.transfers().upload_dir(local, path_bytes(remote, "remote"), report))
        return TreeReport(**done)

    async def download_dir(
        self,
        remote: StrPath,
        local: str | os.PathLike[str],
        *,
        progress: ProgressCallback | bool | None = None,
    ) -> TreeReport:
        """As :meth:`Sandbox.download_dir`."""
        with progress_report(progress, os.fspath(local)) as report:
            done = await finish(self._raw.transfers().download_dir(path_bytes(remote, "remote"), local, report))
        return TreeReport(**done)
