"""Sandboxes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ._arguments import Duration, certain_seconds, forward_options, seconds, texts
from ._calls import wait
from ._checks import optional_number
from ._create_options import egress_options, transform_list, upstream_list
from ._host_transform import HostTransform
from ._sandbox_commands import SandboxCommands
from ._sandbox_files import SandboxFiles
from ._upstream import Upstream
from .handles import EgressEvents, Forward
from .types import Diagnosis, SandboxInfo, Usage

__all__ = ["Sandbox"]


class Sandbox(SandboxCommands, SandboxFiles):
    """An isolated place to run commands and keep files for a while. Created by :meth:`Client.create`.

    In a ``with`` block it is deleted at the end, unless it was found with :meth:`Client.get`: then only the handle is
    closed. Methods may be called from many threads at once.

    >>> with client.create() as sandbox:
    ...     sandbox.write_text("numbers.txt", "1 2 3")
    ...     sandbox.run(["wc", "-w", "numbers.txt"], text=True).stdout
    '3 numbers.txt\\n'
    """

    def forward(self, port: int, *, host: str = "127.0.0.1", local_port: int = 0) -> Forward:
        """Forward a port of this machine to ``port`` inside the sandbox, until it is closed.

        >>> with sbx.forward(8000) as web:
        ...     web.host
        '127.0.0.1'

        :param host: the local IP address. One other than loopback lets the network in.
        :param local_port: the local port; 0 takes a free one.
        :raises BackendError: the local port cannot be opened.
        """
        return Forward(wait(self._raw.forward(*forward_options(port, host, local_port))))

    def egress_rules(self) -> str | None:
        """The rules about what it may reach, if this handle serves any. Without a request."""
        return self._raw.egress().rules()

    def update_egress(
        self, egress: str | None = None, *, egress_allow: Iterable[str] = (), egress_deny: Iterable[str] = ()
    ) -> None:
        """Replace all egress rules at once. Connections that the new ones refuse are closed. Upstreams stay, unless the
        rules deny their hosts. The host of a transform needs a rule that allows it.

        >>> with client.create(egress="packages") as sandbox:
        ...     sandbox.update_egress("packages", egress_allow=["api.example.com:443"])
        ...     sandbox.egress_rules()
        'packages +api.example.com:443'

        :param egress: a preset, as in :meth:`Client.create`. ``none``.
        :raises InvalidArgumentError: something is no rule, or this handle serves no egress.
        """
        rules = egress_options(egress=egress, egress_allow=egress_allow, egress_deny=egress_deny)
        wait(self._raw.egress().update(rules))

    def serve_egress(
        self,
        egress: str | None = None,
        *,
        egress_allow: Iterable[str] = (),
        egress_deny: Iterable[str] = (),
        egress_upstreams: Iterable[Upstream] = (),
        egress_transforms: Iterable[HostTransform] = (),
        egress_unverified: bool = False,
    ) -> None:
        """Let it reach what these rules allow, with these upstreams and transforms, through this program, until the
        handle is closed: a sandbox of another program, or one that was created without rules. New commands find the
        proxy. Options are those of :meth:`Client.create`. What was served before is replaced.

        :raises UnsupportedError: it has another way out.
        :raises SSHConnectionError: also if another program serves it.
        """
        rules = egress_options(egress=egress, egress_allow=egress_allow, egress_deny=egress_deny)
        upstreams, transforms = upstream_list(egress_upstreams), transform_list(egress_transforms)
        wait(self._raw.egress().serve(rules, upstreams, transforms, egress_unverified))

    def stop_egress(self) -> None:
        """Serve its egress no more: it is offline from now on."""
        wait(self._raw.egress().stop())

    def egress_events(self) -> EgressEvents:
        """Return the decisions about what it has asked to reach, since its creation, :meth:`Pool.take` or the last
        :meth:`serve_egress`.
        Each is returned once, however many ask.

        :raises InvalidArgumentError: this handle gets none.
        """
        return EgressEvents(self._raw.egress().decisions())

    def info(self) -> SandboxInfo:
        """Ask for the current description.

        >>> sbx.info().state
        'running'

        :raises SandboxNotFoundError: it has ended.
        """
        return SandboxInfo._from(wait(self._raw.info()))

    def extend(self, ttl: Duration) -> SandboxInfo:
        """Move the end of its ``ttl`` to this many seconds from now, at most to the end of its ``max_lifetime``."""
        return SandboxInfo._from(wait(self._raw.extend(certain_seconds(ttl, "ttl"))))

    def set_ttl(self, ttl: Duration) -> SandboxInfo:
        """Have it end this many seconds from now, also earlier than it would have ended."""
        return SandboxInfo._from(wait(self._raw.set_ttl(certain_seconds(ttl, "ttl"))))

    def set_on_expiry(self, on_expiry: str) -> None:
        """Set what happens at the end of its ``ttl``: ``end`` or ``pause``."""
        wait(self._raw.set_on_expiry(on_expiry))

    def annotate(self, annotations: Mapping[str, str]) -> SandboxInfo:
        """Set annotations. Those with other keys stay."""
        return SandboxInfo._from(wait(self._raw.annotate(texts(annotations, "annotations"))))

    def pause(self) -> bool:
        """Stop all of its processes where they are, as ``docker pause``. Its ``ttl`` stands still. Returns whether it
        was not paused already.

        :raises RefusedError: not all processes can be stopped.
        :raises UnsupportedError: it runs an SSH server that is not the SDK's own.
        """
        changed: bool = wait(self._raw.pause())
        return changed

    def resume(self, ttl: Duration | None = None) -> bool:
        """Continue its processes. Returns whether it was paused.

        :param ttl: how many seconds it lives from now on; what was left, if it is not given.
        """
        changed: bool = wait(self._raw.resume(seconds(ttl, "ttl")))
        return changed

    def is_paused(self) -> bool:
        """Ask its server whether it is paused."""
        paused: bool = wait(self._raw.is_paused())
        return paused

    def usage(self) -> Usage:
        """Measure how much processor time, memory and disk it uses."""
        return Usage._from(wait(self._raw.usage()))

    def diagnose(self) -> Diagnosis:
        """Ask its backend to explain its state, for example why it has ended."""
        return Diagnosis._from(wait(self._raw.diagnose()))

    def logs(self, tail: int | None = None) -> str:
        """Return the log of its SSH server, at most the last 16 MiB.

        :param tail: only this many lines from the end.
        """
        log: str = wait(self._raw.logs(optional_number(tail, "tail")))
        return log

    def delete(self) -> None:
        """End its processes and remove its files. Returns when nothing is left. Deleting one that no longer exists
        succeeds.

        :raises SandboxDeletionError: it may still exist.
        """
        wait(self._raw.delete())
        self._release()

    def shutdown(self) -> None:
        """The same as :meth:`delete`, under the name of the original SDK."""
        self.delete()

    def close(self) -> None:
        """Close this handle and keep the sandbox. An attached one ends when no client is connected any more."""
        self._close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is None:
            return
        try:
            if self._is_owner:
                self.delete()
        finally:
            self._close()
