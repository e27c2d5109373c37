"""What calls return."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ._completed import Chunk, CompletedProcess
from .exceptions import FileTransferError

__all__ = [
    "Chunk",
    "CompletedProcess",
    "Diagnosis",
    "EgressEvent",
    "FileEvent",
    "FileInfo",
    "JobInfo",
    "JobLog",
    "PoolStatus",
    "PreflightCheck",
    "SandboxEvent",
    "SandboxInfo",
    "SweepReport",
    "TransferProgress",
    "TransferReport",
    "TreeReport",
    "Usage",
]


def _time(seconds: float | None) -> datetime.datetime | None:
    return None if seconds is None else _certain_time(seconds)


def _certain_time(seconds: float) -> datetime.datetime:
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    try:
        return epoch + datetime.timedelta(seconds=seconds)
    except OverflowError:
        # A sandbox can claim any time of its files.
        latest = datetime.datetime.max if seconds > 0 else datetime.datetime.min
        return latest.replace(tzinfo=datetime.timezone.utc)


@dataclass(frozen=True)
class SandboxInfo:
    """The description of a sandbox. It contains no secrets."""

    id: str
    """Its id. An id can be reused."""
    uid: str
    """The id of this instance, which is never reused."""
    backend: str
    """``local`` or ``k8s``."""
    state: str
    """``pending``, ``running`` or ``ended``."""
    address: str | None
    """The address of its SSH server: an IP address, or the path of a socket."""
    port: int | None
    """The TCP port of its SSH server; a socket has none."""
    user: str
    """The login name inside."""
    home: str | None
    """The home directory inside, if known."""
    image: str | None
    """The image from which it was created."""
    labels: dict[str, str]
    """Its labels."""
    annotations: dict[str, str]
    """Its annotations."""
    created_at: datetime.datetime
    """When it was created (UTC)."""
    expires_at: datetime.datetime | None
    """When it ends unless it is extended (UTC)."""
    on_expiry: str
    """What happens then: ``end`` or ``pause``."""
    is_paused: bool
    """Whether it is paused, as far as its backend knows."""
    isolation: str
    """``pod``, ``namespaces``, ``landlock`` or ``none``."""
    limits: dict[str, str]
    """The limits that are enforced, such as ``{"memory": "512Mi"}``."""
    end: str | None
    """Why it has ended, if it has ended and the backend knows."""

    @classmethod
    def _from(cls, record: dict[str, Any]) -> SandboxInfo:
        record["created_at"] = _certain_time(record["created_at"])
        record["expires_at"] = _time(record["expires_at"])
        return cls(**record)


@dataclass(frozen=True)
class SandboxEvent:
    """A step in the life of a sandbox, such as ``Scheduled``, ``Pulling`` or ``Ready``."""

    at: datetime.datetime
    """When it happened (UTC), by the backend's clock."""
    kind: str
    """What happened."""
    message: str
    """The backend's message; may be empty."""

    @classmethod
    def _from(cls, record: dict[str, Any]) -> SandboxEvent:
        return cls(at=_certain_time(record["at"]), kind=record["kind"], message=record["message"])


@dataclass(frozen=True)
class Diagnosis:
    """Why a sandbox is in its state, according to its backend."""

    summary: str
    """One sentence."""
    reason: str | None
    """The kind of problem, as :attr:`SandboxCreationError.reason`."""
    is_final: bool
    """Whether it has ended for good."""
    end: str | None
    """How it has ended."""
    events: list[SandboxEvent]
    """The latest events, oldest first."""
    log_tail: str
    """The last lines of the log of its SSH server."""

    @classmethod
    def _from(cls, record: dict[str, Any]) -> Diagnosis:
        record["events"] = [SandboxEvent._from(event) for event in record["events"]]
        return cls(**record)


@dataclass(frozen=True)
class FileInfo:
    """A file inside a sandbox. A name that is not UTF-8 is decoded as :func:`os.fsdecode` does."""

    name: str
    """The last part of its path; of :meth:`Sandbox.stat` the path."""
    kind: str
    """``file``, ``directory``, ``symlink`` or ``other``."""
    size: int
    """Its size in bytes."""
    mode: int
    """Its permission bits."""
    modified: datetime.datetime | None
    """When its content was last modified (UTC)."""

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return self.kind == "directory"

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.kind == "file"

    @classmethod
    def _from(cls, record: dict[str, Any]) -> FileInfo:
        record["modified"] = _time(record["modified"])
        return cls(**record)


@dataclass(frozen=True)
class FileEvent:
    """Something that happened in a watched directory."""

    path: str
    """The path that is watched, or one below it."""
    kind: str
    """``created`` (or moved here), ``written``, ``removed``, ``renamed`` (moved away), ``attributes``, or ``overflow``
    if more happened than is kept, so that events are missing here."""


@dataclass(frozen=True)
class EgressEvent:
    """A decision about a connection from a sandbox, or the end of one that was allowed."""

    at: datetime.datetime
    """When it was decided, or ended (UTC)."""
    outcome: str
    """``refused``, ``failed``, ``opened``, ``closed``, or ``revoked`` by rules that were replaced."""
    host: str
    """The name or the address that was asked for. It comes from inside the sandbox."""
    port: int
    """The port; 0 if none was named."""
    address: str | None
    """The address that was connected to, or refused."""
    rule: str | None
    """The rule that decided."""
    reason: str | None
    """Why it was refused, or why it failed."""
    sent: int
    """Bytes from the sandbox."""
    received: int
    """Bytes to the sandbox."""
    lost: int
    """How many events before this one are missing, because they were not taken in time."""

    @classmethod
    def _from(cls, record: dict[str, Any]) -> EgressEvent:
        record["at"] = _certain_time(record["at"])
        return cls(**record)


@dataclass(frozen=True)
class TransferProgress:
    """How far a transfer has come."""

    bytes: int
    """Bytes of content read so far, all files together."""
    total: int | None
    """All bytes, once that is known."""
    files: int
    """Complete files."""


@dataclass(frozen=True)
class TransferReport:
    """The result of transferring one file."""

    bytes: int
    """The size of the file."""
    resumed_at: int = 0
    """How many of these bytes were there already, and were verified."""
    discarded: str | None = None
    """Why an earlier part was not used: ``changed``, ``unverified`` or ``not-private``."""


@dataclass(frozen=True)
class TreeReport:
    """The result of copying a directory tree. A file that cannot be copied costs only itself."""

    files: int
    """Regular files copied."""
    directories: int
    """Directories created, including the top one."""
    symlinks: int
    """Symbolic links created."""
    bytes: int
    """Bytes in the files."""
    skipped: list[tuple[str, str]]
    """What was skipped, and why: devices, links that lead outside."""
    failed: list[tuple[str, str]]
    """What could not be copied, and why: at most the first 1000."""
    failures: int
    """How much could not be copied."""

    def check(self) -> TreeReport:
        """Return this report, or raise :class:`FileTransferError` if something could not be copied."""
        if self.failures:
            path, message = self.failed[0] if self.failed else ("", "no details")
            raise FileTransferError(
                f"could not copy {path!r}: {message}; {self.failures} in all were not copied", path=path, reason="other"
            )
        return self


@dataclass(frozen=True)
class JobInfo:
    """A background job."""

    id: str
    """Its id."""
    program: str
    """The program's name. Arguments may be secrets, and are not included."""
    pid: int
    """Its process id inside the sandbox."""
    started_at: datetime.datetime
    """When it was started (UTC), by the sandbox's clock."""
    log_bytes: int
    """Bytes in its log."""
    dropped_bytes: int
    """Bytes of output that the log leaves out."""
    exit_code: int | None
    """Its exit code, if it has exited."""
    exit_signal: str | None
    """The name of the signal that ended it, without ``SIG``."""

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.exit_code is None and self.exit_signal is None

    @classmethod
    def _from(cls, record: dict[str, Any]) -> JobInfo:
        record["started_at"] = _certain_time(record["started_at"])
        return cls(**record)


@dataclass(frozen=True)
class JobLog:
    """What a job has written."""

    data: bytes
    """Both streams, in the order in which they were written."""
    omitted: int = 0
    """How many bytes are left out, because a log keeps the first and the last 32 MiB."""
    gap: int | None = None
    """Where they are left out: an index into ``data``."""

    @property
    def text(self) -> str:
        """The log as text. Bytes that are not UTF-8 become U+FFFD."""
        return self.data.decode("utf-8", "replace")


@dataclass(frozen=True)
class PoolStatus:
    """The state of a pool."""

    waiting: int
    """How many sandboxes wait."""
    filling: int
    """How many are being created."""
    target: int
    """How many should wait."""
    hits: int
    """How many takes got one that waited."""
    misses: int
    """How many did not."""
    problem: str | None
    """Why sandboxes cannot be created at the moment."""
    is_closed: bool
    """Whether it was closed."""


@dataclass(frozen=True)
class Usage:
    """How much a sandbox uses."""

    at: datetime.datetime
    """When it was measured (UTC)."""
    cpu_count: int
    """Processors that it may use."""
    cpu_percent: float
    """Processor time since the last measurement, in percent of one processor."""
    memory_total: int
    """Bytes of memory that it may use."""
    memory_used: int
    """Bytes of memory that it uses, without the page cache."""
    memory_cache: int
    """Bytes of its page cache."""
    disk_total: int
    """Bytes of the file system of its home directory."""
    disk_used: int
    """Bytes of it that are used."""

    @classmethod
    def _from(cls, record: dict[str, Any]) -> Usage:
        record["at"] = _certain_time(record["at"])
        return cls(**record)


@dataclass(frozen=True)
class SweepReport:
    """What a sweep has removed."""

    removed: list[tuple[str, str]] = field(default_factory=list)
    """Ids, and why they are no longer needed."""
    failed: list[tuple[str, str]] = field(default_factory=list)
    """Ids of what could not be removed, and the errors."""


@dataclass(frozen=True)
class PreflightCheck:
    """One check of whether a sandbox could be created."""

    name: str
    """What was checked."""
    verdict: str
    """``passed``, ``warning``, ``failed`` or ``skipped``."""
    detail: str
    """Details of the result."""


ProgressCallback = Callable[[TransferProgress], object]
EventCallback = Callable[[SandboxEvent], object]
