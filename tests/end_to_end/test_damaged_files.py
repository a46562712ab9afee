"""Every command on every file that it reads, damaged in every way: its work, or one line with a cure; never a traceback."""

import json
import shutil
import sys

import numpy as np
import pytest

from tests.conftest import ROOT, git, lay_store, write_prepared_file
from tests.report.conftest import lay_results
from xtcav_ml.cli import main
from xtcav_ml.system.errors import UserError
from xtcav_ml.tuning import tune

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
    "a folder": "folder",
}

RESULTS = (
    "metrics.json",
    "predictions.csv",
    "history.jsonl",
    "data.json",
    "resources/run.json",
    "resources/train.json",
)
READERS = {
    **{f"results/{name}": ("report", "summary", "compare", "record") for name in RESULTS},
    "results/tuning/best.json": ("promote", "report"),
    "results/tuning/study.db": ("tune", "report"),
    "results/plots/frames.png": ("report", "record"),
    "results/params_valid.txt": ("validate", "report"),
    "dvc.lock": ("validate", "runs", "record", "report", "compare", "tune", "sync"),
    "dvc.yaml": ("runs", "record", "report", "tune", "sync"),
    "code/train.json": ("runs", "record", "report", "compare"),
    ".dvc/tmp/rwlock": ("validate", "report"),
}
"""Files of a project, and the commands that read them."""

ARGUMENTS = {"compare": ("results/predictions.csv", "HEAD"), "tune": ("--trials", "1", "--minutes", "0.01")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
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
    (folder / "models/model.keras").write_bytes(b"weights")
    (folder / "results/params_valid.txt").write_text("params.yaml is valid\n")
    used = dict.fromkeys(("run_time_s", "cpu_time_s", "max_memory_mb", "max_threads", "max_processes"), 1.0)
    best = {"study": "s", "trial": 0, "score": 0.5, "epochs": 1, "params": {}, "train": {}}
    address = {"run_id": "0" * 32, "experiment_id": "1", "store": "mlruns/mlflow.db"}
    for name, content in {"resources/train": used, "tuning/best": best, "resources/run": address}.items():
        (folder / f"results/{name}.json").write_text(json.dumps(content))
    (folder / ".dvc/tmp/rwlock").write_text("{}")
    (folder / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  train:\n    cmd: x\n    params:\n      params.yaml:\n        train: {seed: 1}\n"
        "      code/train.json: {fingerprint: a}\n    deps: [{path: a, md5: b}]\n    outs: [{path: c, md5: d}]\n"
    )
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "start")
    return folder


def stop(_):
    raise UserError("tune: stopped before a trial (found one, expected none). Fix: none")


@pytest.fixture
def project(whole, monkeypatch):
    monkeypatch.chdir(whole)
    for name in ("DVC_ROOT", "DVC_STAGE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(main.interrupts, "listen", lambda: None)
    monkeypatch.setattr(main.variables, "pin_process", lambda: None)
    monkeypatch.setattr(tune._Search, "run_trials", stop)
    return whole


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
    for content in damages:
        mend = damage(project / name, content)
        code = 0
        try:
            main.main()
        except SystemExit as ended:
            code = ended.code
        finally:
            mend()
            (project / "params.yaml").write_bytes(params)
        said = capsys.readouterr().err.splitlines()
        if code:
            assert "Fix: " in said[-1]
            assert "Traceback" not in "".join(said)
