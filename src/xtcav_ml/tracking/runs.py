"""A training's run: the same calls log it now or rebuild it from its results, and no stage imports them.

It has its origin, tags and data as MLflow's datasets, and the files from which it can be repeated.
"""

import bisect
import contextlib
import getpass
import hashlib
import itertools
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xtcav_ml.config import parameters
from xtcav_ml.config.base import read_tree, validate_section
from xtcav_ml.config.paths import (
    EVALUATION,
    LOCK_FILE,
    METRICS,
    MODEL,
    PARAMS_FILE,
    PLOTS,
    PREDICTIONS,
    RESOURCES,
    SIMULATED,
    STAGES,
)
from xtcav_ml.config.train import TrainParams
from xtcav_ml.data import predictions, result_files
from xtcav_ml.learning.checkpoint import Checkpoints
from xtcav_ml.lineage import dvc_lock, fingerprint, git, lineage, project, recorded
from xtcav_ml.lineage.environment import environment, versions
from xtcav_ml.science.thresholds import INTERVAL
from xtcav_ml.system import atomic, interrupts
from xtcav_ml.system.errors import UserError, warn
from xtcav_ml.system.progress import console
from xtcav_ml.tracking import resources
from xtcav_ml.tracking.logged_params import logged_params, run_name
from xtcav_ml.tracking.mlflow_names import (
    DEVICE,
    ENVIRONMENT,
    EVALUATION_TAG,
    EXPERIMENT,
    GROUP_TAG,
    KEY_TAG,
    LINEAGE,
    NOTES,
    RUN_ID,
    SYSTEM,
)
from xtcav_ml.tracking.tracker import Run, Tracker

REQUIREMENTS = ("keras", "tensorflow", "numba", "numpy", "h5py", "pandas", "pydantic", "ruamel.yaml")
"""What a served model needs."""

NOTE_CHARACTERS = 7500  # most of a note; MLflow takes 8,000, and the run's id is yet to come
MOST_CLASSES = 12  # of a confusion matrix in a note; that of more is a picture only
COUNT_TAG = "evaluation.count"  # of a run's evaluations; each is a step of its test metrics, and the first is step 0

Tags = Mapping[str, str]


@contextlib.contextmanager
def training_run(
    device: str, model: Path = MODEL, experiment: str = "", origin: lineage.Lineage | None = None
) -> Iterator[tuple[Run | None, dict[str, str]]]:
    """Yield a run, which is a listener of `fit`, and the identity of the training on `device` of the workspace or of `origin`.

    It ends FINISHED, FAILED on an error, KILLED on Ctrl-C, which takes effect after a minibatch; the next training of the
    same identity resumes one that was killed outright. The training's usage, in RESOURCES by then, is logged too.
    There is no run where the training has one that ended, and was stopped before DVC recorded `model`.
    """
    origin = origin or lineage.of_stage("train")
    own, usage, store = {"stage": "train", "device": device}, "train", EXPERIMENT
    if experiment:
        own |= {"stage": "experiment", "experiment": experiment}
        usage, store = f"experiment-{experiment}", NOTES
    identity = hashlib.sha256(json.dumps([origin.identity, own], sort_keys=True).encode()).hexdigest()
    training = origin.identity if experiment else origin.without_coverage.identity
    states = Checkpoints.beside(model, training, device)
    if (ended := states.ended()) and ended == lineage.recorded_md5(model):
        if experiment or origin.coverage == lineage.recorded_coverage():
            states.clear()  # DVC is told to make it again
        else:
            states.reopen()  # only what the network states is to be another
    with interrupts.held(), Tracker(project.find_root(), identity, store) as tracker:
        if states.ended() and not tracker.resumes:
            console().print("train: this training has ended before, and has its run")
            yield None, training
            return
        tags = {name: value for name, value in own.items() if name != DEVICE}
        run = begin(tracker, origin, {**tags, **origin_tags(origin)}, experiment, device=device)
        try:
            yield run, training
            _log_usage(run, usage)
        except BaseException:  # the training may have ended: the next call has a run that says so
            states.reopen()
            raise
        run.finish()


def _log_usage(run: Run, name: str) -> None:
    numbers, picture = (RESOURCES / f"{name}{suffix}" for suffix in (".json", ".png"))
    if numbers.is_file():
        run.metrics({f"{SYSTEM}{key}": value for key, value in result_files.read(numbers, result_files.Usage).items()})
    if picture.is_file():
        run.artifact(picture, PLOTS.name)


def origin_tags(origin: lineage.Lineage) -> dict[str, str]:
    """Return user, commit, DVC's experiment, the hash of parameters, data and code, and one without the seed."""
    commit = git.state()
    if "problem" in commit:
        warn(commit["problem"])
    variables = {"dvc.exp.name": "DVC_EXP_NAME"}  # its baseline is the commit
    return {
        KEY_TAG: origin.key,
        GROUP_TAG: origin.group,
        "mlflow.source.git.commit": commit["commit"],  # the UI's own column
        "mlflow.source.git.branch": commit.pop("branch"),
        "mlflow.source.name": "dvc.yaml",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": _user(),
        **{f"git.{name}": value for name, value in commit.items() if (name, value) != ("remote", "none")},
        **{tag: os.environ[name] for tag, name in variables.items() if name in os.environ},
    }


def _user() -> str:
    """Return the account on the store's server, or else that of this machine."""
    with contextlib.suppress(KeyError, OSError):  # a container may know no user
        return os.environ.get("MLFLOW_TRACKING_USERNAME") or getpass.getuser()
    return "unknown"


def begin(
    tracker: Tracker,
    origin: lineage.Lineage,
    tags: Mapping[str, str],
    experiment: str = "",
    run_key: str = "",
    device: str = "",
    parent: Run | None = None,
) -> Run:
    """Return a run of the train stage, or of an experiment of the notes, with `tags` and its origin.

    The origin are parameters and data, params.yaml, the code of the training, and the edits since the commit. A `run_key` is
    that of a run which several processes may make at a time, and `parent` the one that it belongs to.
    """
    name = run_name(origin.params["train"], experiment)
    run = tracker.start(name, tags, parent, run_key=run_key, common=bool(run_key))
    if run.logged:
        return run
    stages = _stages()
    params = dict(origin.params)
    if not experiment:  # as the data were made: params.yaml may have been edited since
        params |= _params("prepare", "prepare", "data")
        if Path(params["data"]["raw"]) == SIMULATED:
            params |= _params("simulate", "simulate")
    run.params(logged_params(params))
    for path, digest in dvc_lock.raw_data(stages, origin.data).items():
        run.dataset(path, digest, path, "raw")
    for path, digest in origin.data.items():
        run.dataset(path, digest, path, "validation" if Path(path).stem == "validation" else "training")
    run.artifact(PARAMS_FILE, LINEAGE)
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder) / fingerprint.file_of("train").name
        atomic.write_json(code, vars(origin.code))
        run.artifact(code, f"{LINEAGE}/{fingerprint.FOLDER}")
        made_in = Path(folder) / ENVIRONMENT
        atomic.write_json(made_in, environment() | resources.gpus() | ({DEVICE: device} if device else {}))
        run.artifact(made_in, LINEAGE)
        with contextlib.suppress(git.GitError):  # no git, as the tags show
            changes = git.patch()
            if changes.left_out:
                run.tags({"git.diff.left_out": " ".join(changes.left_out)})
            if changes.content:
                run.tags({"git.diff.sha256": hashlib.sha256(changes.content).hexdigest()})
                patch = Path(folder) / "diff.patch"
                patch.write_bytes(changes.content)
                run.artifact(patch, LINEAGE)
    return run


def _stages() -> dict[str, dvc_lock.Stage]:
    return recorded.read_stages(lambda name: Path(name).read_bytes())


def _params(stage: str, *sections: str) -> dict[str, Any]:
    """Return the parameters that a stage last ran with, or sections of params.yaml if it never ran."""
    ran = _stages().get(stage, dvc_lock.Stage()).params
    return ran if ran.keys() >= set(sections) else {name: read_tree().get(name, {}) for name in sections}


def log_model(run: Run, path: Path) -> None:
    """Log the trained model with the versions that it needs."""
    run.model(path, [f"{name}=={version}" for name, version in versions(REQUIREMENTS).items()])


def log_evaluation(run: Run, results: Path, tags: Mapping[str, str]) -> None:
    """Log what evaluate wrote into the folder `results`; the run's `tags` count earlier evaluations of the same model.

    With it go the test data, dvc.lock, which has the hashes of all files, and all code.
    """
    metrics, earlier = result_files.read_metrics(results / EVALUATION.name), int(tags.get(COUNT_TAG, 0))
    for picture in sorted((results / PLOTS.name).glob("*.png")):
        run.artifact(picture, PLOTS.name)
    for path in (EVALUATION, METRICS, PREDICTIONS):
        run.artifact(results / path.name)
    if LOCK_FILE.is_file():
        for name, digest in _stages().get("prepare", dvc_lock.Stage()).outs.items():
            if Path(name).stem == "test":
                run.dataset(name, digest, name, "test")
        run.artifact(LOCK_FILE, LINEAGE)
        for code in [fingerprint.file_of(stage) for stage in STAGES if stage != "train"]:  # the run has that
            if code.is_file():
                run.artifact(code, f"{LINEAGE}/{fingerprint.FOLDER}")
    run.metrics(result_files.numbers(metrics), step=earlier)
    digest = lineage.file_md5(results / EVALUATION.name)
    classes = predictions.read_file(results / PREDICTIONS.name).classes() if "confusion" in metrics else []
    text = note(metrics, tags, classes)
    run.tags({COUNT_TAG: str(earlier + 1), EVALUATION_TAG: digest, "mlflow.note.content": text})


def note(metrics: Mapping[str, Any], tags: Mapping[str, str], classes: Sequence[str] = ()) -> str:
    """Return what the page of a run with these tags opens with in MLflow, in Markdown.

    That is the result with its confusion matrix, what it was made from, how to reproduce it, and the parameters of `train`.
    """
    lines = []
    if "accuracy" in metrics:
        interval = f"{INTERVAL} {metrics['accuracy_low']:.1%} to {metrics['accuracy_high']:.1%}"
        lines.append(f"**Test accuracy {metrics['accuracy']:.1%}** ({interval}) on {metrics['shots']} shots")
    if metrics.get("expected_accuracy") is not None:
        expected, best = metrics["expected_accuracy"], metrics["bayes_accuracy"]
        lines.append(f"With labels drawn again {expected:.1%} is expected, and {best:.1%} at best (the ceiling)")
    if 0 < len(classes) <= MOST_CLASSES and len(classes) == len(metrics.get("confusion", [])):
        matrix = [[f"**{name}**", *map(str, row)] for name, row in zip(classes, metrics["confusion"], strict=True)]
        lines.append(markdown_table(["label \\ prediction", *classes], matrix))
    for name, errors in metrics.get("regression", {}).items():
        if errors["shots"]:
            lines.append(f"**{name}: r.m.s. error {errors['rms_error']:.3g}** on {errors['shots']} test shots")
    commit = tags.get("git.commit", "none")[:12]
    edited = ", edited (`lineage/diff.patch`)" if tags.get("git.dirty") == "true" else ""
    lines.append(f"Data `{_params('prepare', 'data')['data']['raw']}`, commit `{commit}`{edited}")
    lines.append(f"To reproduce it: `xtcav reproduce {RUN_ID}`")
    if "confusion" in metrics:
        lines.append(f"![](get-artifact?path={PLOTS.name}%2Fconfusion_matrix.png&run_uuid={RUN_ID})")
    with contextlib.suppress(UserError):  # results of an earlier version, whose parameters have no meanings here
        lines.append(_parameters(NOTE_CHARACTERS - sum(map(len, lines))))
    return "\n\n".join(lines) + "\n"


def _parameters(room: int) -> str:
    """Return a table of the parameters of `train` with their meanings, of about `room` characters at most."""
    train = validate_section(_params("train", "train")["train"], TrainParams, "train", LOCK_FILE)
    rows = [[row.key, str(row.value), row.unit, row.meaning] for row in parameters.section_rows(train, "train")]
    sizes = list(itertools.accumulate(sum(map(len, row)) + 14 for row in rows))
    if sizes[-1] > room:
        rows[bisect.bisect(sizes, room) :] = [["...", "", "", "`xtcav params` lists the rest"]]
    return markdown_table(["parameter", "value", "unit", "meaning"], rows)


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table for a description in MLflow."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)
