"""Turns arguments into the form of the native part, and refuses wrong types with a helpful error."""

from __future__ import annotations

import datetime
import math
import os
import signal as signals
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict, Union

from ._checks import optional_number, optional_text, text, whole_number
from .exceptions import InvalidArgumentError

StrPath = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
"""A path: text, bytes, or an object with ``__fspath__``."""
Args = Sequence[StrPath]
"""A program and its arguments."""
Duration = float | int | datetime.timedelta
"""Seconds, or a timedelta."""
Signal = int | str | signals.Signals
"""A signal: its number on Linux, or its name with or without ``SIG``."""


class CommandOptions(TypedDict, total=False):
    """The options of commands that do not change the type of the result."""

    cwd: StrPath | None
    env: Mapping[str, str] | None
    timeout: Duration | None
    user: str | int | None
    pty: bool | tuple[int, int] | None


class RunOptions(CommandOptions, total=False):
    """Those of commands that run to their end."""

    check: bool
    output_cap: int | None
    output_grace: Duration | None


class PopenOptions(CommandOptions, total=False):
    """Those of commands that are used while they run."""

    shell: bool
    stdin: int | bool | None
    term: str | None


PIPE = -1
"""As :data:`subprocess.PIPE`: the caller writes the standard input."""
DEVNULL = -3
"""As :data:`subprocess.DEVNULL`: there is no standard input."""


def path_bytes(path: StrPath, name: str = "path") -> bytes:
    try:
        return os.fsencode(path)
    except TypeError:
        raise TypeError(f"{name} must be str, bytes or os.PathLike, not {type(path).__name__}") from None


def seconds(duration: Duration | None, name: str) -> float | None:
    if duration is None:
        return None
    if isinstance(duration, datetime.timedelta):
        return duration.total_seconds()
    if isinstance(duration, bool) or not isinstance(duration, (int, float)):
        raise TypeError(f"{name} must be seconds or a timedelta, not {type(duration).__name__}")
    # Numbers that are no float are refused like all that are too large.
    return float(duration) if -sys.float_info.max <= duration <= sys.float_info.max else math.inf


def certain_seconds(duration: Duration, name: str) -> float:
    found = seconds(duration, name)
    if found is None:
        raise TypeError(f"{name} must be seconds or a timedelta, not None")
    return found


def texts(mapping: Mapping[str, str] | None, name: str) -> dict[str, str]:
    """A mapping of texts, as environment variables and labels are."""
    if mapping is None:
        return {}
    if not isinstance(mapping, Mapping):
        raise TypeError(f"{name} must be a mapping, not {type(mapping).__name__}")
    found = {}
    for key, value in mapping.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"{name} must map str to str, not {type(key).__name__} to {type(value).__name__}")
        found[key] = value
    return found


def check_texts(owner: object, what: str, required: Sequence[str], optional: Sequence[str]) -> None:
    """Refuses attributes of another type than text."""
    for option in (*required, *optional):
        value = getattr(owner, option)
        # The value is not in the message: it may be a secret.
        if not isinstance(value, str) and (value is not None or option in required):
            raise TypeError(f"{option} of {what} must be str, not {type(value).__name__}")


def variable_names(owner: object, what: str, option: str) -> tuple[str, ...]:
    """The names of variables in an attribute: one, or several."""
    value = getattr(owner, option)
    names = (value,) if isinstance(value, str) else tuple(value)
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"{option} of {what} must be the name of a variable, or several")
    return names


def argv(args: Args) -> list[bytes]:
    if isinstance(args, (str, bytes)) or not isinstance(args, Iterable):
        raise TypeError(
            f"args must be a list of the program and its arguments, not {type(args).__name__}; "
            "for a line of the shell use shell()"
        )
    found = [path_bytes(arg, "an argument") for arg in args]
    if not found:
        raise InvalidArgumentError("args [] is not valid: name the program first", argument="args", value="[]")
    return found


def line(command: str | bytes) -> bytes:
    if not isinstance(command, (str, bytes)):
        raise TypeError(
            f"a line of the shell must be str or bytes, not {type(command).__name__}; "
            "for a program and its arguments use run()"
        )
    return os.fsencode(command)


def content(data: bytes | bytearray | memoryview | str, name: str, encoding: str | None) -> bytes:
    """Content to write; text only where there is an encoding."""
    if isinstance(data, str):
        if encoding is None:
            raise TypeError(f"{name} must be bytes, not str; pass text=True, or encode it")
        return data.encode(encoding)
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"{name} must be bytes or str, not {type(data).__name__}")


def command_options(
    program: list[bytes] | bytes,
    *,
    input: bytes | None = None,
    cwd: StrPath | None = None,
    env: Mapping[str, str] | None = None,
    timeout: Duration | None = None,
    user: str | int | None = None,
    output_cap: int | None = None,
    output_grace: Duration | None = None,
    is_stdin_piped: bool = False,
    pty: tuple[int, int] | None = None,
    term: str | None = None,
    **unknown: Any,
) -> dict[str, Any]:
    for name in unknown:
        if name in _OF_SUBPROCESS:
            raise TypeError(f"there is no option {name!r}: {_OF_SUBPROCESS[name]}")
        raise TypeError(f"there is no option {name!r}; there are {', '.join(_RUN_OPTIONS)}")
    return {
        "program": program,
        "cwd": None if cwd is None else path_bytes(cwd, "cwd"),
        "env": list(texts(env, "env").items()),
        "timeout": seconds(timeout, "timeout"),
        "user": user_name(user),
        "output_grace": seconds(output_grace, "output_grace"),
        "output_cap": optional_number(output_cap, "output_cap"),
        "input": input,
        "is_stdin_piped": is_stdin_piped,
        "pty": pty,
        "term": optional_text(term, "term"),
    }


_RUN_OPTIONS = (
    *("check", "cwd", "encoding", "env", "errors", "input", "output_cap", "output_grace", "pty", "text", "timeout"),
    "user",
)
_OF_SUBPROCESS = {
    "capture_output": "output is always collected",
    "stdout": "output is always collected; popen() streams it",
    "stderr": "output is always collected; a line of shell() can redirect it: 2>&1",
    "universal_newlines": "use text=True",
    "shell": "use shell()",
}
"""Options of :func:`subprocess.run`, and what to do instead."""


def user_name(user: str | int | None) -> str | None:
    """A user by name, or by number as text."""
    if user is None or isinstance(user, str):
        return user
    if isinstance(user, bool) or not isinstance(user, int):
        raise TypeError(f"user must be a name or a number, not {type(user).__name__}")
    return str(user)


def stdin_option(stdin: int | bool | None) -> bool:
    """Whether the caller writes the standard input."""
    if stdin is None or stdin is False or stdin == DEVNULL:
        return False
    if stdin is True or stdin == PIPE:
        return True
    raise InvalidArgumentError(
        f"stdin {stdin!r} is not valid: use subprocess.PIPE, or None for no input",
        argument="stdin",
        value=repr(stdin),
    )


def terminal(pty: bool | tuple[int, int] | None) -> tuple[int, int] | None:
    """Columns and rows."""
    if pty is None or pty is False:
        return None
    if pty is True:
        return (80, 24)
    if not isinstance(pty, (tuple, list)) or len(pty) != 2:
        raise TypeError(f"pty must be True or (columns, rows), not {pty!r}")
    return (window_size(pty[0], "columns"), window_size(pty[1], "rows"))


def window_size(size: int, name: str) -> int:
    return whole_number(size, name, 0, 0xFFFF)


def forward_options(port: int, host: str, local_port: int) -> tuple[int, str, int]:
    return (
        whole_number(port, "port", 1, 0xFFFF),
        text(host, "host"),
        whole_number(local_port, "local_port", 0, 0xFFFF),
    )
