"""Upstreams: what a sandbox reaches with a secret that it never has."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, field

from ._arguments import check_texts, variable_names
from .exceptions import InvalidArgumentError

__all__ = ["Upstream"]


@dataclass(frozen=True)
class Upstream:
    """An HTTPS origin that programs in a sandbox reach as ``http://127.0.0.1:PORT/NAME/…``, with a secret that stays in
    this program: it is added to each request, in place of what the sandbox has sent. Programs find it by variables,
    such as ``OPENAI_BASE_URL``. See :meth:`Client.create` and docs/EGRESS.md.

    >>> Upstream("models", "https://models.corp.example/v2", secret="s3cret", variable="MODELS_URL").name
    'models'

    Its text has no secret:

    >>> "s3cret" in repr(Upstream("openai", secret="s3cret"))
    False

    :raises InvalidArgumentError: it says how a secret is sent, and has none or says it twice. What else is wrong, such
        as an address that is not HTTPS, is raised where it is used.
    """

    name: str
    """Its name: ``a`` to ``z``, ``0`` to ``9``, ``-`` and ``_``. The kinds are names as well, and then the address has
    a default: ``openai``, ``anthropic``, ``pypi``, ``npm``, ``git``."""
    url: str | None = None
    """The address that programs would be given without a sandbox: ``https://HOST[:PORT][/PATH]``. Nothing that is not
    below it can be reached."""
    _: KW_ONLY
    secret: str | None = field(default=None, repr=False)
    """What is sent, as is usual for the kind: ``Authorization: Bearer`` for most. Without it, nothing is."""
    kind: str | None = None
    """What it is, if its name does not say so: one of those above, or ``plain``."""
    header: str | None = None
    """Send the secret as the value of this header instead."""
    user: str | None = None
    """Send the secret as the password of this user instead, by HTTP Basic."""
    variable: str | Iterable[str] = ()
    """More variables that get the address inside."""
    key_variable: str | Iterable[str] = ()
    """More variables that get a placeholder, for programs that do not start without a key."""
    ca: str | os.PathLike[str] | None = None
    """A file of the certificates to trust, in PEM format, instead of those of this machine."""

    def __post_init__(self) -> None:
        check_texts(self, "an upstream", ["name"], ["url", "secret", "kind", "header", "user"])
        for option in ("variable", "key_variable"):
            # The way in which a frozen object sets its own attributes.
            object.__setattr__(self, option, variable_names(self, "an upstream", option))
        if self.header is not None and self.user is not None:
            raise self._invalid("it has both header and user; leave one out")
        if self.secret is None and (self.header is not None or self.user is not None):
            raise self._invalid("it says how its secret is sent, but has none; add secret=…")

    def _invalid(self, why: str) -> InvalidArgumentError:
        message = f"upstream {self.name!r} is not valid: {why}"
        return InvalidArgumentError(message, argument="upstream", value=self.name)
