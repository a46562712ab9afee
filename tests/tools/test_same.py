"""What is compared and what is taken over; tests/end_to_end/test_code.py runs the stages."""

import json
import shutil

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT, git
from xtcav_ml.config import paths
from xtcav_ml.lineage import dvc_lock, fingerprint
from xtcav_ml.notes2016 import experiments
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools import golden_set, same

OUTPUTS = {step.command: step.outputs for step in golden_set.STAGES}
STAGES = tuple(step.program for step in golden_set.STAGES)
NOTES = ("signal@a", "shots@b", "train@a", "long@c", "measure@d", "validate")
ONE, TWO, ZERO = "one", "two", "zero"  # contents of the source file: a program's fingerprint is its name and these


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose commands write the text of its one source file, and that last ran with the code of its commit."""
    root = tmp_path / "project"
    for folder in ("src", "experiments/data"):
        (root / folder).mkdir(parents=True)
    (root / "src/code.py").write_text(ONE)
    for name in ("dvc.yaml", "params.yaml", "requirements.txt", "requirements-jax.txt", "experiments/dvc.yaml"):
        (root / name).write_text((ROOT / name).read_text())
    lay_lock(root / "dvc.lock", {stage: (stage, ONE) for stage in STAGES})
    git(root, "init", "-q")
    git(root, "add", "--all")
    git(root, "commit", "-qm", "x")
    status: dict[str, list[object]] = {}
    commands: list[tuple[str, ...]] = []

    def run(folder, *lines):
        text = (folder / "src/code.py").read_text()
        for line in lines:
            if line == ("fingerprint",):
                for program in fingerprint.PROGRAMS:
                    fingerprint.atomic.write_json(
                        folder / fingerprint.file_of(program), vars(fingerprint.Code(f"{program} {text}"))
                    )
                continue
            for path in (
                OUTPUTS.get(line)
                or golden_set.of_experiment(
                    {"--data": f"signal@{line[1]}", "--check": "validate"}.get(line[-1], f"train@{line[1]}")
                ).outputs
            ):
                output = folder / path if path.suffix else folder / path / "file"
                output.parent.mkdir(parents=True, exist_ok=True)
                output.write_text("the same")

    def dvc(folder, *arguments):
        """As DVC: `status` names the code that differs from the lock, `commit` records the code that is there."""
        commands.append((folder.name, *arguments))
        lock = folder / "dvc.lock"
        lines = json.loads(json.dumps(YAML(typ="safe").load(lock)))
        said = {name: list(changes) for name, changes in status.items()}
        for name in arguments[2:] or lines["stages"]:
            ((file, recorded),) = lines["stages"][name]["params"].items()
            code = fingerprint.read_code(folder / file) or fingerprint.Code("none")
            if code.fingerprint != recorded["fingerprint"]:
                said.setdefault(name, []).append({"changed deps": {file: {"fingerprint": "modified"}}})
            if arguments[0] == "commit":
                recorded["fingerprint"] = code.fingerprint
        lock.write_text(json.dumps(lines))
        return json.dumps(said)

    monkeypatch.setattr(golden_set, "run_commands", run)
    monkeypatch.setattr(same, "_dvc", dvc)
    monkeypatch.setattr(fingerprint, "write_codes", lambda root: golden_set.run_commands(root, ("fingerprint",)))
    monkeypatch.chdir(root)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return root, status, commands


def lay_lock(path, stages):
    lock = {
        name: {"params": {f"code/{program}.json": {"fingerprint": f"{program} {code}"}}}
        for name, (program, code) in stages.items()
    }
    path.write_text(json.dumps({"stages": lock}))


def recorded(path):
    return {name: stage.code.split()[-1] for name, stage in dvc_lock.parse(path.read_text()).items()}


def test_every_stage_is_compared():
    assert STAGES == paths.STAGES
    programs = {golden_set.of_experiment(stage).program for stage in NOTES}
    assert programs == set(golden_set.EXPERIMENT_PROGRAMS) == {name for name in fingerprint.PROGRAMS if "notes" in name}


def test_equal_bytes_take_all_outputs_over(project):
    root, _, commands = project
    (root / "src/code.py").write_text(TWO)
    assert same.take_over_if_same("HEAD")
    assert commands == [("", "status", "--json"), ("", "commit", "--force", *STAGES)]
    assert set(recorded(root / "dvc.lock").values()) == {TWO}
    assert fingerprint.read_code(root / "code/train.json") == fingerprint.Code(f"train {TWO}")


def test_a_program_of_the_same_code_is_run_once_and_none_after_the_last_that_differs(project, monkeypatch):
    root, _, commands = project
    run, ran = golden_set.run_commands, []

    def of_prepare(folder, *lines):
        run(folder, *lines)
        ran.extend((folder.name, *line) for line in lines)
        if lines == (("fingerprint",),) and folder.name != "then":
            fingerprint.atomic.write_json(folder / "code/prepare.json", vars(fingerprint.Code(f"prepare {TWO}")))

    monkeypatch.setattr(golden_set, "run_commands", of_prepare)
    assert same.take_over_if_same("HEAD")
    both = [(folder, stage) for stage in ("fingerprint", "prepare") for folder in ("then", "now")]
    assert sorted(ran) == sorted([*both, ("then", "simulate"), ("then", "check"), ("", "fingerprint")])
    assert recorded(root / "dvc.lock") == dict.fromkeys(STAGES, ONE) | {"prepare": TWO}
    assert commands[-1][3:] == ("prepare",)


@pytest.mark.parametrize("number", [0, 3])
def test_the_first_file_that_differs_is_named_and_programs_before_it_are_taken_over(project, capsys, number):
    root, _, commands = project
    run = golden_set.run_commands

    def differing(folder, *lines):
        run(folder, *lines)
        if lines == ((STAGES[number],),) and folder.name == "now":
            path = folder / OUTPUTS[STAGES[number],][0]
            (path if path.suffix else path / "file").write_text("other")

    (root / "src/code.py").write_text(TWO)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(golden_set, "run_commands", differing)
        assert not same.take_over_if_same("HEAD")
    assert f"same: no, {STAGES[number]}: {OUTPUTS[STAGES[number],][0]}" in capsys.readouterr().out
    kept = STAGES[:number]
    assert recorded(root / "dvc.lock") == dict.fromkeys(STAGES, ONE) | dict.fromkeys(kept, TWO)
    assert commands == ([("", "status", "--json"), ("", "commit", "--force", *kept)] if kept else [])
    assert (root / "code").exists() == bool(kept)


@pytest.mark.parametrize(
    "reason",
    [
        {"changed deps": {"params.yaml": {"train.network": "modified"}}},
        {"changed deps": {"params.yaml": {"train.network": "deleted"}}},
        {"changed deps": {"params.yaml": "modified"}},
        {"changed deps": {"data/prepared/train.h5": "modified"}},
        "changed command",
    ],
)
def test_what_is_out_of_date_for_another_reason_too_stays_so(project, reason):
    """The golden set ran with the present parameters; the lock would say that others gave these outputs with the new code."""
    root, status, commands = project
    status["train"] = [reason]
    (root / "src/code.py").write_text(TWO)
    assert same.take_over_if_same("HEAD")
    assert recorded(root / "dvc.lock") == dict.fromkeys(STAGES, TWO) | {"train": ONE}
    assert commands[-1] == ("", "commit", "--force", *(name for name in STAGES if name != "train"))


@pytest.mark.parametrize(
    "reason", [{"changed deps": {"data/prepared/train.h5": "deleted"}}, {"changed outs": {"x": "not in cache"}}]
)
def test_what_is_not_there_is_taken_over_but_not_committed(project, reason):
    root, status, commands = project
    status["train"] = [reason]
    (root / "src/code.py").write_text(TWO)
    assert same.take_over_if_same("HEAD")
    assert set(recorded(root / "dvc.lock").values()) == {TWO}
    assert commands[-1] == ("", "commit", "--force", *(name for name in STAGES if name != "train"))


def test_what_read_the_output_of_other_parameters_stays_out_of_date(project):
    """The lock may have a model of another network than the golden set ran with."""
    root, status, _ = project
    lock = root / "dvc.lock"
    lines = json.loads(lock.read_text())
    lines["stages"]["train"]["outs"] = lines["stages"]["evaluate"]["deps"] = [{"path": "model.keras", "md5": "1"}]
    lock.write_text(json.dumps(lines))
    status["train"] = [{"changed deps": {"params.yaml": {"train": "modified"}}}]
    (root / "src/code.py").write_text(TWO)
    assert same.take_over_if_same("HEAD")
    assert recorded(lock) == dict.fromkeys(STAGES, TWO) | {"train": ONE, "evaluate": ONE}


def test_of_experiments_of_one_program_only_those_of_the_present_parameters_are_taken_over(project):
    root, status, _ = project
    lock = root / "experiments/dvc.lock"
    lay_lock(lock, dict.fromkeys(("train@a", "train@b"), ("notes-train", ONE)))
    status["train@b"] = [{"changed deps": {"b.yaml": {"train": "modified"}}}]
    (root / "src/code.py").write_text(TWO)
    assert same.take_over_if_same("HEAD")
    assert recorded(lock) == {"train@a": TWO, "train@b": ONE}


def test_programs_that_the_commit_does_not_have_are_not_taken_over(project, monkeypatch):
    root, _, commands = project
    lay_lock(root / "experiments/dvc.lock", {name: (golden_set.of_experiment(name).program, ZERO) for name in NOTES})
    run = golden_set.run_commands

    def without_notes(folder, *lines):
        run(folder, *lines)
        for path in [*folder.glob("experiments/code/*"), folder / "code/check.json"] * (folder.name == "then"):
            path.unlink(missing_ok=True)

    monkeypatch.setattr(golden_set, "run_commands", without_notes)
    (root / "src/code.py").write_text(TWO)
    assert same.take_over_if_same("HEAD")
    assert commands[-1] == ("", "commit", "--force", *(name for name in STAGES if name != "check"))


@pytest.mark.parametrize(
    ("differing", "kept"),
    [("train@a", NOTES[:2] + NOTES[4:]), ("measure@d", (*NOTES[:4], "validate")), ("signal@a", ())],
)
def test_a_difference_stops_only_programs_that_need_the_file(project, monkeypatch, capsys, differing, kept):
    root, _, _ = project
    lock = root / "experiments/dvc.lock"
    lay_lock(lock, {name: (golden_set.of_experiment(name).program, ONE) for name in NOTES})
    step = golden_set.of_experiment(differing)
    run = golden_set.run_commands

    def other(folder, *lines):
        run(folder, *lines)
        if step.command in lines and folder.name == "now":
            path = folder / step.outputs[-1]
            (path if path.suffix else path / "file").write_text("other")

    monkeypatch.setattr(golden_set, "run_commands", other)
    (root / "src/code.py").write_text(TWO)
    assert not same.take_over_if_same("HEAD")
    assert f"same: no, {step.program}: {step.outputs[-1]}" in capsys.readouterr().out
    assert recorded(lock) == dict.fromkeys(NOTES, ONE) | dict.fromkeys(kept, TWO)


def test_what_other_code_made_than_the_commit_s_is_not_taken_over(project):
    root, _, commands = project
    lay_lock(root / "dvc.lock", {stage: (stage, ZERO if stage == "train" else ONE) for stage in STAGES})
    (root / "src/code.py").write_text(TWO)
    assert same.take_over_if_same("HEAD")
    assert recorded(root / "dvc.lock") == dict.fromkeys(STAGES, TWO) | {"train": ZERO}
    assert "train" not in commands[-1]


@pytest.mark.parametrize(("then", "now"), [("1.0", "9.9"), ("9.9", "9.9"), (None, "9.9")])
def test_a_program_of_other_libraries_is_not_taken_over(project, monkeypatch, capsys, then, now):
    """Both runs use the installed ones, so that equal bytes prove nothing of others."""
    root, _, commands = project
    run = golden_set.run_commands

    def with_libraries(folder, *lines):
        run(folder, *lines)
        version = then if folder.name == "then" else now
        if lines == (("fingerprint",),):
            text = f"train {(folder / 'src/code.py').read_text()}"
            code = fingerprint.Code(text, {"numpy": version} if version else {})
            fingerprint.atomic.write_json(folder / "code/train.json", vars(code))

    monkeypatch.setattr(golden_set, "run_commands", with_libraries)
    (root / "src/code.py").write_text(TWO)
    assert same.take_over_if_same("HEAD")
    assert commands[-1] == ("", "commit", "--force", *(name for name in STAGES if name != "train"))
    assert "train is not taken over" in capsys.readouterr().out


def test_experiments_of_the_commit_s_code_are_taken_over_without_their_outputs(project, monkeypatch):
    root, status, commands = project
    lock = root / "experiments/dvc.lock"
    programs = {name: golden_set.of_experiment(name).program for name in NOTES}
    lay_lock(lock, {name: (program, ONE if name != "long@c" else ZERO) for name, program in programs.items()})
    status |= {name: [{"changed outs": {"x": "deleted"}}] for name in NOTES if name != "validate"}
    (root / "src/code.py").write_text(TWO)
    run, ran = golden_set.run_commands, []
    monkeypatch.setattr(golden_set, "run_commands", lambda folder, *lines: (run(folder, *lines), ran.extend(lines)))
    assert same.take_over_if_same("HEAD")
    assert recorded(lock) == dict.fromkeys(NOTES, TWO) | {"long@c": ZERO}
    assert commands[-1] == ("experiments", "commit", "--force", "validate")
    assert ("experiment", "a") in ran
    assert ("experiment", "c") not in ran


def test_experiments_of_other_code_are_not_run(project, monkeypatch):
    root, _, _ = project
    lay_lock(root / "experiments/dvc.lock", dict.fromkeys(NOTES, ("notes-train", ZERO)))
    (root / "src/code.py").write_text(TWO)
    run, ran = golden_set.run_commands, []
    monkeypatch.setattr(golden_set, "run_commands", lambda folder, *lines: (run(folder, *lines), ran.extend(lines)))
    assert same.take_over_if_same("HEAD")
    assert "experiment" not in {line[0] for line in ran}


def test_each_experiment_is_made_small_and_stays_valid(tmp_path, monkeypatch):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments", ignore=shutil.ignore_patterns("data", "trained"))
    golden_set.shrink(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in experiments.experiment_names():
        one = experiments.load_experiment(name)
        assert one.signal is None or one.signal.train + one.signal.validation <= 16
        assert one.simulate is None or sum(experiments.shot_params(name)[0].lasing_shots) <= 240
        assert experiments.train_params(name).epochs == 1
        assert len(experiments.configuration_params(name)) <= golden_set.MOST_CONFIGURATIONS


def test_the_few_shots_have_shares_of_their_own():
    """Those of params.yaml may leave a set without a class."""
    for few in (golden_set.FEW_SHOTS, golden_set.FEW_OF_AN_EXPERIMENT):
        assert few["prepare"]["split"].keys() >= {"train", "validation", "test"}


@pytest.mark.parametrize("revision", ["nowhere", "--output=x"])
def test_a_revision_that_is_not_there_is_an_error(project, revision):
    with pytest.raises(UserError, match="git rev-parse"):
        same.take_over_if_same(revision)


def test_a_command_that_fails_says_why(tmp_path):
    with pytest.raises(
        UserError, match=r"^xtcav experiment --no-such .*No such option.*Fix: run `xtcav experiment --no-such x`"
    ):
        golden_set.run_commands(tmp_path, ("experiment", "--help"), ("experiment", "--no-such", "x"), ("scan",))


def test_a_member_of_a_group_of_seeds_is_trained_again_by_its_own_command():
    step = golden_set.of_experiment("seeds@lasing-first-12")
    assert (step.program, step.command) == ("notes-train", ("experiment", "lasing-first", "--seed", "12"))
    assert [path.name for path in step.outputs] == ["model.keras", "history.jsonl", "lasing-first.seed-12.json"]


def test_what_is_compared_of_a_training_is_what_dvc_keeps():
    """Beside it are checkpoints, in folders that are named after the code, and so never the same."""
    stages = YAML(typ="safe").load(ROOT / "experiments/dvc.yaml")["stages"]
    training, member = stages["train"]["do"], stages["seeds"]
    for stage, kind, key in ((training, "train@memory", "${key}"), (member, "seeds@memory-3", "${item.name}")):
        kept = [*stage["outs"], *(name for metrics in stage["metrics"] for name in metrics)]
        names = {f"experiments/{path}".replace(key, "memory").replace("${item.seed}", "3") for path in kept}
        assert {str(path) for path in golden_set.of_experiment(kind).outputs} == names
