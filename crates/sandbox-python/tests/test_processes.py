"""Commands that are used while they run."""

import signal
import subprocess

import pytest

from sandbox_sdk import (
    Chunk,
    ClosedError,
    CommandExecutionError,
    CommandTimeoutError,
    OperationTimeoutError,
    RefusedError,
    _lines,
)


def test_output_arrives_while_the_command_runs(sbx):
    with sbx.popen(["cat"], stdin=subprocess.PIPE, text=True) as process:
        for word in ("one", "two"):
            assert process.stdin.write(word + "\n") == 4
            assert next(process).data == word + "\n"
        assert process.poll() is None
    assert process.returncode == 0


def test_texts_are_decoded_across_pieces(sbx):
    line = r"printf '\303'; sleep 0.05; printf '\251\342'"
    pieces = [data for _, data in sbx.popen(line, shell=True, text=True)]
    assert "".join(pieces) == "é\N{REPLACEMENT CHARACTER}"


def test_lines_are_whole(sbx):
    line = r"printf 'a'; sleep 0.05; printf 'b\nc\r\n\n'; echo e >&2; printf d"
    lines = list(sbx.popen(line, shell=True).lines())
    assert [line.data for line in lines if line.stream == "stdout"] == [b"ab\n", b"c\r\n", b"\n", b"d"]
    assert [line.data for line in lines if line.stream == "stderr"] == [b"e\n"]


def test_lines_that_were_not_taken_are_kept(sbx):
    process = sbx.popen(["seq", "6"], text=True)
    assert next(process.lines()).data == "1\n"
    assert next(process.lines()).data == "2\n"
    assert next(process.lines()).data == "3\n"
    assert next(process).data == "4\n"
    assert process.communicate() == ("5\n6\n", "")


def test_an_endless_line_comes_in_pieces(monkeypatch):
    monkeypatch.setattr(_lines, "LINE_CAP", 8)
    splitter = _lines.LineSplitter()
    found = []
    for data in ("abc", "def", "ghi", "j\nk", "\n", "0123456789\n"):
        splitter.push(Chunk("stdout", data))
        found += iter(splitter.pop, None)
    assert [data for _, data in found] == ["abcdefghi", "j\n", "k\n", "0123456789\n"]


def test_a_character_is_whole_between_a_piece_and_the_rest(sbx):
    process = sbx.popen(r"printf 'a\303'; read go; printf '\251'", shell=True, stdin=True, text=True)
    assert next(process).data == "a"
    assert process.communicate("go\n") == ("é", "")


def test_communicate_goes_on_after_a_timeout(sbx, home):
    line = "echo early; until [ -e go ]; do sleep 0.01; done; cat"
    process = sbx.popen(line, shell=True, cwd=home, stdin=subprocess.PIPE, text=True)
    with pytest.raises(OperationTimeoutError) as caught:
        process.communicate(timeout=0.1)
    assert isinstance(caught.value, TimeoutError)
    sbx.write_text(f"{home}/go", "")
    assert process.communicate() == ("early\n", "")
    assert process.returncode == 0


def test_wait_with_a_timeout(sbx):
    process = sbx.popen(["sleep", "60"])
    with pytest.raises(OperationTimeoutError):
        process.wait(timeout=0.05)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert process.wait() == process.poll() == -signal.SIGKILL


def test_poll_sees_an_end_behind_unread_output(sbx):
    process = sbx.popen("yes | head -c 100000; exit 5", shell=True)
    while process.poll() is None:
        pass
    assert process.returncode == 5
    assert sum(len(data) for _, data in process) == 100_000


@pytest.mark.parametrize("name", ["INT", "SIGTERM", "usr1", signal.SIGHUP, 9])
def test_signals(sbx, name):
    process = sbx.popen(["sleep", "60"])
    process.send_signal(name)
    assert process.wait() < 0


@pytest.mark.parametrize("wrong", [0, -1, 64, 1 << 70])
def test_a_signal_that_does_not_exist(sbx, wrong):
    process = sbx.popen(["cat"], stdin=True)
    with pytest.raises((ValueError, OverflowError)):
        process.send_signal(wrong)
    with pytest.raises(TypeError):
        process.send_signal(None)
    process.close()


def test_a_signal_after_the_end(sbx):
    process = sbx.popen(["true"])
    process.wait()
    with pytest.raises(CommandExecutionError) as caught:
        process.kill()
    assert caught.value.reason == "already-ended"


def test_a_terminal_can_be_resized(sbx):
    line = "stty size; read go; stty size"
    with sbx.popen(line, shell=True, stdin=True, pty=True, text=True) as process:
        lines = process.lines()
        assert next(lines).data.split() == ["24", "80"]
        process.resize(120, 40)
        process.stdin.write("\n")
        assert any(line.data.split() == ["40", "120"] for line in lines)


def test_a_timeout_ends_the_stream(sbx):
    process = sbx.popen("echo first; sleep 60", shell=True, timeout=0.3, text=True)
    seen = []
    with pytest.raises(CommandTimeoutError):
        seen.extend(iter(process.__next__, None))
    # Where it has written that in time.
    assert seen in ([], [Chunk("stdout", "first\n")])


def test_closed_input_and_closed_process(sbx):
    process = sbx.popen(["cat"], stdin=True)
    process.stdin.close()
    process.stdin.close()
    with pytest.raises(ClosedError):
        process.stdin.write(b"x")
    process.close()
    process.close()
    assert list(process) == []
    with pytest.raises(ClosedError):
        process.wait()


def test_an_exception_inside_with_does_not_wait(sbx):
    with pytest.raises(KeyError):
        with sbx.popen("echo $$; sleep 60", shell=True, text=True) as process:
            pid = next(process).data.strip()
            raise KeyError
    # The hangup has ended it.
    assert (
        sbx.shell(f"for i in $(seq 50); do kill -0 {pid} 2>/dev/null || exit 0; sleep 0.1; done; exit 1").returncode
        == 0
    )


def test_text_needs_text(sbx):
    process = sbx.popen(["cat"], stdin=True)
    with pytest.raises(TypeError):
        process.stdin.write("text")
    process.close()


def test_jobs_outlive_their_channel(sbx):
    job = sbx.start_job("echo begin; sleep 0.2; echo end; exit 7", shell=True)
    assert job.id in [info.id for info in sbx.jobs()]
    with job.follow() as stream:
        output = b"".join(data for _, data in stream)
    assert (output, stream.returncode) == (b"begin\nend\n", 7)
    again = sbx.job(job.id)
    assert (again.wait(), again.logs().text) == (7, "begin\nend\n")
    info = next(info for info in sbx.jobs() if info.id == job.id)
    assert (info.exit_code, info.is_running) == (7, False)


def test_a_job_can_be_ended(sbx):
    job = sbx.start_job(["sleep", "60"])
    job.kill()
    assert job.wait() == -signal.SIGKILL
    with pytest.raises(ValueError):
        sbx.job("no such id/")


@pytest.mark.parametrize("call", ["wait", "logs", "kill", "follow"])
def test_a_job_that_is_missing(sbx, call):
    job = sbx.job("job-missing")
    with pytest.raises(RefusedError, match="no job job-missing") as caught:
        for chunk in getattr(job, call)():
            raise AssertionError(chunk)
    assert (caught.value.reason, caught.value.is_retryable) == ("not-found", False)
