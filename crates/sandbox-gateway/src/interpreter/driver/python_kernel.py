"""The Python kernel: runs code in one namespace, and reports the value of its last expression."""

import ast
import asyncio
import builtins
import importlib.util
import inspect
import linecache
import os
import signal
import sys
import traceback
import types

from . import display, figures, magics
from .link import Link, flush_streams

MAX_TRACEBACK = 256 * 1024


class PythonKernel:
    def __init__(self, link):
        self.link = link
        self.count = 0
        self.loop = None
        self.module = types.ModuleType("__main__")
        self.namespace = self.module.__dict__
        self.namespace["__builtins__"] = builtins
        sys.modules["__main__"] = self.module
        display.install(link)
        figures.install(display.display)
        builtins.display = display.display

    def run(self, code, env):
        """Runs a cell: its output, its results and its error go over the link."""
        self.count += 1
        self.link.emit({"event": "count", "count": self.count})
        saved = {name: os.environ.get(name) for name in env}
        os.environ.update(env)
        try:
            self.link.can_interrupt = True
            try:
                self.run_cell(code)
                figures.show_open()
            finally:
                self.link.can_interrupt = False
        except KeyboardInterrupt as error:
            self.report(error)
        except BaseException as error:
            self.report(error)
        finally:
            for name, value in saved.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
        flush_streams()
        self.link.emit({"event": "done"})

    def run_cell(self, code):
        filename = "<cell %d>" % self.count
        tree, code = magics.parse(code, filename)
        # A traceback shows the lines of the cell.
        linecache.cache[filename] = (len(code), None, code.splitlines(True), filename)
        last = None
        if tree.body and isinstance(tree.body[-1], ast.Expr) and not ends_with_semicolon(code):
            last = ast.Expression(tree.body.pop().value)
        if tree.body:
            self.evaluate(compile_cell(tree, filename, "exec"))
        if last is not None:
            value = self.evaluate(compile_cell(last, filename, "eval"))
            if value is not None:
                self.namespace["_"] = value
                display.show(value, is_main=True)

    def evaluate(self, compiled):
        value = eval(compiled, self.namespace)
        if compiled.co_flags & inspect.CO_COROUTINE:
            if self.loop is None:
                self.loop = asyncio.new_event_loop()
                asyncio.set_event_loop(self.loop)
            value = self.loop.run_until_complete(value)
        return value

    def report(self, error):
        flush_streams()
        name = type(error).__name__
        try:
            value = str(error)
        except Exception:
            value = "<the error has no text: its __str__ failed>"
        try:
            text = format_traceback(error)
        except Exception:
            text = "%s: %s" % (name, value)
        self.link.emit(
            {
                "event": "error",
                "name": name,
                "value": value[:MAX_TRACEBACK],
                "traceback": text[-MAX_TRACEBACK:],
            }
        )


def compile_cell(tree, filename, mode):
    return compile(tree, filename, mode, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


def ends_with_semicolon(code):
    """As in IPython, a final semicolon hides the value."""
    lines = code.rstrip().splitlines()
    return bool(lines) and lines[-1].split("#")[0].rstrip().endswith(";")


def format_traceback(error):
    """Formats it without the kernel's own frames."""
    formatted = traceback.TracebackException.from_exception(error)
    own = os.path.dirname(os.path.abspath(__file__)) + os.sep
    pending, seen = [formatted], set()
    while pending:
        part = pending.pop()
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        kept = [frame for frame in part.stack if not os.path.abspath(frame.filename).startswith(own)]
        # What called the cell is not the user's, such as the event loop below a top-level await.
        cells = [number for number, frame in enumerate(kept) if frame.filename.startswith("<cell ")]
        if cells:
            kept = kept[cells[0] :]
        elif isinstance(error, SyntaxError) and part is formatted:
            kept = []
        part.stack = traceback.StackSummary.from_list(kept)
        pending += [part.__cause__, part.__context__]
    return "".join(formatted.format())


def has_ipykernel():
    return all(importlib.util.find_spec(name) for name in ("ipykernel", "jupyter_client"))


def main(requests, events):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # The user's programs import from the directory that they run in, not from the kernel's.
    sys.path[0] = ""
    sys.argv = [""]
    link = Link(requests, events)
    notice = None
    if has_ipykernel():
        from . import jupyter_kernel

        try:
            bridge = jupyter_kernel.JupyterKernel(link)
        except Exception as error:
            notice = "ipykernel does not start (%s); a plain Python kernel is used\n" % error
        else:
            bridge.serve()
            return
    link.open_streams()
    kernel = PythonKernel(link)
    link.handle_interrupts()
    link.emit({"event": "ready"})
    while True:
        request = link.receive()
        if request is None:
            break
        if notice is not None:
            sys.stderr.write(notice)
            notice = None
        kernel.run(request["code"], request["env"])
