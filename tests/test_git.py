import subprocess

import pytest

from xtcav_ml import git
from xtcav_ml.errors import UserError


@pytest.fixture
def commit(tmp_path):
    """A folder with a commit of a source file, a binary one and an ignored one; returns what runs git there."""

    def run(*arguments, folder=tmp_path):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)
        return done.stdout

    run("init", "-q", "-b", "main")
    (tmp_path / "a.py").write_text("code\n")
    (tmp_path / "gone.py").write_text("old\n")
    (tmp_path / "picture.bin").write_bytes(bytes(range(256)))
    (tmp_path / ".gitignore").write_text("ignored\n")
    run("add", "-A")
    run("commit", "-qm", "x")
    return run


def edit(folder):
    (folder / "a.py").write_text("edited\n")
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
    "setting", ["diff.noprefix", "diff.mnemonicPrefix", "color.diff=always", "diff.external=/bin/false"]
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
    for path in ("a.py", "picture.bin", "neu ä*.py", "new.bin", "empty"):
        assert (clone / path).read_bytes() == (tmp_path / path).read_bytes()
    for path in ("gone.py", "ignored", "dvc.lock", "results", "deep"):
        assert not (clone / path).exists()


def test_a_large_new_file_is_named_and_left_out(commit, tmp_path):
    (tmp_path / "shots.h5").write_bytes(bytes(git.LARGEST + 1))
    assert git.patch(tmp_path) == git.Patch(b"", ("shots.h5",))


def test_a_password_in_the_remote_is_masked(commit, tmp_path):
    commit("remote", "add", "origin", "https://me:secret@example.org/project.git")
    assert git.state(tmp_path)["remote"] == "https://***@example.org/project.git"


def test_without_git_it_says_none(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git.state(tmp_path) == {"commit": "none", "branch": "none", "dirty": "true", "remote": "none"}
    with pytest.raises(UserError, match=r"git ls-files .* got 'fatal: not a git repository"):
        git.patch(tmp_path)


def test_a_file_of_a_commit_is_read_without_checking_it_out(commit, tmp_path):
    (tmp_path / "a.py").write_text("edited\n")
    assert git.show("HEAD", "a.py", tmp_path) == b"code\n"
    with pytest.raises(UserError, match="git show HEAD~7"):
        git.show("HEAD~7", "a.py", tmp_path)
