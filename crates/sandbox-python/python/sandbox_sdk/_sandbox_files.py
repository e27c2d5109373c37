"""The files of a sandbox."""

from __future__ import annotations

import os

from ._arguments import StrPath, content, path_bytes
from ._calls import wait
from ._progress import progress_report
from ._sandbox_state import SandboxState
from .handles import FileWatch
from .types import FileInfo, ProgressCallback, TransferReport, TreeReport


class SandboxFiles(SandboxState):
    """Files. A path in the sandbox is absolute, or relative to the home directory."""

    def read_bytes(self, path: StrPath) -> bytes:
        """Read a file of at most 256 MiB. For larger ones use :meth:`download`.

        :raises SandboxFileNotFoundError: there is none; it is a :class:`FileNotFoundError`, too.
        """
        data: bytes = wait(self._raw.files().read(path_bytes(path)))
        return data

    def read_text(self, path: StrPath, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Read a text file of at most 256 MiB.

        :raises UnicodeDecodeError: it is no such text.
        """
        return self.read_bytes(path).decode(encoding, errors)

    def write_bytes(self, path: StrPath, data: bytes | bytearray | memoryview) -> int:
        """Write a file, and return the number of bytes. It appears, or replaces the former one, when it is complete.

        >>> sbx.write_bytes("data.bin", b"\\x00\\x01")
        2
        """
        written = content(data, "data", None)
        wait(self._raw.files().write(path_bytes(path), written))
        return len(written)

    def write_text(self, path: StrPath, text: str, encoding: str = "utf-8") -> None:
        """Write a text file. It appears, or replaces the former one, when it is complete."""
        if not isinstance(text, str):
            raise TypeError(f"text must be str, not {type(text).__name__}; use write_bytes()")
        wait(self._raw.files().write(path_bytes(path), text.encode(encoding)))

    def append_bytes(self, path: StrPath, data: bytes | bytearray | memoryview) -> None:
        """Append to a file, which is created if there is none. At most 32,000 bytes stay together if others append at
        the same time."""
        wait(self._raw.files().append(path_bytes(path), content(data, "data", None)))

    def listdir(self, path: StrPath = ".") -> list[FileInfo]:
        """List the entries of a directory, ordered by name.

        >>> sbx.mkdir("project")
        >>> sbx.write_text("project/a.txt", "hello")
        >>> [(entry.name, entry.size) for entry in sbx.listdir("project")]
        [('a.txt', 5)]
        """
        return [FileInfo._from(record) for record in wait(self._raw.files().list(path_bytes(path)))]

    def stat(self, path: StrPath) -> FileInfo:
        """Describe a file. Symbolic links are followed."""
        return FileInfo._from(wait(self._raw.files().stat(path_bytes(path))))

    def exists(self, path: StrPath) -> bool:
        """Whether there is something at this path. Symbolic links are followed."""
        found: bool = wait(self._raw.files().exists(path_bytes(path)))
        return found

    def mkdir(self, path: StrPath, *, parents: bool = False) -> None:
        """Create a directory.

        :param parents: create those above it, too, and accept one that exists.
        """
        wait(self._raw.files().mkdir(path_bytes(path), parents))

    def rename(self, path: StrPath, target: StrPath) -> None:
        """Rename a file, replacing an existing one."""
        wait(self._raw.files().rename(path_bytes(path), path_bytes(target, "target")))

    def remove(self, path: StrPath) -> None:
        """Remove a file or a symbolic link."""
        wait(self._raw.files().remove(path_bytes(path)))

    def rmdir(self, path: StrPath) -> None:
        """Remove an empty directory."""
        wait(self._raw.files().rmdir(path_bytes(path)))

    def rmtree(self, path: StrPath) -> None:
        """Remove a directory with everything in it. Symbolic links are removed, not followed."""
        wait(self._raw.files().rmtree(path_bytes(path)))

    def chmod(self, path: StrPath, mode: int) -> None:
        """Set the permission bits, such as ``0o755``."""
        wait(self._raw.files().chmod(path_bytes(path), mode))

    def symlink(self, target: StrPath, path: StrPath) -> None:
        """Create a symbolic link at ``path`` that points to ``target``."""
        wait(self._raw.files().symlink(path_bytes(target, "target"), path_bytes(path)))

    def readlink(self, path: StrPath) -> str:
        """Read where a symbolic link points."""
        target: str = wait(self._raw.files().readlink(path_bytes(path)))
        return target

    def watch(self, path: StrPath, *, recursive: bool = False) -> FileWatch:
        """Watch a directory: what happens in it after this returns is reported, in its order.

        :param recursive: watch those below it, too, also new ones.
        :raises RefusedError: it is no directory, or too much is watched.
        :raises UnsupportedError: the sandbox runs an SSH server that is not the SDK's own.
        """
        return FileWatch(wait(self._raw.watch(path_bytes(path), recursive)))

    def upload(
        self,
        local: str | os.PathLike[str],
        remote: StrPath,
        *,
        resume: bool = False,
        progress: ProgressCallback | bool | None = None,
    ) -> TransferReport:
        """Copy a file into the sandbox.

        :param resume: keep what an interrupted upload has left, and continue there.
        :param progress: called about ten times a second, in the thread that waits; ``True`` shows a bar of tqdm. If it
            raises, the upload ends with that exception.
        :raises FileTransferError: with the path and the reason.
        """
        with progress_report(progress, os.fspath(local)) as report:
            done = wait(self._raw.transfers().upload(local, path_bytes(remote, "remote"), resume, report))
        return TransferReport(**done)

    def download(
        self,
        remote: StrPath,
        local: str | os.PathLike[str],
        *,
        resume: bool = False,
        progress: ProgressCallback | bool | None = None,
    ) -> TransferReport:
        """Copy a file out of the sandbox. Options are those of :meth:`upload`."""
        with progress_report(progress, os.fspath(local)) as report:
            done = wait(self._raw.transfers().download(path_bytes(remote, "remote"), local, resume, report))
        return TransferReport(**done)

    def upload_dir(
        self,
        local: str | os.PathLike[str],
        remote: StrPath,
        *,
        progress: ProgressCallback | bool | None = None,
    ) -> TreeReport:
        """Copy a directory tree into the sandbox. What cannot be copied is in the report; ``.check()`` of it raises."""
        with progress_report(progress, os.fspath(local)) as report:
            done = wait(self._raw.transfers().upload_dir(local, path_bytes(remote, "remote"), report))
        return TreeReport(**done)

    def download_dir(
        self,
        remote: StrPath,
        local: str | os.PathLike[str],
        *,
        progress: ProgressCallback | bool | None = None,
    ) -> TreeReport:
        """Copy a directory tree out of the sandbox, at most 1,000,000 entries and 64 GiB. Nothing is written outside of
        ``local``, whatever the sandbox sends."""
        with progress_report(progress, os.fspath(local)) as report:
            done = wait(self._raw.transfers().download_dir(path_bytes(remote, "remote"), local, report))
        return TreeReport(**done)
