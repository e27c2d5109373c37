"""The few lines of IPython that code for `run_code` often has: `!command`, `%pip`, `%cd`, `%env`, `%%bash`."""

import ast
import os
import re
import shutil
import subprocess
import sys

SHELL_LINE = re.compile(r"^(\s*)!(.+)$")
MAGIC_LINE = re.compile(r"^(\s*)%(\w+)[ \t]*(.*)$")


class UsageError(Exception):
    """A magic command that does not exist here, or is used wrongly."""


def parse(code, filename):
    """Parses a cell; returns its tree, and the code that the tree is of."""
    cell = re.match(r"^\s*%%(\w+)[^\n]*\n?", code)
    if cell is not None:
        if cell.group(1) not in ("bash", "sh"):
            raise UsageError("%%%%%s needs ipykernel in the image" % cell.group(1))
        code = call_of("run_shell", code[cell.end() :])
    try:
        return ast.parse(code, filename), code
    except SyntaxError:
        replaced = "\n".join(replace_line(line) for line in code.split("\n"))
        if replaced == code:
            raise
    try:
        return ast.parse(replaced, filename), replaced
    except SyntaxError:
        # What is wrong is reported for the code as it was written.
        return ast.parse(code, filename), code


def replace_line(line):
    shell = SHELL_LINE.match(line)
    if shell is not None:
        return shell.group(1) + call_of("run_shell", shell.group(2))
    magic = MAGIC_LINE.match(line)
    if magic is not None:
        return magic.group(1) + call_of("run_magic", magic.group(2), magic.group(3))
    return line


def call_of(function, *arguments):
    """Returns an expression without a name that user code could have changed. It has no value."""
    written = ", ".join(repr(argument) for argument in arguments)
    return "__import__(%r, fromlist=['*']).%s(%s)" % (__name__, function, written)


def run_shell(command):
    from .link import flush_streams

    flush_streams()
    subprocess.run([shutil.which("bash") or "/bin/sh", "-c", command], check=False)


def run_magic(name, rest):
    rest = rest.strip()
    if name == "pip":
        run_shell("'%s' -m pip %s" % (sys.executable.replace("'", "'\\''"), rest))
    elif name == "cd":
        os.chdir(os.path.expanduser(rest.strip("'\"") or "~"))
    elif name in ("env", "set_env"):
        run_env(rest)
    elif name not in ("matplotlib", "autoreload", "load_ext"):
        raise UsageError("%%%s needs ipykernel in the image" % name)


def run_env(rest):
    if not rest:
        for key, value in sorted(os.environ.items()):
            print("%s=%s" % (key, value))
        return
    separator = "=" if "=" in rest else None
    parts = rest.split(separator, 1)
    if len(parts) == 1:
        print(os.environ.get(parts[0], ""))
    else:
        os.environ[parts[0].strip()] = parts[1].strip()
