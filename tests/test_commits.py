import subprocess

import pytest

from xtcav_ml import commits


def git(folder, *arguments):
    identity = ("-c", "user.name=x", "-c", "user.email=x@x")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path):
    """A project in a folder of a repository, and a file that two of its three commits change."""
    folder = tmp_path / "project"
    folder.mkdir()
    git(tmp_path, "init", "--quiet")
    for message, name, text in (("one", "a", "1"), ("two", "b", "1"), ("three: a \N{GREEK SMALL LETTER MU}", "a", "2")):
        (folder / name).write_text(text)
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", message)
    return folder


def test_the_commits_that_changed_a_file_newest_first(project):
    changed = commits.changing(project, "a")
    assert [commits.show(project, revision, "a") for revision in changed] == ["2", "1"]
    assert [commits.title(project, revision).partition(" ")[2][8:] for revision in changed] == ["three: a μ", "one"]
    assert commits.changing(project, "c") == []


@pytest.mark.parametrize(("revision", "name"), [("HEAD", "c"), ("no-such", "a"), ("--all", "a"), ("--format=%H", "a")])
def test_what_is_not_there_is_a_lookup_error_with_git_s_reason(project, revision, name):
    with pytest.raises(LookupError, match="fatal"):
        commits.show(project, revision, name)


def test_no_repository_has_no_commits(tmp_path):
    assert commits.changing(tmp_path, "a") == []
