"""Commands that run to their end."""

import datetime
import pathlib
import signal
import subprocess

import pytest

from sandbox_sdk import (
    CommandExecutionError,
    CommandTimeoutError,
    InvalidArgumentError,
    SandboxError,
)


def test_a_command_returns_what_subprocess_returns(sbx):
    args = ["sh", "-c", "cat; echo err >&2; exit 3"]
    ours = sbx.run(args, input=b"in\x00\xff")
    theirs = subprocess.run(args, input=b"in\x00\xff", capture_output=True)
    assert (ours.args, ours.returncode, ours.stdout, ours.stderr) == (
        theirs.args,
        theirs.returncode,
        theirs.stdout,
        theirs.stderr,
    )


def test_texts_have_newlines_of_python(sbx):
    ours = sbx.run(["printf", r"a\r\nb\rc\n"], text=True).stdout
    assert ours == subprocess.run(["printf", r"a\r\nb\rc\n"], text=True, capture_output=True).stdout == "a\nb\nc\n"


def test_output_that_is_no_text_does_not_fail(sbx):
    assert sbx.run(["printf", r"\377"], text=True).stdout == "\N{REPLACEMENT CHARACTER}"
    assert sbx.run(["printf", r"\351"], encoding="latin-1").stdout == "é"
    with pytest.raises(UnicodeDecodeError):
        sbx.run(["printf", r"\377"], text=True, errors="strict")


def test_a_signal_is_a_negative_returncode(sbx):
    assert sbx.shell("kill -KILL $$").returncode == -signal.SIGKILL


def test_paths_can_be_arguments_and_directories(sbx, home):
    path = pathlib.PurePosixPath(home)
    done = sbx.run(["ls", "-d", path], text=True)
    assert done.stdout == f"{home}\n"
    assert sbx.run(["pwd"], cwd=path, text=True).stdout.endswith(f"/{home}\n")


def test_arguments_are_not_interpreted(sbx):
    args = ["$HOME", "a b", "'", "\n", "", "caf\udce9"]
    out = sbx.run(["printf", r"%s\0", *args]).stdout
    assert out.split(b"\0")[:-1] == [b"$HOME", b"a b", b"'", b"\n", b"", b"caf\xe9"]


def test_variables_are_added(sbx):
    assert sbx.shell("echo $A-$HOME", env={"A": "1"}, text=True).stdout.startswith("1-/")


def test_check_raises_with_everything(sbx):
    with pytest.raises(CommandExecutionError) as caught:
        sbx.shell("echo out; echo 'bad \x1b[2J' >&2; exit 4", check=True, text=True)
    error = caught.value
    assert (error.returncode, error.stdout, error.reason) == (4, "out\n", "failed")
    assert error.cmd.startswith("echo out")
    # What a sandbox prints must not control the terminal.
    assert str(error) == r"the command failed with exit code 4: bad \x1b[2J"


def test_a_timeout_kills(sbx):
    for limit in (0.2, datetime.timedelta(milliseconds=200)):
        with pytest.raises(CommandTimeoutError) as caught:
            sbx.run(["sleep", "60"], timeout=limit)
    error = caught.value
    assert isinstance(error, TimeoutError)
    assert (error.timeout, error.is_killed, error.cmd) == (0.2, True, ["sleep", "60"])


def test_a_program_that_is_missing(sbx):
    with pytest.raises(CommandExecutionError) as caught:
        sbx.run(["/no/such/program"], check=True)
    assert caught.value.returncode == 127 or caught.value.reason == "not-started"


def test_a_terminal(sbx):
    done = sbx.shell("test -t 1 && stty size", pty=(100, 30), text=True)
    assert done.stdout == "30 100\n"


def test_output_is_capped(sbx):
    done = sbx.shell("yes | head -c 100000", output_cap=1000)
    assert len(done.stdout) == 1000
    assert done.stdout_dropped == 99_000


def test_much_output(sbx):
    size = 64 << 20
    done = sbx.run(["head", "-c", str(size), "/dev/zero"], output_cap=size)
    assert done.stdout == bytes(size)


@pytest.mark.parametrize(
    "call",
    [
        lambda sbx: sbx.run("ls -l"),
        lambda sbx: sbx.run(b"ls"),
        lambda sbx: sbx.run(None),
        lambda sbx: sbx.run(["ls", 1]),
        lambda sbx: sbx.run(["ls"], input="text"),
        lambda sbx: sbx.run(["ls"], input=5),
        lambda sbx: sbx.run(["ls"], env={"A": 1}),
        lambda sbx: sbx.run(["ls"], env=["A=1"]),
        lambda sbx: sbx.run(["ls"], timeout="1"),
        lambda sbx: sbx.run(["ls"], timeout=True),
        lambda sbx: sbx.run(["ls"], cwd=1),
        lambda sbx: sbx.run(["ls"], unknown=1),
        lambda sbx: sbx.shell(["ls"]),
        lambda sbx: sbx.write_text("a", b"bytes"),
        lambda sbx: sbx.write_bytes("a", "text"),
        lambda sbx: sbx.write_bytes(3, b""),
        lambda sbx: sbx.forward("80"),
        lambda sbx: sbx.extend(None),
        lambda sbx: sbx.annotate({"a": 1}),
    ],
)
def test_wrong_types_are_type_errors(sbx, call):
    with pytest.raises(TypeError):
        call(sbx)


@pytest.mark.parametrize(
    "call",
    [
        lambda sbx: sbx.run([]),
        lambda sbx: sbx.run(["a\0b"]),
        lambda sbx: sbx.run(["ls"], env={"A=B": "c"}),
        lambda sbx: sbx.run(["ls"], timeout=-1),
        lambda sbx: sbx.run(["ls"], timeout=float("nan")),
        lambda sbx: sbx.run(["ls"], timeout=float("inf")),
        lambda sbx: sbx.popen(["ls"], stdin=7),
        lambda sbx: sbx.forward(80, host="no address"),
        lambda sbx: sbx.rmtree("/"),
    ],
)
def test_wrong_values_are_value_errors(sbx, call):
    with pytest.raises(InvalidArgumentError) as caught:
        call(sbx)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, SandboxError)
    assert caught.value.argument
