"""Files and trees."""

import os
import pathlib
import threading

import pytest

from sandbox_sdk import FileTransferError, SandboxFileNotFoundError, SandboxPermissionError


def test_what_is_written_is_read(sbx, home):
    path = pathlib.PurePosixPath(home) / "a"
    for data in (b"", b"\x00\xff", bytearray(b"x"), memoryview(b"y")):
        assert sbx.write_bytes(path, data) == len(data)
        assert sbx.read_bytes(path) == bytes(data)
    sbx.append_bytes(path, b"z")
    assert sbx.read_bytes(path) == b"yz"
    sbx.write_text(path, "ü", encoding="latin-1")
    assert sbx.read_text(path, encoding="latin-1") == "ü"
    with pytest.raises(UnicodeDecodeError):
        sbx.read_text(path)


def test_names_that_are_not_utf8(sbx, home):
    name = os.fsdecode(b"caf\xe9")
    sbx.write_bytes(f"{home}/{name}", b"")
    sbx.write_bytes(home.encode() + b"/\xff", b"")
    assert [entry.name for entry in sbx.listdir(home)] == [name, os.fsdecode(b"\xff")]
    with pytest.raises(FileNotFoundError) as caught:
        sbx.read_bytes(f"{home}/{name}/x")
    assert name in caught.value.path


def test_changes(sbx, home):
    sbx.mkdir(f"{home}/a/b", parents=True)
    sbx.mkdir(f"{home}/a", parents=True)
    with pytest.raises(FileTransferError):
        sbx.mkdir(f"{home}/a")
    sbx.write_text(f"{home}/a/f", "text")
    sbx.chmod(f"{home}/a/f", 0o640)
    info = sbx.stat(f"{home}/a/f")
    assert (info.kind, info.size, info.mode & 0o777, info.is_file) == ("file", 4, 0o640, True)
    sbx.symlink("f", f"{home}/a/link")
    assert sbx.readlink(f"{home}/a/link") == "f"
    sbx.rename(f"{home}/a/f", f"{home}/a/g")
    assert not sbx.exists(f"{home}/a/link")
    sbx.remove(f"{home}/a/link")
    sbx.rmdir(f"{home}/a/b")
    sbx.rmtree(f"{home}/a")
    assert not sbx.exists(f"{home}/a")


def test_missing_files_are_those_of_python(sbx, home):
    for call in (sbx.read_bytes, sbx.stat, sbx.listdir, sbx.remove):
        with pytest.raises(SandboxFileNotFoundError) as caught:
            call(f"{home}/missing")
        assert isinstance(caught.value, FileNotFoundError)
        assert (caught.value.reason, caught.value.path) == ("not-found", f"{home}/missing")


def test_denied_files_are_those_of_python(sbx):
    with pytest.raises(SandboxPermissionError) as caught:
        sbx.write_bytes("/etc/hostname-of-ours", b"")
    assert isinstance(caught.value, (PermissionError, OSError))


def test_a_file_goes_there_and_back(sbx, home, tmp_path):
    local = tmp_path / "data"
    local.write_bytes(os.urandom(3 << 20))
    seen = []
    report = sbx.upload(local, f"{home}/data", progress=seen.append)
    assert report.bytes == 3 << 20
    assert seen[-1].bytes == 3 << 20
    back = tmp_path / "back"
    assert sbx.download(f"{home}/data", back, resume=True).bytes == 3 << 20
    assert back.read_bytes() == local.read_bytes()


def test_a_tree_goes_there_and_back(sbx, home, tmp_path):
    tree = tmp_path / "tree"
    (tree / "empty").mkdir(parents=True)
    (tree / "a").write_text("a")
    (tree / "link").symlink_to("a")
    report = sbx.upload_dir(tree, f"{home}/tree").check()
    assert (report.files, report.directories, report.symlinks) == (1, 2, 1)
    back = tmp_path / "back"
    assert sbx.download_dir(f"{home}/tree", back).check().failures == 0
    assert (back / "a").read_text() == "a" and (back / "link").is_symlink() and (back / "empty").is_dir()


def test_a_callback_that_raises_ends_the_transfer(sbx, home, tmp_path):
    local = tmp_path / "data"
    local.write_bytes(bytes(1 << 20))
    threads = []

    def fail(progress):
        threads.append(threading.current_thread())
        raise ZeroDivisionError("in the callback")

    with pytest.raises(ZeroDivisionError):
        sbx.upload(local, f"{home}/data", progress=fail)
    # In the caller's own thread, and not again after the exception.
    assert threads == [threading.current_thread()]
    assert sbx.run(["true"]).returncode == 0


def test_local_files_that_are_missing(sbx, home, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        sbx.upload(tmp_path / "missing", f"{home}/x")
    assert caught.value.direction == "upload"
    with pytest.raises(FileTransferError):
        sbx.download(f"{home}", tmp_path / "no" / "such")


def test_progress_without_tqdm_is_said(sbx, home, tmp_path, caplog, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tqdm.auto", None)
    (tmp_path / "a").write_text("a")
    sbx.upload(tmp_path / "a", f"{home}/a", progress=True)
    assert "tqdm is not installed" in caplog.text
