"""The workspace as a tar archive. Archives are made inside a sandbox, and so are untrusted."""

from __future__ import annotations

import asyncio
import contextlib
import io
import tarfile
import tempfile
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, cast

from agents.sandbox.errors import WorkspaceArchiveReadError, WorkspaceArchiveWriteError, WorkspaceWriteTypeError
from agents.sandbox.util.tar_utils import UnsafeTarMemberError, should_skip_tar_member, validate_tarfile

from ... import AsyncSandbox, SandboxError

ENTRY_LIMIT = 1_000_000
"""How many files and directories a workspace may have."""
STDERR_TAIL = 4096
PIECE = 1 << 20


class ArchiveError(Exception):
    """An archive is invalid or too large."""


async def pack(sandbox: AsyncSandbox, root: Path, skip: Iterable[Path], limit: int) -> io.IOBase:
    """Return the workspace as an archive, with names relative to its root and without the paths to skip.

    :raises WorkspaceArchiveReadError: it cannot be read whole, or is larger than the limit in bytes.
    """
    try:
        with tempfile.TemporaryFile() as raw:
            await _receive(sandbox, root, skip, limit, raw)
            return await asyncio.to_thread(rewrite, raw, list(skip), limit)
    except (ArchiveError, SandboxError, OSError) as error:
        raise WorkspaceArchiveReadError(path=root, context={"reason": str(error)}, cause=error) from error


async def unpack(sandbox: AsyncSandbox, root: Path, data: io.IOBase, limit: int) -> None:
    """Extract an archive into the workspace.

    :raises WorkspaceArchiveWriteError: it is no safe archive, or cannot be extracted.
    :raises WorkspaceWriteTypeError: the data are neither bytes nor text.
    """
    remote = f"/tmp/sandbox-sdk-{uuid.uuid4().hex}.tar"
    try:
        with tempfile.NamedTemporaryFile() as local:
            await asyncio.to_thread(_spool, data, local, limit, root)
            await asyncio.to_thread(_validate, local)
            await sandbox.mkdir(root, parents=True)
            try:
                await sandbox.upload(local.name, remote)
                done = await sandbox.run(["tar", "-x", "-p", "-o", "-f", remote, "-C", root])
            finally:
                await _remove(sandbox, remote)
        if done.returncode:
            raise ArchiveError(f"tar failed with exit code {done.returncode}: {_tail(done.stderr)}")
    except (ArchiveError, SandboxError, OSError) as error:
        raise WorkspaceArchiveWriteError(path=root, context={"reason": str(error)}, cause=error) from error


async def _receive(sandbox: AsyncSandbox, root: Path, skip: Iterable[Path], limit: int, into: IO[bytes]) -> None:
    """Write what tar prints, without waiting for the disk in the event loop."""
    # These only save time: the names are compared again, since they may be patterns here.
    left_out = [f"--exclude=./{path.as_posix()}" for path in skip]
    size, stderr = 0, b""
    async with await sandbox.popen(["tar", "-c", "-f", "-", "-C", root, *left_out, "."]) as process:
        async for chunk in process:
            if chunk.stream == "stderr":
                stderr = (stderr + chunk.data)[-STDERR_TAIL:]
                continue
            size += len(chunk.data)
            if size > limit:
                raise ArchiveError(f"the workspace has more than {limit} bytes; raise workspace_limit, or delete files")
            await asyncio.to_thread(into.write, chunk.data)
    if process.returncode:
        raise ArchiveError(f"tar failed with exit code {process.returncode}: {_tail(stderr)}")


def rewrite(raw: IO[bytes], skip: list[Path], limit: int) -> io.IOBase:
    """Copy an archive so that it can be restored anywhere: hard links become files, and what is neither a file, a
    directory nor a symbolic link is left out, as are the paths to skip."""
    raw.seek(0)
    out = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        with tarfile.open(fileobj=raw, mode="r:") as source, tarfile.open(fileobj=out, mode="w") as target:
            size = 0
            for count, member in enumerate(source):
                if count >= ENTRY_LIMIT:
                    raise ArchiveError(f"the workspace has more than {ENTRY_LIMIT} files")
                if should_skip_tar_member(member.name, skip_rel_paths=skip, root_name=None):
                    continue
                kept = _portable(source, member)
                if kept is None:
                    continue
                entry, content = kept
                size += entry.size
                # A few bytes can claim to be a large file, or many links to one.
                if size > limit:
                    raise ArchiveError(
                        f"the files of the workspace have more than {limit} bytes; raise workspace_limit"
                    )
                target.addfile(entry, content)
        _validate(out)
        out.seek(0)
        return cast(io.IOBase, out)
    except (tarfile.TarError, ValueError, OverflowError, KeyError, EOFError) as error:
        out.close()
        raise ArchiveError(f"the archive is invalid: {error}") from error
    except BaseException:
        out.close()
        raise


def _portable(source: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[tarfile.TarInfo, IO[bytes] | None] | None:
    entry = tarfile.TarInfo(member.name)
    entry.mode = member.mode & 0o7777
    entry.mtime = max(0, int(member.mtime))
    if member.isdir():
        entry.type = tarfile.DIRTYPE
        return entry, None
    if member.issym():
        entry.type, entry.linkname = tarfile.SYMTYPE, member.linkname
        return entry, None
    original = source.getmember(member.linkname) if member.islnk() else member
    if not original.isreg():
        return None
    entry.size = original.size
    return entry, source.extractfile(original)


def _spool(data: io.IOBase, into: Any, limit: int, root: Path) -> None:
    """Copy data into a file; they may come from a socket."""
    size = 0
    while piece := data.read(PIECE):
        if isinstance(piece, str):
            piece = piece.encode()
        if not isinstance(piece, (bytes, bytearray)):
            raise WorkspaceWriteTypeError(path=root, actual_type=type(piece).__name__)
        size += len(piece)
        if size > limit:
            raise ArchiveError(f"the archive has more than {limit} bytes; raise workspace_limit")
        into.write(piece)
    into.flush()


def _validate(archive: Any) -> None:
    """Refuse names that lead out of the workspace, entries below links, and kinds that are neither files, directories
    nor symbolic links."""
    archive.seek(0)
    try:
        with tarfile.open(fileobj=archive, mode="r:*") as tar:
            validate_tarfile(tar)
    except (UnsafeTarMemberError, tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        raise ArchiveError(f"the archive is not safe, or invalid: {error}") from error


async def _remove(sandbox: AsyncSandbox, path: str) -> None:
    # It was not uploaded, or the sandbox has ended.
    with contextlib.suppress(SandboxError):
        await sandbox.remove(path)


def _tail(stderr: bytes) -> str:
    """The end of an error message, without what controls a terminal."""
    text = stderr[-STDERR_TAIL:].decode("utf-8", "replace").strip()
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
