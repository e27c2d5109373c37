"""Turns arguments into the form of the native part, and refuses wrong types with a helpful error."""

from __future__ import annotations

import datetime
import json
import os
import signal as signals
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict, Union

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


class CreateOptions(TypedDict, total=False):
    """The options of a new sandbox, as :meth:`Client.create` has them."""

    name: str | None
    image: str | None
    cpu: str | int | float | None
    memory: str | int | None
    disk: str | int | None
    pids: int | None
    labels: Mapping[str, str] | None
    annotations: Mapping[str, str] | None
    env: Mapping[str, str] | None
    secret_env: Mapping[str, str] | None
    init: Iterable[str | Args]
    ttl: Duration | None
    max_lifetime: Duration | None
    idle_timeout: Duration | None
    create_timeout: Duration | None
    on_expiry: str | None
    detached: bool
    backend_options: Mapping[str, Any] | None


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
    return float(duration)


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
    output_cap: int | None = None,
    output_grace: Duration | None = None,
    is_stdin_piped: bool = False,
    pty: tuple[int, int] | None = None,
    term: str | None = None,
) -> dict[str, Any]:
    return {
        "program": program,
        "cwd": None if cwd is None else path_bytes(cwd, "cwd"),
        "env": list(texts(env, "env").items()),
        "timeout": seconds(timeout, "timeout"),
        "output_grace": seconds(output_grace, "output_grace"),
        "output_cap": output_cap,
        "input": input,
        "is_stdin_piped": is_stdin_piped,
        "pty": pty,
        "term": term,
    }


def create_options(
    *,
    name: str | None = None,
    image: str | None = None,
    cpu: str | int | float | None = None,
    memory: str | int | None = None,
    disk: str | int | None = None,
    pids: int | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    secret_env: Mapping[str, str] | None = None,
    init: Iterable[str | Args] = (),
    ttl: Duration | None = None,
    max_lifetime: Duration | None = None,
    idle_timeout: Duration | None = None,
    create_timeout: Duration | None = None,
    on_expiry: str | None = None,
    detached: bool = False,
    backend_options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "name": name,
        "image": image,
        "cpu": amount(cpu),
        "memory": amount(memory),
        "disk": amount(disk),
        "pids": pids,
        "labels": texts(labels, "labels"),
        "annotations": texts(annotations, "annotations"),
        "env": texts(env, "env"),
        "secret_env": texts(secret_env, "secret_env"),
        "init": init_commands(init),
        "ttl": seconds(ttl, "ttl"),
        "max_lifetime": seconds(max_lifetime, "max_lifetime"),
        "idle_timeout": seconds(idle_timeout, "idle_timeout"),
        "create_timeout": seconds(create_timeout, "create_timeout"),
        "on_expiry": on_expiry,
        "detached": detached,
        "backend_options": {name: json.dumps(options) for name, options in (backend_options or {}).items()},
    }


def init_commands(init: Iterable[str | Args]) -> list[str | list[bytes]]:
    if isinstance(init, (str, bytes)):
        raise TypeError("init must be a list of commands: init=[...]")
    return [command if isinstance(command, str) else argv(command) for command in init]


def amount(value: str | int | float | None) -> str | None:
    """An amount in Kubernetes' notation; a number stands for itself."""
    return None if value is None else str(value)


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
    columns, rows = pty
    return (columns, rows)


def take_options(
    labels: Mapping[str, str] | None,
    annotations: Mapping[str, str] | None,
    env: Mapping[str, str] | None,
    secret_env: Mapping[str, str] | None,
    init: Iterable[str | Args],
    ttl: Duration | None,
    on_expiry: str | None,
) -> dict[str, Any]:
    return {
        "labels": texts(labels, "labels"),
        "annotations": texts(annotations, "annotations"),
        "env": texts(env, "env"),
        "secret_env": texts(secret_env, "secret_env"),
        "init": init_commands(init),
        "ttl": seconds(ttl, "ttl"),
        "on_expiry": on_expiry,
    }


def pool_options(
    size: int,
    max_size: int | None,
    max_age: Duration | None,
    concurrency: int | None,
    on_empty: str | Duration,
) -> dict[str, Any]:
    return {
        "size": size,
        "max_size": max_size,
        "max_age": seconds(max_age, "max_age"),
        "concurrency": concurrency,
        "on_empty": on_empty if isinstance(on_empty, str) else seconds(on_empty, "on_empty"),
    }
