"""Runs pieces of Python code one after the other, in one namespace. :mod:`._interpreter` runs this file inside a
sandbox, where there may be no more than Python 3.8 without packages.

Requests and replies are lines of JSON on standard input and output. What the code prints goes to standard error, also
from processes that it starts, and ends with the mark of the request.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import json
import linecache
import os
import signal
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any

FINAL_ANSWER = "FinalAnswerException"
TEXT_LIMIT = 1 << 20
IMAGE_LIMIT = 16 << 20


def shorten(text: str) -> str:
    """Replace what exceeds the limit by its length."""
    if len(text) <= TEXT_LIMIT:
        return text
    return f"{text[:TEXT_LIMIT]}\n[{len(text) - TEXT_LIMIT} characters are left out]"


def describe(show: Callable[[Any], str], value: Any) -> str:
    """What `show`, such as `repr`, returns for a value of which any method may fail."""
    try:
        return str(show(value))
    except Exception as error:
        return f"<{type(value).__name__} without a text: {type(error).__name__}>"


def execute(code: str, name: str, namespace: dict[str, Any]) -> Any:
    """Run the code, and return the value of its last statement if that is an expression."""
    tree: Any = compile(code, name, "exec", ast.PyCF_ONLY_AST, True)
    last = None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        last = ast.Expression(tree.body.pop().value)
    exec(compile(tree, name, "exec", 0, True), namespace)
    return None if last is None else eval(compile(last, name, "eval", 0, True), namespace)


def result(value: Any) -> dict[str, str]:
    """The reply for a value: an image, or its text as an interpreter shows it."""
    draw = getattr(type(value), "_repr_png_", None)
    if draw is not None:
        try:
            image = draw(value)
        except Exception:
            image = None
        if isinstance(image, bytes) and len(image) <= IMAGE_LIMIT:
            return {"image": base64.b64encode(image).decode("ascii")}
    return {} if value is None else {"value": shorten(describe(repr, value))}


def failure(error: BaseException) -> dict[str, str]:
    """The reply for an exception."""
    name = type(error).__name__
    if name == FINAL_ANSWER:
        # Shortened, it could not be decoded.
        return {"error": name, "message": describe(str, getattr(error, "value", error)), "traceback": ""}
    # The first two frames are of this file.
    trace = error.__traceback__
    for _ in range(2):
        trace = trace and trace.tb_next
    lines = traceback.format_exception(type(error), error, trace)
    return {"error": name, "message": shorten(describe(str, error)), "traceback": shorten("".join(lines))}


class Interpreter:
    """The namespace, and whether code is running in it."""

    def __init__(self) -> None:
        # What dataclasses and pickle look up by the name of a module.
        module = types.ModuleType("__main__")
        sys.modules["__main__"] = module
        self.namespace = module.__dict__
        self.count = 0
        self.is_running = False
        signal.signal(signal.SIGINT, self.interrupt)

    def interrupt(self, _number: int, _frame: object) -> None:
        if self.is_running:
            raise KeyboardInterrupt

    def reply(self, code: str) -> dict[str, str]:
        self.count += 1
        name = f"<code {self.count}>"
        # For the lines in tracebacks.
        linecache.cache[name] = (len(code), None, code.splitlines(True), name)
        try:
            self.is_running = True
            try:
                value = execute(code, name, self.namespace)
            finally:
                self.is_running = False
            return result(value)
        except BaseException as error:
            return failure(error)


def flush() -> None:
    """Write out what the code has printed. It may have replaced or closed the streams."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def main() -> None:
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    log = os.fdopen(os.dup(2), "wb", 0)
    # The code reads end of file, and prints to the log only.
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    streams: list[Any] = [sys.stdout, sys.stderr]
    for stream in streams:
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)

    interpreter = Interpreter()
    pid = os.getpid()
    for line in requests:
        request = json.loads(line)
        reply = interpreter.reply(request["code"])
        flush()
        if os.getpid() != pid:
            # A child that the code has forked, and that has come to its end.
            os._exit(0)
        log.write(request["mark"].encode("ascii"))
        reply["mark"] = request["mark"]
        replies.write(json.dumps(reply).encode("ascii") + b"\n")
        replies.flush()


main()
