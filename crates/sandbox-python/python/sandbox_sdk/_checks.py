"""Refuses values of wrong types, with an error that names the argument, before anything is sent."""

from __future__ import annotations

import codecs
import operator
from collections.abc import Callable
from typing import Any, TypeVar

from .exceptions import InvalidArgumentError

F = TypeVar("F", bound=Callable[..., Any])


def text(value: str, name: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be str, not {type(value).__name__}")
    return value


def optional_text(value: str | None, name: str) -> str | None:
    return None if value is None else text(value, name)


def whole_number(value: int, name: str, least: int = 0, most: int = (1 << 63) - 1) -> int:
    """Also what stands for an integer, such as those of NumPy."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be int, not {type(value).__name__}") from None
    if not least <= number <= most:
        limits = f"of at least {least}" if most >> 62 else f"from {least} to {most}"
        raise InvalidArgumentError(
            f"{name} {number} is not valid: use a whole number {limits}", argument=name, value=str(number)
        )
    return number


def optional_number(value: int | None, name: str) -> int | None:
    return None if value is None else whole_number(value, name)


def callback(function: F, name: str) -> F:
    """A function that can be called while something goes on."""
    # asyncio would take long to import, and so would inspect.
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if not callable(function):
        raise TypeError(f"{name} must be a function, not {type(function).__name__}")
    if code is not None and code.co_flags & _CO_COROUTINE:
        raise TypeError(f"{name} must be an ordinary function, not a coroutine function, which would not be awaited")
    return function


def encoding(name: str | None, errors: str | None) -> None:
    """Known to Python, so that a command does not run for an output that cannot be decoded."""
    if name is not None:
        codecs.lookup(text(name, "encoding"))
    if errors is not None:
        codecs.lookup_error(text(errors, "errors"))


_CO_COROUTINE = 0x80
"""`inspect.CO_COROUTINE`."""
