"""Models in MLflow: a logged model of a run, and the versions of one registered model with their aliases.

What the store has already is not uploaded again, so that everything here can be repeated after a lost reply.
"""

import contextlib
import datetime
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from xtcav_ml.lineage import project
from xtcav_ml.science.metric_names import HEADLINE
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.system.errors import UserError, masked
from xtcav_ml.system.mlflow_page import run_page
from xtcav_ml.tracking.find_runs import find_run
from xtcav_ml.tracking.mlflow_names import store_uri
from xtcav_ml.tracking.mlflow_store import TrackingError, answering, connect
from xtcav_ml.tracking.registry import manifest, packaging

MODEL_NAME = "xtcav"
"""The registered model: what the train stage of dvc.yaml made. Notes' experiments and trials of the tuner are none of it."""

DESCRIPTION = f"""What the train stage of dvc.yaml made: a network that takes raw camera frames, a version for each training.
`candidate` is the newest version, `champion` the one in use (`xtcav promote-model` decides), `previous` the one before.
To use it: `xtcav predict models:/{MODEL_NAME}@champion SHOTS`, `xtcav serve models:/{MODEL_NAME}@champion`."""

CANDIDATE, CHAMPION, PREVIOUS = "candidate", "champion", "previous"
"""Aliases: the newest version, the one that is in use, and the one that was before it."""

COLLISION, COLLISIONS = re.compile("UNIQUE constraint|duplicate key", re.IGNORECASE), 5
"""What SQLite and PostgreSQL say of a row that another process has made, and how many of these in a row are possible."""

SCHEME = "models:/"  # beginning of MLflow's address of a model
FILE_TAG, MANIFEST_TAG = "model.sha256", "manifest.sha256"
COPIED_TAGS = ("lineage.key", "git.commit", "git.dirty")  # tags of a run that its model version has too


def log_version(run_id: str, path: Path, spec: LearningSpec, requirements: Sequence[str]) -> None:
    """Log a model file with run `run_id` as a function of raw frames, which module `serving` loads.

    A model of the train stage becomes a version of the registered model, and the candidate if it is the newest. A file that
    is logged already is not logged again. Raises TrackingError if the store does not take it.
    """
    client = mlflow.MlflowClient()
    run = client.get_run(run_id)
    model = _logged(client, run, manifest.sha256(path))
    if model.status != LoggedModelStatus.READY:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "model"
            identity = {"model_id": model.model_id, "run_id": run_id, "artifact_path": f"{SCHEME}{model.model_id}"}
            created = datetime.datetime.fromtimestamp(model.creation_timestamp / 1000, datetime.UTC)
            identity["utc_time_created"] = str(created.replace(tzinfo=None))  # so that two processes write the same
            commit = run.data.tags.get("git.commit", "none")
            digest = packaging.write_package(folder, path, spec, requirements, identity, commit)
            client.log_model_artifacts(model.model_id, str(folder))
        client.set_logged_model_tags(model.model_id, {MANIFEST_TAG: digest})
        model = client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    outputs = run.outputs.model_outputs if run.outputs else []
    if model.model_id not in {output.model_id for output in outputs}:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    if run.data.tags.get("stage") == "train":
        _register(client, run, model)


def _logged(client: mlflow.MlflowClient, run: Run, digest: str) -> LoggedModel:
    """Return the run's logged model of the file with SHA-256 `digest`, created on first use."""
    run_id, experiment = run.info.run_id, run.info.experiment_id
    query = f"source_run_id = '{run_id}' AND tags.`{FILE_TAG}` = '{digest}'"
    models = client.search_logged_models([experiment], query)
    if not models:
        client.create_logged_model(experiment, "model", run_id, tags={FILE_TAG: digest}, params=dict(run.data.params))
        models = client.search_logged_models([experiment], query)
    first, *others = sorted(
        models, key=lambda one: (one.status != LoggedModelStatus.READY, one.creation_timestamp, one.model_id)
    )
    for other in others:  # of a request whose reply was lost, or of another process
        client.delete_logged_model(other.model_id)
    return first


def _register(client: mlflow.MlflowClient, run: Run, model: LoggedModel) -> None:
    """Make the logged model a version of the registered model, once, and the candidate if it is the newest."""
    try:
        client.create_registered_model(MODEL_NAME, description=DESCRIPTION)
    except mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    run_id, source = run.info.run_id, f"{SCHEME}{model.model_id}"
    tags = {name: run.data.tags[name] for name in COPIED_TAGS if name in run.data.tags}
    tags |= {name: model.tags[name] for name in (FILE_TAG, MANIFEST_TAG)}
    if not _versions(client, run_id, source):
        origin = _origin(run)
        client.create_model_version(MODEL_NAME, source, run_id, tags, description=origin, model_id=model.model_id)
    *others, version = _versions(client, run_id, source)
    for other in others:
        client.delete_model_version(MODEL_NAME, other.version)
    link = json.dumps([{"name": MODEL_NAME, "version": str(version.version)}])
    client.set_logged_model_tags(model.model_id, {MLFLOW_MODEL_VERSIONS: link})
    tag_metrics(run_id)
    newest = client.get_registered_model(MODEL_NAME).aliases.get(CANDIDATE)
    if newest is None or int(newest) < int(version.version):
        client.set_registered_model_alias(MODEL_NAME, CANDIDATE, version.version)


def _origin(run: Run) -> str:
    """Return what made the versions of a run, and how it is repeated, in Markdown."""
    page = run_page(run.info.experiment_id, run.info.run_id)
    commit = run.data.tags.get("git.commit", "none")[:12]
    return f"Of run [{run.info.run_name}]({page}), commit `{commit}`; to repeat it: `xtcav reproduce {run.info.run_id}`"


def _versions(client: mlflow.MlflowClient, run_id: str = "", source: str = "") -> list[ModelVersion]:
    """Return the versions of the registered model, or those of one run and one logged model, newest first."""
    query = f"name = '{MODEL_NAME}'" + (f" and run_id = '{run_id}'" if run_id else "")
    versions = client.search_model_versions(query, max_results=10_000)
    return sorted((one for one in versions if source in ("", one.source)), key=lambda one: -int(one.version))


def forget(client: mlflow.MlflowClient, run: Run) -> None:
    """Remove what was logged of the models of a run that is removed. Raises TrackingError."""
    for version in _versions(client, run.info.run_id):
        client.delete_model_version(MODEL_NAME, version.version)
    for model in client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'"):
        client.delete_logged_model(model.model_id)


def tag_metrics(run_id: str) -> None:
    """Give the first metrics of the test of run `run_id`, as tags, to its model versions, if any. Raises TrackingError."""
    client = mlflow.MlflowClient()
    for version in _versions(client, run_id):
        for name, value in client.get_run(run_id).data.metrics.items():
            if name in HEADLINE or name.endswith(".rms_error"):
                client.set_model_version_tag(MODEL_NAME, version.version, name, f"{value:.6g}")


@dataclass(frozen=True)
class Version:
    """A version of the registered model, and the state of the run that made it."""

    number: str
    run_id: str
    status: str
    dirty: bool  # the code was edited, or its commit is not recorded

    def __str__(self) -> str:
        return f"version {self.number} of {MODEL_NAME} (run {self.run_id})"

    @property
    def uri(self) -> str:
        """Return MLflow's address of it."""
        return f"{SCHEME}{MODEL_NAME}/{self.number}"


def _version(client: mlflow.MlflowClient, entry: ModelVersion) -> Version:
    run = client.get_run(entry.run_id)
    return Version(str(entry.version), entry.run_id, run.info.status, run.data.tags.get("git.dirty") != "false")


def find(root: Path, wanted: str) -> Version:
    """Return the version with alias `wanted`, or the newest of the one run whose id begins so or which has that name.

    Raises UserError if there is none.
    """
    client, _ = connect(root)
    versions = _versions(client)
    aliases = client.get_registered_model(MODEL_NAME).aliases if versions else {}
    matching = [one for one in versions if str(aliases.get(wanted)) == str(one.version)]
    matching = matching or [one for one in versions if wanted and one.run_id.startswith(wanted)]
    if not matching and versions:
        with contextlib.suppress(UserError):
            matching = [one for one in versions if one.run_id == find_run(root, wanted).info.run_id]
    runs = {one.run_id for one in matching}
    if len(runs) != 1:
        raise UserError(
            f"{wanted}: not one version of model {MODEL_NAME!r} in {masked(store_uri(root))} (found {len(runs)} runs, "
            f"expected an alias such as {CANDIDATE}, the beginning of one run's id, or a run's name). Fix: choose one that "
            "`make ui` lists"
        )
    return _version(client, matching[0])


def champion(root: Path) -> Version | None:
    """Return the version that is in use, or None."""
    client, _ = connect(root)
    models = client.search_registered_models(f"name = '{MODEL_NAME}'")
    number = models[0].aliases.get(CHAMPION) if models else None
    return _version(client, client.get_model_version(MODEL_NAME, number)) if number else None


def crown(root: Path, version: Version, before: Version | None) -> None:
    """Let alias `champion` name `version`, and `previous` the one that was it: `before`.

    Raises UserError if another process has made a third one the champion meanwhile, with which `version` was not compared.
    """
    client = mlflow.MlflowClient()
    _require_champion(root, before, version)
    if before is not None:
        _beside_others(client.set_registered_model_alias, MODEL_NAME, PREVIOUS, before.number)
    _beside_others(client.set_registered_model_alias, MODEL_NAME, CHAMPION, version.number)
    _require_champion(root, version)


def _require_champion(root: Path, *expected: Version | None) -> None:
    if (found := champion(root)) not in expected:
        raise UserError(
            f"{MODEL_NAME}@{CHAMPION}: changed meanwhile (found {found}, expected {expected[0]}). Fix: run the command again"
        )


def annotate(version: Version, text: str, tags: Mapping[str, str]) -> None:
    """Let a version's description begin with `text`, and give it tags."""
    client = mlflow.MlflowClient()
    for name, value in tags.items():
        _beside_others(client.set_model_version_tag, MODEL_NAME, version.number, name, value)
    origin = _origin(client.get_run(version.run_id))
    client.update_model_version(MODEL_NAME, version.number, f"{text}\n\n{origin}")


def _beside_others(write: Callable[..., None], *arguments: str) -> None:
    """Write to the store, again where another process has just made the same row: MLflow then fails instead of changing it."""
    for _ in range(COLLISIONS):
        try:
            write(*arguments)
            return
        except TrackingError as error:
            if not COLLISION.search(str(error)):
                raise
    write(*arguments)


def fetch(root: Path, uri: str, folder: Path) -> Path:
    """Copy the model `models:/NAME@ALIAS` or `models:/NAME/VERSION` into `folder`, and return the model file in it.

    Raises UserError if the store has no such model, or if a file of it is not what was logged.
    """
    client, _ = connect(root)
    with answering(root, uri):
        name, _, alias = uri.removeprefix(SCHEME).partition("@")
        name, _, number = name.partition("/")
        version = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
        copied = mlflow.artifacts.download_artifacts(f"{SCHEME}{name}/{version.version}", dst_path=str(folder))
    manifest.verify(Path(copied), uri, version.tags.get(MANIFEST_TAG, "none"))
    (file,) = (Path(copied) / packaging.DATA).iterdir()
    return file


@contextlib.contextmanager
def local(model: str) -> Iterator[Path]:
    """Give the model file that `model` names: a path, or one of this project's store, which is copied."""
    if not model.startswith(SCHEME):
        yield Path(model)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield fetch(project.find_root(), model, Path(folder))
