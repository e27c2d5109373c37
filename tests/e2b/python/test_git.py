"""The helper for git, which runs git inside the sandbox."""

import pytest

pytestmark = pytest.mark.since("2.45.0")


@pytest.fixture
def repository(sandbox, directory):
    path = f"{directory}/repository"
    sandbox.git.init(path, initial_branch="main")
    sandbox.git.configure_user("A Name", "name@example.test", scope="local", path=path)
    return path


def test_commit_and_status(sandbox, repository):
    sandbox.files.write(f"{repository}/file", "content\n")
    status = sandbox.git.status(repository)
    assert [entry.name for entry in status.file_status] == ["file"]
    sandbox.git.add(repository)
    sandbox.git.commit(repository, "A message with 'quotes' and ünïcode")
    assert sandbox.git.status(repository).file_status == []
    log = sandbox.commands.run("git log --format='%an <%ae> %s'", cwd=repository).stdout
    assert log == "A Name <name@example.test> A message with 'quotes' and ünïcode\n"


def test_branches_and_clone(sandbox, repository, directory):
    sandbox.files.write(f"{repository}/file", "content\n")
    sandbox.git.add(repository)
    sandbox.git.commit(repository, "first")
    sandbox.git.create_branch(repository, "topic")
    branches = sandbox.git.branches(repository)
    assert sorted(branches.branches) == ["main", "topic"] and branches.current_branch == "topic"
    sandbox.git.checkout_branch(repository, "main")
    sandbox.git.clone(f"file://{repository}", path=f"{directory}/clone")
    assert sandbox.files.read(f"{directory}/clone/file") == "content\n"
