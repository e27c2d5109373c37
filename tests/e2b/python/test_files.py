"""Files and directories: reading, writing, listing, moving, removing, metadata."""

import io
import os
from datetime import datetime, timedelta, timezone

import pytest

from e2b import FileType, InvalidArgumentException, NotFoundException, SandboxException
from e2b.sandbox.filesystem.filesystem import WriteEntry

TEXT = "line\nünï 日本語 🦀\n\ttab\r\n"
BINARY = bytes(range(256)) * 64


@pytest.mark.smoke
def test_write_and_read_text(sandbox, directory):
    written = sandbox.files.write(f"{directory}/text", TEXT)
    assert (written.name, written.path) == ("text", f"{directory}/text")
    assert sandbox.files.read(f"{directory}/text") == TEXT
    assert sandbox.commands.run(f"cat {directory}/text").stdout == TEXT


@pytest.mark.parametrize("data", [b"", BINARY], ids=["empty", "binary"])
def test_write_and_read_bytes(sandbox, directory, data):
    sandbox.files.write(f"{directory}/bytes", data)
    assert bytes(sandbox.files.read(f"{directory}/bytes", format="bytes")) == data
    assert b"".join(sandbox.files.read(f"{directory}/bytes", format="stream")) == data


def test_write_from_a_file_object(sandbox, directory):
    sandbox.files.write(f"{directory}/object", io.BytesIO(BINARY))
    assert bytes(sandbox.files.read(f"{directory}/object", format="bytes")) == BINARY


@pytest.mark.since("2.58.0")
def test_write_from_a_generator(sandbox, directory):
    sandbox.files.write(f"{directory}/chunks", (bytes([number]) * 70_000 for number in range(10)))
    data = sandbox.files.read(f"{directory}/chunks", format="bytes")
    assert len(data) == 700_000 and data[-1] == 9


@pytest.mark.since("2.45.0")
@pytest.mark.parametrize("octets", [False, True], ids=["multipart", "octet-stream"])
def test_both_kinds_of_upload(sandbox, directory, octets):
    sandbox.files.write(f"{directory}/file", BINARY, use_octet_stream=octets)
    assert bytes(sandbox.files.read(f"{directory}/file", format="bytes")) == BINARY


@pytest.mark.since("2.45.0")
def test_gzip_up_and_down(sandbox, directory):
    text = "the same line again\n" * 10_000
    sandbox.files.write(f"{directory}/file", text, gzip=True)
    assert sandbox.commands.run(f"wc -c < {directory}/file").stdout.strip() == str(len(text))
    assert sandbox.files.read(f"{directory}/file", gzip=True) == text


def test_thirty_megabytes(sandbox, directory):
    data = os.urandom(1_000_000) * 30
    sandbox.files.write(f"{directory}/large", data)
    assert sandbox.files.read(f"{directory}/large", format="bytes") == data


def test_write_several_files(sandbox, directory):
    entries = [WriteEntry(path=f"{directory}/several/{number}", data=f"file {number}") for number in range(20)]
    written = sandbox.files.write_files(entries)
    assert [info.path for info in written] == [entry["path"] for entry in entries]
    assert sandbox.files.read(f"{directory}/several/19") == "file 19"
    assert sandbox.files.write_files([]) == []


def test_write_creates_parents_and_overwrites(sandbox, directory):
    path = f"{directory}/a/b/c/file"
    sandbox.files.write(path, "a long first content")
    sandbox.files.write(path, "short")
    assert sandbox.files.read(path) == "short"


def test_overwrite_keeps_the_mode_and_the_inode(sandbox, directory):
    path = f"{directory}/script"
    sandbox.files.write(path, "one")
    before = sandbox.commands.run(f"chmod 751 {path}; stat -c '%a %i' {path}").stdout
    sandbox.files.write(path, "two")
    assert sandbox.commands.run(f"stat -c '%a %i' {path}").stdout == before


@pytest.mark.parametrize("name", ["with space", "ünï 日本", "quote'd \"x\"", "a%20b+c&d=e?f#g", "-dash", "$HOME;ls"])
def test_names(sandbox, directory, name):
    path = f"{directory}/{name}"
    assert sandbox.files.write(path, name).path == path
    assert sandbox.files.read(path) == name
    assert [entry.name for entry in sandbox.files.list(directory)] == [name]
    assert sandbox.files.get_info(path).path == path
    sandbox.files.remove(path)
    assert not sandbox.files.exists(path)


def test_relative_paths_start_at_home(sandbox, home):
    sandbox.files.write("relative/file", "here")
    assert sandbox.files.read(f"{home}/relative/file") == "here"
    assert sandbox.files.get_info("relative/file").path == f"{home}/relative/file"
    sandbox.files.remove("relative")
    assert not sandbox.files.exists(f"{home}/relative")


def test_read_what_is_not_there(sandbox, directory):
    with pytest.raises(NotFoundException, match="nothing"):
        sandbox.files.read(f"{directory}/nothing")
    with pytest.raises(SandboxException):
        sandbox.files.read(directory)


def test_read_a_file_without_a_size(sandbox):
    assert sandbox.files.read("/proc/self/status").startswith("Name:")
    assert len(sandbox.files.read("/proc/sys/kernel/random/boot_id").strip()) == 36


def test_list(sandbox, directory):
    sandbox.files.write_files(
        [WriteEntry(path=f"{directory}/{path}", data="x") for path in ("b", "a/one", "a/two/deep", "c/three")]
    )
    assert [entry.name for entry in sandbox.files.list(directory)] == ["a", "b", "c"]
    names = [entry.path.removeprefix(directory + "/") for entry in sandbox.files.list(directory, depth=2)]
    assert names == ["a", "a/one", "a/two", "b", "c", "c/three"]
    names = [entry.path.removeprefix(directory + "/") for entry in sandbox.files.list(directory, depth=10)]
    assert names == ["a", "a/one", "a/two", "a/two/deep", "b", "c", "c/three"]
    kinds = {entry.name: entry.type for entry in sandbox.files.list(directory)}
    assert kinds == {"a": FileType.DIR, "b": FileType.FILE, "c": FileType.DIR}


def test_list_what_cannot_be_listed(sandbox, directory):
    sandbox.files.write(f"{directory}/file", "x")
    with pytest.raises(InvalidArgumentException, match="not a directory"):
        sandbox.files.list(f"{directory}/file")
    with pytest.raises(NotFoundException):
        sandbox.files.list(f"{directory}/nothing")
    with pytest.raises(InvalidArgumentException):
        sandbox.files.list(directory, depth=0)


def test_list_two_thousand_entries(sandbox, directory):
    sandbox.commands.run(f"cd {directory} && seq -f 'entry-%04g' 2000 | xargs touch")
    names = [entry.name for entry in sandbox.files.list(directory)]
    assert names == [f"entry-{number:04}" for number in range(1, 2001)]


def test_exists(sandbox, directory):
    sandbox.files.write(f"{directory}/file", "x")
    assert sandbox.files.exists(f"{directory}/file")
    assert sandbox.files.exists(directory)
    assert not sandbox.files.exists(f"{directory}/nothing")
    assert not sandbox.files.exists(f"{directory}/file/below")


def test_info(sandbox, directory):
    path = f"{directory}/file"
    sandbox.files.write(path, "12345")
    sandbox.commands.run(f"chmod 640 {path}")
    info = sandbox.files.get_info(path)
    assert (info.name, info.path, info.type, info.size) == ("file", path, FileType.FILE, 5)
    assert info.mode == 0o640 and info.permissions == "-rw-r-----"
    assert f"{info.owner} {info.group}" == sandbox.commands.run(f"stat -c '%U %G' {path}").stdout.strip()
    assert abs(info.modified_time.replace(tzinfo=timezone.utc) - datetime.now(timezone.utc)) < timedelta(minutes=1)
    assert not info.symlink_target
    folder = sandbox.files.get_info(directory)
    assert folder.type == FileType.DIR and folder.permissions == "drwxr-xr-x"
    with pytest.raises(NotFoundException):
        sandbox.files.get_info(f"{directory}/nothing")


def test_info_of_a_link(sandbox, directory):
    sandbox.files.write(f"{directory}/target", "x")
    sandbox.commands.run(f"cd {directory} && ln -s target link && ln -s nowhere dangling")
    info = sandbox.files.get_info(f"{directory}/link")
    assert info.symlink_target == f"{directory}/target"
    assert info.path == f"{directory}/link"
    assert "link" in [entry.name for entry in sandbox.files.list(directory)]


def test_file_is_owned_by_the_user_of_the_sandbox(sandbox, directory):
    sandbox.files.write(f"{directory}/new/file", "x")
    owners = sandbox.commands.run(f"stat -c %U {directory}/new {directory}/new/file; id -un").stdout.split()
    assert len(set(owners)) == 1
    assert sandbox.commands.run(f"stat -c %a {directory}/new {directory}/new/file").stdout.split() == ["755", "644"]


def test_rename(sandbox, directory):
    sandbox.files.write(f"{directory}/old", "content")
    info = sandbox.files.rename(f"{directory}/old", f"{directory}/below/new")
    assert (info.name, info.path) == ("new", f"{directory}/below/new")
    assert not sandbox.files.exists(f"{directory}/old")
    assert sandbox.files.read(f"{directory}/below/new") == "content"
    sandbox.files.write(f"{directory}/other", "other")
    sandbox.files.rename(f"{directory}/other", f"{directory}/below/new")
    assert sandbox.files.read(f"{directory}/below/new") == "other"
    sandbox.files.rename(f"{directory}/below", f"{directory}/moved")
    assert sandbox.files.read(f"{directory}/moved/new") == "other"
    with pytest.raises(NotFoundException):
        sandbox.files.rename(f"{directory}/nothing", f"{directory}/x")


def test_remove(sandbox, directory):
    sandbox.files.write(f"{directory}/tree/a/b", "x")
    sandbox.files.remove(f"{directory}/tree")
    assert not sandbox.files.exists(f"{directory}/tree")
    # What is not there is already removed.
    sandbox.files.remove(f"{directory}/tree")


def test_remove_does_not_follow_a_link(sandbox, directory):
    sandbox.files.write(f"{directory}/kept/file", "x")
    sandbox.commands.run(f"ln -s kept {directory}/link")
    sandbox.files.remove(f"{directory}/link")
    assert sandbox.files.read(f"{directory}/kept/file") == "x"


def test_make_dir(sandbox, directory):
    assert sandbox.files.make_dir(f"{directory}/a/b/c") is True
    assert sandbox.files.make_dir(f"{directory}/a/b/c") is False
    sandbox.files.write(f"{directory}/file", "x")
    with pytest.raises(InvalidArgumentException):
        sandbox.files.make_dir(f"{directory}/file")


@pytest.mark.since("2.45.0")
def test_metadata(sandbox, directory):
    path = f"{directory}/file"
    written = sandbox.files.write(path, "x", metadata={"Author": "me", "note": "some text, and more"})
    expected = {"author": "me", "note": "some text, and more"}
    assert written.metadata == expected
    assert sandbox.files.get_info(path).metadata == expected
    assert sandbox.files.list(directory)[0].metadata == expected
    assert sandbox.files.rename(path, f"{directory}/moved").metadata == expected
    sandbox.files.write(f"{directory}/moved", "y", metadata={"other": "1"})
    assert sandbox.files.get_info(f"{directory}/moved").metadata == {"other": "1"}
    sandbox.files.write(f"{directory}/moved", "z")
    assert sandbox.files.get_info(f"{directory}/moved").metadata is None


@pytest.mark.since("2.45.0")
def test_metadata_of_several_files_by_octet_stream(sandbox, directory):
    entries = [WriteEntry(path=f"{directory}/{name}", data=name) for name in "abc"]
    sandbox.files.write_files(entries, metadata={"kind": "letter"}, use_octet_stream=True)
    assert [entry.metadata for entry in sandbox.files.list(directory)] == [{"kind": "letter"}] * 3


def test_files_of_a_user(sandbox, directory):
    me = sandbox.commands.run("id -un").stdout.strip()
    sandbox.files.write(f"{directory}/file", "x", user=me)
    assert sandbox.files.read(f"{directory}/file", user=me) == "x"
    with pytest.raises(Exception, match="nosuchuser") as raised:
        sandbox.files.read(f"{directory}/file", user="nosuchuser")
    assert type(raised.value).__name__ == "AuthenticationException"


def compose(sandbox, sources, destination):
    """No method of the SDK asks for it; its client of the daemon does."""
    body = {"source_paths": sources, "destination": destination}
    return sandbox.files._envd_api.post("/files/compose", json=body)


@pytest.mark.since("2.45.0")
def test_compose(sandbox, directory):
    parts = [f"{directory}/{number}" for number in range(3)]
    sandbox.files.write_files([WriteEntry(path=part, data=BINARY) for part in parts])
    response = compose(sandbox, parts, f"{directory}/below/whole")
    assert response.status_code == 200
    assert response.json() == {"name": "whole", "path": f"{directory}/below/whole", "type": "file"}
    assert bytes(sandbox.files.read(f"{directory}/below/whole", format="bytes")) == BINARY * 3
    assert [entry.name for entry in sandbox.files.list(directory)] == ["below"]


@pytest.mark.since("2.45.0")
def test_compose_that_is_refused_changes_nothing(sandbox, directory):
    part, whole = f"{directory}/part", f"{directory}/whole"
    sandbox.files.write_files([WriteEntry(path=part, data="part"), WriteEntry(path=whole, data="former")])
    for sources, destination, status in [([part, f"{directory}/none"], whole, 404), ([part, whole], whole, 400)]:
        response = compose(sandbox, sources, destination)
        assert response.status_code == status and response.json()["message"]
    assert (sandbox.files.read(part), sandbox.files.read(whole)) == ("part", "former")
