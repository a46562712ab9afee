import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import ROOT, lay_store
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools import doctor
from xtcav_ml.tracking import mlflow_store
from xtcav_ml.tracking.journal import folder_of


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("dvc.yaml", "params.yaml", "requirements.txt", ".dvc/config"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_a_block_has_all_facts_and_a_line_for_each_problem(project, monkeypatch, capsys):
    def fail(_):
        raise UserError(f"{project}/a.txt: missing (expected it). Fix: make it")

    def crash(_):
        raise ValueError("at https://me:secret@host/x?token=1")

    for name, values in {
        "FACTS": {"one": lambda _: "1", "two": crash},
        "CHECKS": {"a": fail, "b": crash, "c": str},
    }.items():
        monkeypatch.setattr(doctor, name, values)
    assert not doctor.examine(project)
    printed = capsys.readouterr().out
    assert printed.splitlines() == [
        "one        1",
        "two        unknown (at https://***@host/x?***)",
        "",
        "2 problems",
        "- ./a.txt: missing (expected it). Fix: make it",
        "- b: not examined (found 'at https://***@host/x?***', expected an answer). Fix: report this block",
    ]
    monkeypatch.setattr(doctor, "CHECKS", {"c": str})
    assert doctor.examine(project)
    assert capsys.readouterr().out.endswith("\nNothing is wrong.\n")


def test_the_block_names_what_a_report_needs(project, monkeypatch):
    monkeypatch.setattr(doctor, "_run", lambda root, *command: f"{project}/.dvc/cache\n" if "cache" in command else "")
    lay_store(project)
    said = {heading: fact(project) for heading, fact in doctor.FACTS.items()}
    assert ("tensorflow" in said["versions"], "cores" in said["machine"], "GB free" in said["disk"]) == (True,) * 3
    assert said["commit"].startswith("none on none, edited")
    assert said["store"].startswith("mlruns/mlflow.db, ")
    assert "no remote" in said["DVC"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{root}/mlruns/mlflow.db", "./mlruns/mlflow.db"),
        ("found '{root}'", "found '.'"),
        ("{root}2/x", "{root}2/x"),
        ("{home}/.config/x, /home/eve/data and /Users/eve", "~/.config/x, ~/data and ~"),
        ("postgresql://u:p@host/db?password=x", "postgresql://***@host/db?***"),
    ],
)
def test_nothing_private_is_printed(tmp_path, text, expected):
    text, expected = (one.format(root=tmp_path, home=Path.home()) for one in (text, expected))
    assert doctor._private(text, tmp_path) == expected


def other_python(project, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 12, 1))


def other_library(project, monkeypatch):
    (project / "requirements.txt").write_text("numpy==1.0 \\\n    --hash=sha256:0\nnothing==2\n")


def other_dvc(project, monkeypatch):
    (project / "dvc").write_text("#!/bin/sh\necho 2.0\n")
    (project / "dvc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{project}{os.pathsep}{os.environ['PATH']}")


def misspelt(project, monkeypatch):
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("momentum: ", "momentun: ", 1))


def torn_database(project, monkeypatch):
    lay_store(project)
    content = bytearray((project / "mlruns/mlflow.db").read_bytes())
    content[4096 * 4 : 4096 * 30] = bytes(4096 * 26)  # pages that no query of an empty store reads
    (project / "mlruns/mlflow.db").write_bytes(content)


def deleted_experiment(project, monkeypatch):
    lay_store(project)
    store, experiment = mlflow_store.connect(project)
    store.delete_experiment(experiment)


def waiting_run(project, monkeypatch):
    opened = [SimpleNamespace(close=lambda: None)] * 2
    monkeypatch.setattr(
        "xtcav_ml.tracking.journal.ownerless", lambda folder: opened if folder == folder_of(project) else []
    )


def broken_config(project, monkeypatch):
    (project / ".dvc/config.local").write_text("[core\n")


def torn_lock(project, monkeypatch):
    (project / "dvc.lock").write_text("")


def full_disk(project, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9))


FAULTS = {
    "Python": (other_python, "Python: another version (found 3.12, expected 3.11)", "make install PYTHON=python3.11"),
    "libraries": (other_library, "requirements.txt: not installed (found numpy 2", "make install"),
    "PATH": (other_dvc, "PATH: another dvc comes first", "export PATH="),
    "params.yaml": (misspelt, "params.yaml: train.optimizer.momentun: ", "rename it"),
    "store, torn": (torn_database, "mlflow.db: unreadable", "restore a copy"),
    "store, deleted": (deleted_experiment, "experiment xtcav: deleted", "mlflow experiments restore"),
    "mlruns/journal": (waiting_run, "mlruns/journal: runs wait for their upload (found 2", "xtcav sync"),
    "DVC": (broken_config, "config", "correct .dvc/config"),
    "dvc.lock": (torn_lock, "dvc.lock: damaged", "git checkout"),
    "git": (lambda *_: None, "git: results name no commit", "git init"),
    "disk": (full_disk, "disk: little room (found 1.0 GB", "make room"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_with_its_cure(project, monkeypatch, fault):
    lay, problem, cure = FAULTS[fault]
    lay(project, monkeypatch)
    with pytest.raises(UserError) as found:
        doctor.CHECKS[fault.partition(",")[0]](project)
    message = str(found.value)
    assert problem in message
    assert cure in message.partition(" Fix: ")[2]
    assert "\n" not in message


@pytest.mark.parametrize("check", doctor.CHECKS)
def test_a_sound_project_has_no_fault(project, monkeypatch, check):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1e10))
    if check == "git":
        for command in ("git init -q", "git -c user.name=a -c user.email=a@b commit -q --allow-empty -m a"):
            subprocess.run(command.split(), cwd=project, check=True)
    if check == "store":
        lay_store(project)
    if check == "libraries":
        (project / "requirements.txt").write_text(
            f"numpy=={importlib.metadata.version('numpy')} \\\n    --hash=sha256:0\n"
        )
    doctor.CHECKS[check](project)
