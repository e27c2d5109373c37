"""Transforms of hosts: what a sandbox asks by its own name, with a secret that it never has."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, field

from ._arguments import check_texts, variable_names
from .exceptions import InvalidArgumentError

__all__ = ["HostTransform"]


@dataclass(frozen=True)
class HostTransform:
    """One HTTPS host whose requests get a secret that stays in this program, for programs that have its address built
    in. The proxy intercepts connections to this host alone, with a certificate that programs in the sandbox trust
    through ``SSL_CERT_FILE`` and similar variables. A rule that allows the host is added. See :meth:`Client.create` and
    docs/EGRESS.md. Prefer an :class:`Upstream` where a program lets its address be set.

    >>> HostTransform("api.example.com", secret="s3cret", variable="API_KEY").variable
    ('API_KEY',)

    Its text has no secret:

    >>> "s3cret" in repr(HostTransform("api.example.com", secret="s3cret"))
    False

    :raises InvalidArgumentError: it sends the secret in two ways. What else is wrong, such as an address in place of a
        name, is raised where it is used.
    """

    host: str
    """Its name, or ``NAME:PORT``. Without a port, 443."""
    _: KW_ONLY
    secret: str = field(repr=False)
    """What is sent: as ``Authorization: Bearer``, unless one of the following is given."""
    header: str | None = None
    """Set this header in each request, with the secret as its value."""
    user: str | None = None
    """Send the secret as the password of this user, by HTTP Basic."""
    variable: str | Iterable[str] = ()
    """Variables of commands that get a random placeholder, others for each sandbox. In headers of requests for this
    host, the secret is put in its place."""
    ca: str | os.PathLike[str] | None = None
    """A file of the certificates to trust for the real host, in PEM format, instead of those of this machine."""

    def __post_init__(self) -> None:
        check_texts(self, "a transform", ["host", "secret"], ["header", "user"])
        # The way in which a frozen object sets its own attributes.
        object.__setattr__(self, "variable", variable_names(self, "a transform", "variable"))
        if self.header is not None and self.user is not None:
            message = f"transform {self.host!r} is not valid: it has both header and user; leave one out"
            raise InvalidArgumentError(message, argument="transform", value=self.host)
