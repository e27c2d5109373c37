"""What a sandbox can do to its client: names, sizes, texts and ends that are meant to do harm."""

import threading

import pytest

from sandbox_sdk import CommandExecutionError, FileTransferError, SandboxError


def test_errors_do_not_control_the_terminal(sbx):
    with pytest.raises(CommandExecutionError) as caught:
        sbx.run(["sh", "-c", r"printf '\033[2J\r\342\200\256\007' >&2; exit 1"], check=True)
    assert str(caught.value).isprintable()
    assert caught.value.stderr == b"\x1b[2J\r\xe2\x80\xae\x07"


def test_names_in_errors_are_escaped(sbx, home):
    with pytest.raises(FileNotFoundError) as caught:
        sbx.read_bytes(f"{home}/\x1b[2J\nx")
    assert str(caught.value).isprintable()
    assert caught.value.path == f"{home}/\x1b[2J\nx"


def test_a_file_that_never_ends_is_refused(sbx):
    with pytest.raises((FileTransferError, SandboxError)):
        sbx.download("/dev/zero", "/dev/full")


def test_links_do_not_lead_outside(sbx, home, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    sbx.mkdir(f"{home}/tree")
    sbx.symlink(str(outside), f"{home}/tree/escape")
    sbx.symlink("/etc/passwd", f"{home}/tree/passwd")
    report = sbx.download_dir(f"{home}/tree", tmp_path / "tree")
    assert list(outside.iterdir()) == []
    assert not (tmp_path / "tree" / "passwd").exists()
    assert {name for name, _ in report.skipped} == {"escape", "passwd"}


def test_a_flood_that_is_not_read_does_not_fill_the_memory(sbx):
    with sbx.popen("cat /dev/zero", shell=True) as process:
        assert process.poll() is None
        for _ in range(50):
            process.poll()
        # What is kept is limited; the rest waits in the sandbox.
        process.kill()
        assert process.wait() == -9


def test_a_sandbox_that_ends_under_its_commands(client):
    with client.create() as other:
        failures = []

        def work():
            try:
                other.run(["sleep", "60"])
            except SandboxError as error:
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        started = threading.Event()
        started.wait(0.5)
        other.delete()
        for thread in threads:
            thread.join(timeout=30)
            assert not thread.is_alive()
        assert len(failures) == 4


def test_a_log_of_a_job_can_be_any_bytes(sbx):
    job = sbx.start_job(["printf", r"\377\000\033"])
    job.wait()
    assert job.logs().data == b"\xff\x00\x1b"
    assert job.logs().text.startswith("\N{REPLACEMENT CHARACTER}")
