"""Every command on every file that it reads, damaged in every way: its work, or one line with a cure; never a traceback."""

import hashlib
import json
import shutil
import sys

import numpy as np
import pytest

from tests.conftest import ROOT, StoredRun, git, lay_store, write_prepared_file
from tests.figures.searches import made_up
from tests.pipeline.test_evaluate import trained
from tests.report.conftest import lay_results
from xtcav_ml.cli import main
from xtcav_ml.config.paths import STAGES
from xtcav_ml.data import search_file
from xtcav_ml.pipeline import train
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools.reproduction import restored
from xtcav_ml.tracking.mlflow_names import EVALUATION_TAG, LINEAGE
from xtcav_ml.tuning import loop

DAMAGES = {
    "empty": b"",
    "NUL": b"\0" * 100,
    "cut": None,  # in its middle
    "a number": b"7",
    "a list": b"[1, 2]",
    "texts": b'["a"]',
    "other keys": b'{"x": {"y": 1}}',
    "wrong types": b'{"stages": {"train": 5}, "shots": "a", "best_epoch": [], "params": 3, "run_id": {}}',
    "binary": bytes(range(256)),
    "nested": b"[" * 50_000,
    "another row": b'{"epoch": 1, "x": 2}',
    "a folder": "folder",
}

RESULTS = (
    "evaluation.json",
    "predictions.csv",
    "history.jsonl",
    "data.json",
    "resources/run.json",
    "resources/train.json",
)
LOGGED = (
    "evaluation.json",
    *(f"{LINEAGE}/{name}" for name in ("dvc.lock", "params.yaml", "environment.json", "code/train.json")),
)
MADE_AGAIN = (".git/xtcav-run.json", "dvc.lock", "dvc.yaml", "results/evaluation.json", "results/history.jsonl")
READERS = {
    **{f"results/{name}": ("report", "summary", "compare", "record") for name in RESULTS},
    "results/tuning/best.json": ("promote",),
    "results/tuning/search.json": ("report",),
    "results/tuning/study.db": ("tune", "report"),
    "results/plots/frames.png": ("report", "record"),
    "results/params_valid.txt": ("validate", "report"),
    "dvc.lock": ("validate", "runs", "record", "report", "compare", "tune", "sync", "train"),
    "dvc.yaml": ("runs", "record", "report", "tune", "sync", "train"),
    "code/train.json": ("runs", "record", "report", "compare", "train"),
    ".dvc/tmp/rwlock": ("validate", "report"),
    **dict.fromkeys(("data/prepared/train.h5", "data/prepared/validation.h5"), ("train",)),
    **dict.fromkeys(("data/prepared/test.h5", "models/model.keras", "results/./history.jsonl"), ("evaluate",)),
    **dict.fromkeys((f"mlruns/artifacts/*/artifacts/{name}" for name in LOGGED), ("reproduce",)),
    **dict.fromkeys((f"again/{name}" for name in MADE_AGAIN), ("reproduce",)),
}
"""Files of a project, and the commands that read them."""

ARGUMENTS = {
    "compare": ("results/predictions.csv", "HEAD"),
    "tune": ("--trials", "1", "--minutes", "0.01"),
    "reproduce": ("one", "--into", "again"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, keras_ready):
    """A project with results, none of them of a real training."""
    folder = tmp_path_factory.mktemp("damaged")
    for name in ("params.yaml", "dvc.yaml", "requirements.txt"):
        shutil.copyfile(ROOT / name, folder / name)
    shutil.copytree(ROOT / "code", folder / "code")
    lay_results(folder)
    lay_store(folder)
    for name in ("data/prepared", "models", ".dvc/tmp", "results/tuning", "results/resources"):
        (folder / name).mkdir(parents=True)
    frames = np.random.default_rng(0).integers(90, 130, (40, 24, 20)).astype(np.int16)
    for split in ("train", "validation"):
        write_prepared_file(folder / f"data/prepared/{split}.h5", frames, np.arange(40) % 2)
    trained(folder / "models", epochs=1)
    (folder / "models/test.h5").rename(folder / "data/prepared/test.h5")
    (folder / "results/params_valid.txt").write_text("params.yaml is valid\n")
    used = dict.fromkeys(("run_time_s", "cpu_time_s", "max_memory_mb", "max_threads", "max_processes"), 1.0)
    best = {"study": "s", "trial": 0, "score": 0.5, "epochs": 1, "params": {}, "train": {}}
    address = {"run_id": "0" * 32, "experiment_id": "1", "store": "mlruns/mlflow.db"}
    for name, content in {"resources/train": used, "tuning/best": best, "resources/run": address}.items():
        (folder / f"results/{name}.json").write_text(json.dumps(content))
    search_file.write(folder / "results/tuning/search.json", made_up(stops=[]))
    (folder / ".dvc/tmp/rwlock").write_text("{}")
    (folder / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  train:\n    cmd: x\n    params:\n      params.yaml:\n        train: {seed: 1}\n"
        "      code/train.json: {fingerprint: a}\n    deps: [{path: a, md5: b}]\n    outs: [{path: c, md5: d}]\n"
    )
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "start")
    lay_reproduction(folder)
    return folder


def lay_reproduction(folder):
    """Put a run with all that is logged of it into the store, and the folder where all its stages have run again."""
    again, stages = folder / "again", {name: {"cmd": name} for name in (*STAGES, "record")}
    (again / ".git").mkdir(parents=True)
    (again / "results").mkdir()
    for name in ("evaluation.json", "history.jsonl"):
        shutil.copyfile(folder / "results" / name, again / "results" / name)
    for name in ("dvc.lock", "dvc.yaml"):
        (again / name).write_text(json.dumps({"stages": stages}))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        run = StoredRun(folder, **{"stage": "train", "git.commit": "c" * 40, EVALUATION_TAG: "e"})
        run.artifact(again / "results/evaluation.json")
        (folder / "environment.json").write_text("{}")
        for name in ("dvc.lock", "params.yaml", "environment.json"):
            run.client.log_artifact(run.run_id, str(folder / name), LINEAGE)
        run.client.log_artifact(run.run_id, str(folder / "code/train.json"), f"{LINEAGE}/code")
        run.metrics({"loss/train": 0.5})
        run.finish()
    (again / restored.MARK).write_text(json.dumps({"run": run.run_id, "remarks": []}))


def stop(*_, **__):
    raise UserError("tune: stopped before a trial (found one, expected none). Fix: none")


@pytest.fixture
def project(whole, monkeypatch):
    monkeypatch.chdir(whole)
    for name in ("DVC_ROOT", "DVC_STAGE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(main.interrupts, "listen", lambda: None)
    monkeypatch.setattr(main.variables, "pin_process", lambda: None)
    monkeypatch.setattr(loop.Search, "run_trials", stop)
    monkeypatch.setattr(train.fit, "fit", stop)
    monkeypatch.setattr(restored, "_require_own_source", lambda folder: None)
    monkeypatch.setattr(restored, "shown_python", stop)
    return whole


def kept(folder):
    """Return the digests of all files, but of those that grow while a command runs."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in names.items()
        if not name.startswith(("mlruns/", ".git/", "results/tuning/", "results/resources/"))
    }


def damage(path, content):
    """Damage a file, or replace it; return what puts it back."""
    before = path.read_bytes() if path.is_file() else b""
    path.unlink(missing_ok=True)
    if content == "folder":
        path.mkdir()
        (path / "file").write_text("a")
    else:
        path.write_bytes(before[: len(before) // 2] if content is None else content)

    def mend():
        if path.is_dir():
            shutil.rmtree(path)
        path.write_bytes(before)

    return mend


PAIRS = [(name, command) for name, some in READERS.items() for command in some]
FEW = ("cut", "wrong types", "a folder")


@pytest.mark.parametrize(("name", "command"), PAIRS)
def test_a_damaged_file_is_no_traceback(project, monkeypatch, capsys, name, command):
    try_damages(project, monkeypatch, capsys, name, command, [DAMAGES[one] for one in FEW])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "command"), PAIRS)
def test_no_damage_is_a_traceback(project, monkeypatch, capsys, name, command):
    try_damages(project, monkeypatch, capsys, name, command, DAMAGES.values())


def try_damages(project, monkeypatch, capsys, name, command, damages):
    monkeypatch.setattr(sys, "argv", ["xtcav", command, *ARGUMENTS.get(command, ())])
    params = (project / "params.yaml").read_bytes()
    path = next(project.glob(name), project / name)  # run.json is gone where `record` could not go on
    for content in damages:
        mend = damage(path, content)
        before, code = kept(project), 0
        try:
            main.main()
        except SystemExit as ended:
            code = ended.code
            if code:
                assert kept(project) == before
        finally:
            mend()
            (project / "params.yaml").write_bytes(params)
        printed = capsys.readouterr()
        if code and "is not reproduced" not in printed.out:
            assert "Fix: " in printed.err.splitlines()[-1]
        assert "Traceback" not in printed.err
