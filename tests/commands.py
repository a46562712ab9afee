"""Every command of `xtcav`, as it is called in a project of small frames whose stages have run."""

import json
from dataclasses import dataclass
from pathlib import Path

from tests.end_to_end.conftest import Project
from tests.lcls2017_files import write_arrays
from xtcav_ml.config.base import flatten, load_section
from xtcav_ml.config.train import TrainParams


@dataclass(frozen=True)
class Call:
    """Arguments of a command, and what the shell does before, so that there is something to do."""

    arguments: str = ""
    before: str = "true"
    long: bool = False  # it takes minutes, or does not end by itself


COMMANDS = {
    "check": Call(before="rm -f results/data.json"),
    "compare": Call(". HEAD"),
    "dashboard": Call("--port 1", long=True),
    "describe": Call(),
    "doctor": Call(),
    "evaluate": Call(),
    "experiment": Call("--table"),
    "fingerprint": Call(before="rm -f code/train.json"),
    "import": Call("lcls2017 arrays"),
    "params": Call(),
    "predict": Call("models/model.keras raw"),
    "prepare": Call(),
    "promote": Call("--force", before="mkdir -p results/tuning; cp ../best.json results/tuning"),
    "promote_model": Call("candidate --dry-run"),
    "record": Call(before="rm -rf mlruns/mlflow.db* results/resources/run.json"),
    "relabel": Call("raw --out labels.h5"),
    "report": Call(),
    "reproduce": Call("$(grep run_id results/resources/run.json | grep -o '[0-9a-f]\\{32\\}')", long=True),
    "runs": Call(),
    "same": Call("HEAD"),
    "scan": Call("raw"),
    "seeds": Call("--settings"),
    "serve": Call("models/model.keras --port 1", long=True),
    "show": Call(),
    "simulate": Call(),
    "summary": Call(),
    "sync": Call(),
    "train": Call(),
    "tune": Call(),
    "ui": Call("--port 1", long=True),
    "validate": Call(before="rm -f results/params_valid.txt"),
}
SILENT = ("validate",)  # it prints nothing
SHORT = [name for name, call in COMMANDS.items() if not call.long]


def finished_project(top: Path) -> Project:
    """Return a project in `top`/project in which all stages have run and are committed, with a best trial beside it."""
    project = Project.finished(top / "project")
    few = {"tune.trials": 1, "tune.epochs": 2, "tune.startup_trials": 1, "tune.rungs": 1, "tune.seeds": 0}
    project.set(**few, **{"simulate.lasing_shots": [15, 15]})
    write_arrays(project.folder / "arrays")
    (project.folder / ".git/info/exclude").write_text(
        "labels.h5\nexperiments/results\nseeds\narrays\n"
    )  # what `relabel`, `experiment`, `seeds` write, and `import` reads
    for command in ("dvc repro", "git commit -qam results"):
        project.run("bash", "-c", command)
    train = flatten(
        {"train": load_section("train", TrainParams, project.folder / "params.yaml").model_dump(mode="json")}
    )
    changed = {"train.optimizer.momentum": 0.5}
    best = {"study": "s", "trial": 0, "score": 0.5, "epochs": train["train.epochs"], "params": changed}
    (top / "best.json").write_text(json.dumps({**best, "train": train | changed}))
    return project


def shell_line(name: str) -> str:
    """Return the command as it is typed."""
    return f"xtcav {name.replace('_', '-')} {COMMANDS[name].arguments}".rstrip()
