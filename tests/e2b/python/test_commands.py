"""Commands: results, streams, stdin, environment, users, timeouts, and processes that outlive a connection."""

import threading
import time

import pytest

from conftest import wait_until
from e2b import CommandExitException, InvalidArgumentException, NotFoundException, TimeoutException


def is_alive(sandbox, pid):
    return sandbox.commands.run(f"kill -0 {pid} 2>/dev/null && echo yes || echo no").stdout == "yes\n"


@pytest.mark.smoke
def test_result(sandbox):
    result = sandbox.commands.run("echo out; echo err >&2")
    assert (result.stdout, result.stderr, result.exit_code) == ("out\n", "err\n", 0)
    assert not result.error


@pytest.mark.smoke
@pytest.mark.parametrize("code", [1, 2, 77, 255])
def test_exit_code(sandbox, code):
    with pytest.raises(CommandExitException) as raised:
        sandbox.commands.run(f"echo out; echo err >&2; exit {code}")
    assert raised.value.exit_code == code
    assert (raised.value.stdout, raised.value.stderr) == ("out\n", "err\n")


def test_missing_program_is_127(sandbox):
    with pytest.raises(CommandExitException) as raised:
        sandbox.commands.run("no-such-program")
    assert raised.value.exit_code == 127


def test_command_ended_by_a_signal(sandbox):
    with pytest.raises(CommandExitException) as raised:
        sandbox.commands.run("kill -9 $$")
    assert raised.value.exit_code == -1
    assert "signal: killed" in raised.value.error


def test_shell_is_a_login_bash(sandbox):
    result = sandbox.commands.run('shopt -q login_shell && echo login; echo "${BASH_VERSION:+bash}"')
    assert result.stdout.split() == ["login", "bash"]


def test_quotes_newlines_and_unicode(sandbox):
    text = "it's \"quoted\" $HOME `x` \\ \t ünï 日本語 🦀"
    assert sandbox.commands.run(f"cat <<'END'\n{text}\nEND").stdout == text + "\n"


def test_no_final_newline_and_no_output(sandbox):
    assert sandbox.commands.run("printf abc").stdout == "abc"
    assert sandbox.commands.run("true").stdout == ""


def test_callbacks_come_as_the_output_does(sandbox):
    arrivals = []
    sandbox.commands.run(
        "for i in 1 2 3; do echo line $i; sleep 0.3; done; echo last >&2",
        on_stdout=lambda text: arrivals.append((time.monotonic(), text)),
        on_stderr=lambda text: arrivals.append((time.monotonic(), text)),
    )
    assert [text for _, text in arrivals] == ["line 1\n", "line 2\n", "line 3\n", "last\n"]
    assert arrivals[2][0] - arrivals[0][0] > 0.4


@pytest.mark.since("2.45.0")
def test_unicode_that_is_split_between_writes(sandbox):
    program = r"printf '\xe6\x97'; sleep 0.2; printf '\xa5'; sleep 0.2; printf '\xf0\x9f\xa6'; sleep 0.2; printf '\x80'"
    assert sandbox.commands.run(program).stdout == "日🦀"


def test_binary_output_does_not_break_the_stream(sandbox):
    result = sandbox.commands.run("head -c 100000 /dev/urandom; echo; echo end")
    assert result.stdout.endswith("\nend\n")


def test_twenty_megabytes_of_output(sandbox):
    result = sandbox.commands.run("head -c 20000000 /dev/zero | tr '\\0' a; echo done >&2")
    assert len(result.stdout) == 20_000_000
    assert result.stdout.count("a") == 20_000_000
    assert result.stderr == "done\n"


def test_environment_of_a_command(sandbox):
    envs = {"ONE": "1", "SPACED": "a  b", "LINES": "x\ny", "QUOTES": "'\"$`\\", "EMPTY": ""}
    result = sandbox.commands.run(
        'printf "%s|%s|%s|%s|%s" "$ONE" "$SPACED" "$LINES" "$QUOTES" "${EMPTY-unset}"', envs=envs
    )
    assert result.stdout == "1|a  b|x\ny|'\"$`\\|"


def test_working_directory(sandbox, home, directory):
    assert sandbox.commands.run("pwd").stdout.strip() == home
    assert sandbox.commands.run("pwd", cwd=directory).stdout.strip() == directory
    assert sandbox.commands.run("pwd", cwd=directory.rsplit("/", 1)[1]).stdout.strip() == directory
    assert sandbox.commands.run("pwd", cwd="~").stdout.strip() == home
    with pytest.raises(InvalidArgumentException, match="does not exist"):
        sandbox.commands.run("pwd", cwd="/no/such/directory")


def test_user(sandbox):
    me = sandbox.commands.run("id -un").stdout.strip()
    assert sandbox.commands.run("id -un", user=me).stdout.strip() == me
    result = sandbox.commands.run('echo "$USER $LOGNAME $HOME"')
    assert result.stdout.split() == [me, me, sandbox.commands.run("echo ~").stdout.strip()]


def test_unknown_user_is_refused(sandbox):
    with pytest.raises(Exception, match="nosuchuser") as raised:
        sandbox.commands.run("true", user="nosuchuser")
    assert type(raised.value).__name__ == "AuthenticationException"


def test_stdin_is_closed_unless_asked_for(sandbox):
    assert sandbox.commands.run("cat; echo end").stdout == "end\n"


@pytest.mark.since("2.20.0")
def test_stdin(sandbox):
    handle = sandbox.commands.run("head -n 2", background=True, stdin=True)
    sandbox.commands.send_stdin(handle.pid, "first\n")
    sandbox.commands.send_stdin(handle.pid, "zweite ü\n")
    assert handle.wait().stdout == "first\nzweite ü\n"


@pytest.mark.since("2.50.0")
def test_close_stdin(sandbox):
    handle = sandbox.commands.run("wc -c; sleep 1", background=True, stdin=True)
    sandbox.commands.send_stdin(handle.pid, b"\x00\xff\x80")
    sandbox.commands.close_stdin(handle.pid)
    sandbox.commands.close_stdin(handle.pid)
    assert handle.wait().stdout.strip() == "3"


@pytest.mark.since("2.58.0")
def test_stream_input(sandbox):
    handle = sandbox.commands.run("wc -l", background=True, stdin=True)
    sandbox.commands.stream_input(handle.pid, (f"{number}\n" for number in range(1000)))
    sandbox.commands.close_stdin(handle.pid)
    assert handle.wait().stdout.strip() == "1000"


def test_stdin_of_no_process(sandbox):
    with pytest.raises(NotFoundException):
        sandbox.commands.send_stdin(999_999, "text")


def test_pid_is_that_inside_the_sandbox(sandbox):
    handle = sandbox.commands.run("echo $$; sleep 60", background=True)
    assert next(iter(handle))[0] == f"{handle.pid}\n"
    assert is_alive(sandbox, handle.pid)
    assert handle.kill() is True
    wait_until(lambda: not is_alive(sandbox, handle.pid), what="the end of the process")


def test_list(sandbox):
    handle = sandbox.commands.run("sleep 61", background=True, envs={"A": "b"}, cwd="/")
    found = [process for process in sandbox.commands.list() if process.pid == handle.pid]
    assert len(found) == 1
    assert found[0].cmd == "/bin/bash" and found[0].args[-1] == "sleep 61"
    assert found[0].envs["A"] == "b" and found[0].cwd == "/"
    handle.kill()
    wait_until(
        lambda: handle.pid not in [process.pid for process in sandbox.commands.list()], what="the end of the entry"
    )


def test_kill(sandbox):
    handle = sandbox.commands.run("sleep 62", background=True)
    assert sandbox.commands.kill(handle.pid) is True
    with pytest.raises(CommandExitException) as raised:
        handle.wait()
    assert raised.value.exit_code == -1
    assert sandbox.commands.kill(handle.pid) is False
    assert sandbox.commands.kill(999_999) is False


def test_process_outlives_its_connection(sandbox):
    handle = sandbox.commands.run(
        "sleep 0.5; for i in $(seq 20); do echo tick; sleep 0.1; done; exit 3", background=True, timeout=0
    )
    handle.disconnect()
    again = sandbox.commands.connect(handle.pid)
    assert again.pid == handle.pid
    with pytest.raises(CommandExitException) as raised:
        again.wait()
    assert raised.value.exit_code == 3
    assert "tick\n" in raised.value.stdout


def test_output_without_a_reader_does_not_block_the_process(sandbox, directory):
    handle = sandbox.commands.run(
        f"head -c 5000000 /dev/zero; echo done > {directory}/done; sleep 60", background=True, timeout=0
    )
    handle.disconnect()
    wait_until(lambda: sandbox.files.exists(f"{directory}/done"), what="the end of the output")
    sandbox.commands.kill(handle.pid)


def test_two_connections_get_the_same_output(sandbox, directory):
    handle = sandbox.commands.run(
        f"until [ -e {directory}/go ]; do sleep 0.05; done; seq 100", background=True, timeout=0
    )
    other = sandbox.commands.connect(handle.pid)
    results = {}

    def wait(name, handle):
        results[name] = handle.wait().stdout

    threads = [threading.Thread(target=wait, args=pair) for pair in (("first", handle), ("second", other))]
    for thread in threads:
        thread.start()
    sandbox.files.write(f"{directory}/go", "")
    for thread in threads:
        thread.join(20)
    expected = "".join(f"{number}\n" for number in range(1, 101))
    assert results == {"first": expected, "second": expected}


def test_connect_after_the_end_has_the_exit_code(sandbox):
    handle = sandbox.commands.run("exit 5", background=True)
    with pytest.raises(CommandExitException):
        handle.wait()
    with pytest.raises(CommandExitException) as raised:
        sandbox.commands.connect(handle.pid).wait()
    assert raised.value.exit_code == 5


def test_connect_to_no_process(sandbox):
    with pytest.raises(NotFoundException):
        sandbox.commands.connect(999_999)


def test_timeout_kills_the_whole_group(sandbox, directory):
    with pytest.raises(TimeoutException):
        sandbox.commands.run(f"sleep 63 & echo $! > {directory}/child; wait", timeout=1)
    child = sandbox.files.read(f"{directory}/child").strip()
    wait_until(lambda: not is_alive(sandbox, child), what="the end of the child")


def test_timeout_of_a_background_command(sandbox):
    handle = sandbox.commands.run("sleep 64", background=True, timeout=1)
    wait_until(lambda: not is_alive(sandbox, handle.pid), what="the end of the process")


def test_timeout_of_a_connection_leaves_the_process(sandbox):
    handle = sandbox.commands.run("sleep 65", background=True, timeout=0)
    with pytest.raises(TimeoutException):
        sandbox.commands.connect(handle.pid, timeout=1).wait()
    assert is_alive(sandbox, handle.pid)
    sandbox.commands.kill(handle.pid)


def test_background_child_does_not_hold_the_command(sandbox):
    start = time.monotonic()
    assert sandbox.commands.run("sleep 20 >/dev/null 2>&1 & echo started").stdout == "started\n"
    assert time.monotonic() - start < 10
