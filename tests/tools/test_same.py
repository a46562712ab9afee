"""What is compared and what is taken over; tests/end_to_end/test_code.py runs the stages."""

import json

import pytest

from tests.conftest import ROOT, git
from xtcav_ml.config import paths
from xtcav_ml.lineage import fingerprint
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools import same

STAGES = tuple(same.STAGE_OUTPUTS)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose stages write the text of its one source file, and that last ran with the code of its commit."""
    root = tmp_path / "project"
    (root / "src").mkdir(parents=True)
    (root / "src/code.py").write_text("one")
    for name in ("dvc.yaml", "params.yaml", "requirements.txt", "requirements-jax.txt"):
        (root / name).write_text((ROOT / name).read_text())
    lock = {stage: {"params": {f"code/{stage}.json": {"fingerprint": "one"}}} for stage in STAGES}
    (root / "dvc.lock").write_text(json.dumps({"stages": lock}))
    git(root, "init", "-q")
    git(root, "add", "--all")
    git(root, "commit", "-qm", "x")
    status = {stage: [{"changed deps": {f"code/{stage}.json": {"fingerprint": "modified"}}}] for stage in STAGES}
    commands: list[tuple[str, ...]] = []

    def run(folder, command):
        text = (folder / "src/code.py").read_text()
        if command == "fingerprint":
            for stage in STAGES:
                fingerprint.atomic.write_json(folder / fingerprint.file_of(stage), vars(fingerprint.Code(text)))
            return
        for path in same.STAGE_OUTPUTS[command]:
            output = folder / path if path.suffix else folder / path / "file"
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(text.replace("again", "one"))

    def dvc(root, *arguments):
        commands.append(arguments)
        return json.dumps(status)

    monkeypatch.setattr(same, "_run_stage", run)
    monkeypatch.setattr(same, "_dvc", dvc)
    monkeypatch.chdir(root)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return root, status, commands


def test_every_stage_is_compared():
    assert STAGES == paths.STAGES


def test_equal_bytes_take_all_outputs_over(project):
    root, _, commands = project
    (root / "src/code.py").write_text("again")
    assert same.take_over_if_same("HEAD")
    assert commands == [("status", "--json"), ("commit", "--force", *STAGES)]
    assert fingerprint.read_code(root / "code/train.json") == fingerprint.present_code("train", root)


def test_a_stage_of_the_same_code_is_run_once_and_none_after_the_last_that_differs(project, monkeypatch):
    _, _, commands = project
    run, ran = same._run_stage, []

    def of_prepare(folder, command):
        run(folder, command)
        ran.append((folder.name, command))
        if command == "fingerprint" and folder.name == "now":
            fingerprint.atomic.write_json(folder / "code/prepare.json", vars(fingerprint.Code("two")))

    monkeypatch.setattr(same, "_run_stage", of_prepare)
    assert same.take_over_if_same("HEAD")
    both = [(folder, stage) for stage in ("fingerprint", "prepare") for folder in ("then", "now")]
    assert sorted(ran) == sorted([*both, ("then", "simulate"), ("then", "check")])
    assert commands[-1] == ("commit", "--force", *STAGES)


def test_the_first_stage_and_file_that_differ_are_named_and_nothing_is_changed(project, capsys):
    root, _, commands = project
    (root / "src/code.py").write_text("two")
    assert not same.take_over_if_same("HEAD")
    assert "simulate: data/raw/simulated/file" in capsys.readouterr().out
    assert commands == []
    assert not (root / "code").exists()


@pytest.mark.parametrize(
    ("stage", "changes"),
    [
        ("train", [{"changed deps": {"data/prepared/train.h5": "modified", "code/train.json": {}}}]),
        ("train", [{"changed deps": {"params.yaml": {}}}, {"changed deps": {"code/train.json": {}}}]),
        ("train", [{"changed deps": {"code/train.json": {}}}, {"changed outs": {"models/model.keras": "deleted"}}]),
        ("train", ["always changed"]),
    ],
)
def test_what_is_out_of_date_for_another_reason_is_not_taken_over(project, stage, changes):
    _, status, commands = project
    status[stage] = changes
    assert same.take_over_if_same("HEAD")
    assert commands[-1] == ("commit", "--force", *(name for name in STAGES if name != stage))


def test_what_other_code_made_than_the_commit_s_is_not_taken_over(project):
    root, _, commands = project
    lock = json.loads((root / "dvc.lock").read_text())
    lock["stages"]["train"]["params"]["code/train.json"]["fingerprint"] = "zero"
    (root / "dvc.lock").write_text(json.dumps(lock))
    assert same.take_over_if_same("HEAD")
    assert "train" not in commands[-1]


@pytest.mark.parametrize(("then", "now"), [("1.0", "9.9"), ("9.9", "9.9"), (None, "9.9")])
def test_a_stage_of_other_libraries_is_not_taken_over(project, monkeypatch, capsys, then, now):
    """Both runs use the installed ones, so that equal bytes prove nothing of others."""
    commands = project[2]
    run = same._run_stage

    def with_libraries(folder, command):
        run(folder, command)
        libraries = {"numpy": then if folder.name == "then" else now}
        if command == "fingerprint":
            code = fingerprint.Code("one", {name: version for name, version in libraries.items() if version})
            fingerprint.atomic.write_json(folder / "code/train.json", vars(code))

    monkeypatch.setattr(same, "_run_stage", with_libraries)
    assert same.take_over_if_same("HEAD")
    assert commands[-1] == ("commit", "--force", *(name for name in STAGES if name != "train"))
    assert "train is not taken over" in capsys.readouterr().out


@pytest.mark.parametrize("revision", ["nowhere", "--output=x"])
def test_a_revision_that_is_not_there_is_an_error(project, revision):
    with pytest.raises(UserError, match="git rev-parse"):
        same.take_over_if_same(revision)


def test_a_stage_that_fails_says_why(tmp_path):
    with pytest.raises(UserError, match=r"no-such-command: .*Fix: "):
        same._run_stage(tmp_path, "no-such-command")
