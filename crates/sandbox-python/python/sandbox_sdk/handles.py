"""Jobs, ports and pools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ._arguments import Args, Duration, Signal, take_options
from ._calls import wait
from ._process_state import signal_operation
from ._sandbox import RawForward, RawJob, RawPool
from .process import Process
from .types import JobLog, PoolStatus

if TYPE_CHECKING:
    from .sandbox import Sandbox

__all__ = ["Forward", "Job", "Pool"]


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
        """Wait for its end, and return its exit code, or minus the number of the signal that ended it."""
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

    def __enter__(self) -> Forward:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Forward:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class Pool:
    """Sandboxes that are ready before they are needed. Created by :meth:`Client.pool`.

    >>> with client.pool(size=1) as pool:
    ...     with pool.take(env={"WHO": "pool"}) as taken:
    ...         taken.shell("echo $WHO", text=True).stdout
    'pool\\n'
    """

    def __init__(self, raw: RawPool) -> None:
        self._raw = raw

    def take(
        self,
        *,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        secret_env: Mapping[str, str] | None = None,
        init: Iterable[str | Args] = (),
        ttl: Duration | None = None,
        on_expiry: str | None = None,
    ) -> Sandbox:
        """Take a sandbox: one that waits, or else as ``on_empty`` says. It is then the caller's, as one that was
        created, with these options in addition.

        :raises PoolEmptyError: none waits, or the pool was closed.
        """
        from .sandbox import Sandbox

        options = take_options(labels, annotations, env, secret_env, init, ttl, on_expiry)
        return Sandbox(wait(self._raw.take(options)), is_owner=True)

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
