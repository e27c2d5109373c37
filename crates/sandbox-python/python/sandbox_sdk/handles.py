"""Jobs, ports and pools, watches of files, and decisions about egress."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ._arguments import Signal
from ._calls import wait, wait_for_item
from ._create_options import TakeOptions, take_options
from ._process_state import signal_operation
from ._sandbox import RawDecisions, RawForward, RawJob, RawPool, RawWatch
from .process import Process
from .types import EgressEvent, FileEvent, JobLog, PoolStatus

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .sandbox import Sandbox

__all__ = ["EgressEvents", "FileWatch", "Forward", "Job", "Pool"]


class Job:
    """A command that outlives the program that started it. Created by :meth:`Sandbox.start_job` and
    :meth:`Sandbox.job`.

    >>> job = sbx.start_job(["sh", "-c", "echo working; exit 7"])
    >>> job.wait()
    7
    >>> job.logs().text
    'working\\n'
    """

    def __init__(self, raw: RawJob) -> None:
        self._raw = raw

    @property
    def id(self) -> str:
        """Its id, with which :meth:`Sandbox.job` finds it."""
        return self._raw.id

    def wait(self) -> int:
        """Wait for its end, and return its exit code, or minus the number of the signal that ended it.

        :raises RefusedError: with the reason ``not-found``, if there is no such job; so do its other methods.
        """
        code: int = wait(self._raw.wait())
        return code

    def logs(self) -> JobLog:
        """Return what it has written so far."""
        return JobLog(*wait(self._raw.logs()))

    def follow(self, offset: int = 0) -> Process[bytes]:
        """Stream its log from this byte on, then what it writes, then its end. Closing the stream does not end the
        job."""
        return Process(wait(self._raw.follow(offset)), None, None, "replace", has_stdin=False)

    def send_signal(self, signal: Signal) -> None:
        """Send a signal to its process group."""
        wait(signal_operation(self._raw, signal))

    def kill(self) -> None:
        """Send SIGKILL to its process group."""
        self.send_signal("KILL")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"


class Forward:
    """A port of this machine that leads into a sandbox, until it is closed. Created by :meth:`Sandbox.forward`.

    It needs no event loop: it serves connections by itself.
    """

    def __init__(self, raw: RawForward) -> None:
        self._raw = raw

    @property
    def host(self) -> str:
        """The local IP address on which it listens."""
        return self._raw.address[0]

    @property
    def port(self) -> int:
        """The local port on which it listens."""
        return self._raw.address[1]

    @property
    def address(self) -> tuple[str, int]:
        """Both, as :func:`socket.create_connection` takes them."""
        return self._raw.address

    @property
    def url(self) -> str:
        """The URL of a web server behind it."""
        host, port = self._raw.address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def close(self) -> None:
        """Close the port and its connections."""
        self._raw.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.host}:{self.port}>"

    def __enter__(self) -> Forward:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Forward:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class FileWatch:
    """The events of a directory, from when it was created until it is closed. Created by :meth:`Sandbox.watch`.

    >>> sbx.mkdir("results")
    >>> with sbx.watch("results") as events:
    ...     _ = sbx.shell("echo 1 > results/first")
    ...     next(event.path for event in events if event.kind == "written")
    'results/first'
    """

    def __init__(self, raw: RawWatch) -> None:
        self._raw = raw

    def __iter__(self) -> Iterator[FileEvent]:
        return self

    def __next__(self) -> FileEvent:
        """Wait for the next event. There is none after the end of the directory, or of the watch.

        :raises SSHConnectionError: the connection was lost; events may be missing.
        """
        found = wait_for_item(self._raw.next())
        if found is None:
            raise StopIteration
        return FileEvent(*found)

    def close(self) -> None:
        """End the watch, also for another thread that waits for an event."""
        wait(self._raw.close())

    def __enter__(self) -> FileWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class EgressEvents:
    """The decisions about what a sandbox has asked to reach. Created by :meth:`Sandbox.egress_events`.

    At most 1,024 wait to be taken; :attr:`EgressEvent.lost` counts those that are missing. Connections never wait for
    it.
    """

    def __init__(self, raw: RawDecisions) -> None:
        self._raw = raw

    def __iter__(self) -> Iterator[EgressEvent]:
        return self

    def __next__(self) -> EgressEvent:
        """Wait for the next decision. There is none once the egress is served no more."""
        found = wait_for_item(self._raw.next())
        if found is None:
            raise StopIteration
        return EgressEvent._from(found)

    def pending(self) -> list[EgressEvent]:
        """Take those that wait, without waiting for more."""
        return [EgressEvent._from(record) for record in wait_for_item(self._raw.pending()) or ()]


class Pool:
    """Sandboxes that are ready before they are needed. Created by :meth:`Client.pool`.

    >>> with client.pool(size=1) as pool:
    ...     with pool.take(env={"WHO": "pool"}) as taken:
    ...         taken.shell("echo $WHO", text=True).stdout
    'pool\\n'
    """

    def __init__(self, raw: RawPool) -> None:
        self._raw = raw

    def take(self, **options: Unpack[TakeOptions]) -> Sandbox:
        """Take a sandbox: one that waits, or else as ``on_empty`` says. It is then the caller's, as one that was
        created, with these options in addition.

        :param options: of :meth:`Client.create`: ``labels``, ``annotations``, ``env``, ``secret_env``, ``init``,
            ``ttl``, ``on_expiry``.
        :raises PoolEmptyError: none waits, or the pool was closed.
        """
        from .sandbox import Sandbox

        return Sandbox(wait(self._raw.take(take_options(**options))), is_owner=True)

    def filled(self) -> None:
        """Wait until as many wait as should."""
        wait(self._raw.filled())

    def status(self) -> PoolStatus:
        """Return the state of the pool, without a request."""
        return PoolStatus(**self._raw.status())

    def close(self) -> None:
        """Delete what waits. Sandboxes that were taken stay."""
        wait(self._raw.close())

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
