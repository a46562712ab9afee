import re
import shlex
import subprocess

import pytest

from tests.conftest import ROOT
from tests.conftest import git as git_as
from xtcav_ml.lineage import git
from xtcav_ml.system.errors import UserError


@pytest.fixture
def commit(tmp_path):
    """A folder with a commit of a source file, a binary one and an ignored one; returns what runs git there."""

    def run(*arguments, folder=tmp_path):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)
        return done.stdout

    run("init", "-q", "-b", "main")
    (tmp_path / "a.py").write_text("code\n")
    (tmp_path / "long.py").write_text("line\n" * 9)
    (tmp_path / "gone.py").write_text("old\n")
    (tmp_path / "picture.bin").write_bytes(bytes(range(256)))
    (tmp_path / ".gitignore").write_text("ignored\n")
    run("add", "-A")
    run("commit", "-qm", "x")
    return run


def edit(folder):
    (folder / "a.py").write_text("edited\n")
    (folder / "long.py").write_text("line\n" * 4 + "edited\n" + "line\n" * 4)
    (folder / "gone.py").unlink()
    (folder / "picture.bin").write_bytes(bytes(range(255, -1, -1)))
    (folder / "neu ä*.py").write_text("new\n")
    (folder / "new.bin").write_bytes(b"\0\1\2" * 100)
    (folder / "empty").touch()
    (folder / "ignored").write_text("x")
    for name in ("dvc.lock", "results/metrics.json", "deep/dvc.lock"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("of a stage")


def test_nothing_edited_is_an_empty_patch(commit, tmp_path):
    assert git.patch(tmp_path) == git.Patch(b"", ())
    assert git.state(tmp_path) == {
        "commit": commit("rev-parse", "HEAD").decode().strip(),
        "branch": "main",
        "dirty": "false",
        "remote": "none",
    }


def test_outputs_do_not_make_it_dirty(commit, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "metrics.json").write_text("{}")
    (tmp_path / "dvc.lock").write_text("x")
    assert git.state(tmp_path)["dirty"] == "false"
    assert git.patch(tmp_path).content == b""
    (tmp_path / "a.py").write_text("edited")
    assert git.state(tmp_path)["dirty"] == "true"


@pytest.mark.parametrize(
    "setting",
    [
        "diff.noprefix",
        "diff.mnemonicPrefix",
        "color.diff=always",
        "diff.external=/bin/false",
        "diff.context=0",
        "diff.relative",
    ],
)
def test_the_patch_makes_a_clone_what_the_workspace_was(commit, tmp_path, tmp_path_factory, setting):
    name, _, value = setting.partition("=")
    commit("config", name, value or "true")
    edit(tmp_path)
    before = commit("status", "--porcelain"), (tmp_path / ".git/index").read_bytes()
    patch = git.patch(tmp_path)
    assert (commit("status", "--porcelain"), (tmp_path / ".git/index").read_bytes()) == before
    clone = tmp_path_factory.mktemp("clone") / "clone"
    commit("clone", "-q", str(tmp_path), str(clone))
    (clone.parent / "diff.patch").write_bytes(patch.content)
    commit("apply", str(clone.parent / "diff.patch"), folder=clone)
    for path in ("a.py", "long.py", "picture.bin", "neu ä*.py", "new.bin", "empty"):
        assert (clone / path).read_bytes() == (tmp_path / path).read_bytes()
    for path in ("gone.py", "ignored", "dvc.lock", "results", "deep"):
        assert not (clone / path).exists()


def test_a_large_new_file_is_named_and_left_out(commit, tmp_path):
    (tmp_path / "shots.h5").write_bytes(bytes(git.LARGEST_SOURCE + 1))
    assert git.patch(tmp_path) == git.Patch(b"", ("shots.h5",))


def test_a_password_in_the_remote_is_masked(commit, tmp_path):
    commit("remote", "add", "origin", "https://me:secret@example.org/project.git")
    assert git.state(tmp_path)["remote"] == "https://***@example.org/project.git"


def test_without_git_it_says_none(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    state = git.state(tmp_path)
    assert state.pop("problem")
    assert state == {"commit": "none", "branch": "none", "dirty": "true", "remote": "none"}
    with pytest.raises(UserError, match=r"git ls-files .*found 'fatal: not a git repository"):
        git.patch(tmp_path)


TROUBLES = {
    "no repository": ({}, [], "not a git repository"),
    "no commit": ({}, ["git init -q"], "unknown revision"),
    "of another user": (
        {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"},
        ["git init -q", "git add --all", "git commit -qm x"],
        "dubious ownership",
    ),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_git_that_names_no_commit_is_one_line_whose_cure_works(tmp_path, monkeypatch, name):
    variables, commands, reason = TROUBLES[name]
    folder = tmp_path / "a project's"
    folder.mkdir()
    (folder / "a.py").write_text("code\n")
    (tmp_path / "config").write_text("[user]\nname = t\nemail = t@example.org\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    for command in commands:
        subprocess.run(shlex.split(command), cwd=folder, check=True)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    problem = git.problem(folder)
    assert "\n" not in problem
    assert reason in problem
    assert git.state(folder)["problem"] == problem
    for cure in re.findall("`([^`]*)`", problem.partition("Fix: ")[2]):
        message = ["-m", "x"] if cure == "git commit" else []
        subprocess.run([*shlex.split(cure), *message], cwd=folder, check=True, capture_output=True)
    assert git.problem(folder) == ""
    assert "problem" not in git.state(folder)


def test_without_the_program_the_cure_is_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "Fix: install git" in git.problem(tmp_path)


def test_settings_of_the_user_hide_no_new_file(commit, tmp_path):
    commit("config", "status.showUntrackedFiles", "no")
    (tmp_path / "new.py").write_text("code\n")
    assert git.state(tmp_path)["dirty"] == "true"


def test_a_file_of_a_commit_is_read_without_checking_it_out(commit, tmp_path):
    (tmp_path / "a.py").write_text("edited\n")
    assert git.file_at("HEAD", "a.py", tmp_path) == b"code\n"
    with pytest.raises(UserError, match="git show --end-of-options HEAD~7"):
        git.file_at("HEAD~7", "a.py", tmp_path)


@pytest.fixture
def project(tmp_path):
    """A project in a folder of a repository, and a file that two of its three commits change."""
    folder = tmp_path / "project"
    folder.mkdir()
    git_as(tmp_path, "init", "--quiet")
    for message, name, text in (("one", "a", "1"), ("two", "b", "1"), ("three: a \N{GREEK SMALL LETTER MU}", "a", "2")):
        (folder / name).write_text(text)
        git_as(folder, "add", "--all")
        git_as(folder, "commit", "--quiet", "--message", message)
    return folder


def test_the_commits_that_changed_a_file_newest_first(project):
    changed = git.changing("a", project)
    assert [git.file_at(revision, "a", project).decode() for revision in changed] == ["2", "1"]
    assert [git.title(revision, project).partition(" ")[2][8:] for revision in changed] == ["three: a μ", "one"]
    assert git.changing("c", project) == []


@pytest.mark.parametrize(("revision", "name"), [("HEAD", "c"), ("no-such", "a"), ("--all", "a")])
def test_what_is_not_there_is_an_error_with_git_s_reason(project, revision, name):
    with pytest.raises(git.GitError, match="fatal"):
        git.file_at(revision, name, project)


def test_no_repository_has_no_commits(tmp_path):
    assert git.changing("a", tmp_path) == []


@pytest.fixture
def clones(commit, tmp_path, tmp_path_factory):
    """A bare origin, and a clone with a commit that only the origin has, too; returns their folder and the commit."""
    top = tmp_path_factory.mktemp("clones")
    git_as(top, "clone", "-q", "--bare", str(tmp_path), "hub.git")
    git_as(top, "clone", "-q", "hub.git", "mine")
    (tmp_path / "a.py").write_text("later\n")
    commit("commit", "-qam", "later")
    commit("push", "-q", str(top / "hub.git"), "main")
    return top, git_as(tmp_path, "rev-parse", "HEAD").strip()


def test_a_commit_that_is_here_is_cloned_from_here(commit, tmp_path, tmp_path_factory):
    first = git_as(tmp_path, "rev-parse", "HEAD").strip()
    (tmp_path / "a.py").write_text("later\n")
    commit("commit", "-qam", "later")
    commit("update-ref", "refs/heads/main", first)  # no branch has it any more
    clone = tmp_path_factory.mktemp("clone") / "deep" / "clone"
    git.clone_at(first, "none", tmp_path, clone)
    assert (clone / "a.py").read_text() == "code\n"
    assert git.state(clone)["commit"] == first


@pytest.mark.parametrize("origin", [True, False])
def test_a_commit_of_another_clone_comes_from_the_origin_or_the_run_s_remote(clones, origin, monkeypatch):
    top, later = clones
    for name, value in (("COUNT", "1"), ("KEY_0", f"url.file://{top}/.insteadOf"), ("VALUE_0", "https://example.org/")):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    if not origin:
        git_as(top / "mine", "remote", "remove", "origin")
    git.clone_at(later, "none" if origin else "https://***@example.org/hub.git", top / "mine", top / "again")
    assert (top / "again" / "a.py").read_text() == "later\n"


def test_a_commit_that_nobody_has_is_one_line_without_a_password(clones):
    top, _ = clones
    git_as(top / "mine", "remote", "set-url", "origin", f"file://me:secret@{top}/none.git")
    with pytest.raises(git.GitError, match=r"commit 0{40}: .*\*\*\*@.*Fix: run `git push`") as refused:
        git.clone_at("0" * 40, "none", top / "mine", top / "again")
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_patch_that_does_not_fit_is_an_error(commit, tmp_path):
    edit(tmp_path)
    content = git.patch(tmp_path).content
    with pytest.raises(git.GitError, match=r"git apply .*a\.py"):  # they are edited already
        git.apply(content, tmp_path)


@pytest.mark.parametrize("setting", ["true", "input", "false"])
def test_a_clone_has_the_same_bytes_whatever_git_is_told_of_line_ends(tmp_path, setting):
    origin = tmp_path / "origin"
    origin.mkdir()
    texts = {"params.yaml": b"a: 1\nb: 2\n", "Makefile": b"all:\n\techo\n", "other.txt": b"a\r\nb\r\n"}
    for name, text in (texts | {".gitattributes": (ROOT / ".gitattributes").read_bytes()}).items():
        (origin / name).write_bytes(text)
    git_as(origin, "init", "-q")
    git_as(origin, "-c", f"core.autocrlf={setting}", "add", ".")
    git_as(origin, "commit", "-qm", "x")
    git_as(tmp_path, "-c", f"core.autocrlf={setting}", "clone", "-q", "origin", "clone")
    assert {name: (tmp_path / "clone" / name).read_bytes() for name in texts} == texts
    assert git_as(tmp_path / "clone", "-c", f"core.autocrlf={setting}", "status", "--porcelain") == ""
