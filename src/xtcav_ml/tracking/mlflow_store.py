"""Where MLflow keeps runs: the address of the store, a connection to it, its pages."""

import contextlib
import json
import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import mlflow
from mlflow import environment_variables
from mlflow.entities import Run
from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR
from sqlalchemy.exc import SQLAlchemyError

from xtcav_ml.system import listening
from xtcav_ml.system.errors import UserError, disk_full, masked, reason
from xtcav_ml.system.progress import told
from xtcav_ml.tracking import mlflow_ui, sqlite_store, store_problems
from xtcav_ml.tracking.mlflow_names import ACCURACY, ACCURACY_INTERVAL, EXPERIMENT, VALIDATION_LOSS, store_uri

VIEW_TAG, VIEW = "mlflow.sharedViewState.", "xtcav"  # an experiment's tag, and the name of its view
COLUMNS = {
    f"metrics.`{ACCURACY}`": 86,
    **{f"metrics.`{name}`": 70 for name in (*ACCURACY_INTERVAL, VALIDATION_LOSS)},
    "params.`train.optimizer.learning_rate`": 106,
    "params.`train.optimizer.momentum`": 90,
    "params.`train.model.blocks.kernel`": 66,
    "params.`train.model.blocks.pool`": 66,
    "attributes.`Version`": 70,
    "params.`data.raw`": 84,
    "params.`train.seed`": 70,
}
"""Columns of the view in their order, as MLflow's page names them, and their widths in pixels; Version is the commit. Beside
those that PINNED has, they fit a screen of 1440 pixels, but for the seed, which the names of runs have too."""
PINNED = {"attributes.`Run Name`": 222, "runDateAndNestInfo": 112}
"""Those that are on the left at any rate."""

TRAINED = "tags.stage = 'train'"  # MLflow's filter of the project's own trainings

TrackingError = (mlflow.MlflowException, SQLAlchemyError, OSError)
"""Of a store, of its database, and of HTTP and the file system on the way to it."""


def client(root: Path) -> mlflow.MlflowClient:
    """Return a client of the project's store, and let MLflow's own functions use that store too. Asks no server anything.

    Raises UserError as `sqlite_store.prepare`.
    """
    sqlite_store.prepare(root)
    return _client(store_uri(root))


def _client(uri: str) -> mlflow.MlflowClient:
    _require_readable_variables()
    logging.getLogger("mlflow.store.db.utils").setLevel(
        logging.CRITICAL
    )  # tables that it makes, errors with a traceback
    mlflow.set_tracking_uri(uri)
    return mlflow.MlflowClient(uri)


def _require_readable_variables() -> None:
    """Raise UserError for a variable of MLflow that is not of its type, which MLflow reads first in the midst of a request."""
    for name, text in os.environ.items():
        variable = getattr(environment_variables, name, None)
        if isinstance(variable, environment_variables._EnvironmentVariable):
            try:
                variable.get()
            except ValueError:
                raise UserError(
                    f"{name}: not one of MLflow's values (found {text!r}, expected {_kind(variable)}). Fix: unset {name}"
                ) from None


def _kind(variable: environment_variables._EnvironmentVariable) -> str:
    kinds = {bool: "true or false", int: "a whole number", float: "a number"}
    return kinds.get(variable.type) or str(variable.type.__name__)


def connect(root: Path, experiment: str = EXPERIMENT) -> tuple[mlflow.MlflowClient, str]:
    """Return a client and the id of an experiment, both created on first use. Raises UserError if the store fails."""
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    uri = store_uri(root)
    with answering(root):
        artifacts = sqlite_store.prepare(root)
        if database := sqlite_store.database_of(uri):
            with contextlib.closing(sqlite3.connect(database)) as connection:
                store_problems.require_known_schema(database, connection)
        store = _client(uri)
        return store, _experiment(store, experiment, artifacts, uri)


def _experiment(store: mlflow.MlflowClient, name: str, artifacts: str | None, uri: str) -> str:
    """Return the id of an experiment, which is created if there is none, by this process or by another one meanwhile."""
    existing = store.get_experiment_by_name(name)
    if not existing:
        try:
            return str(store.create_experiment(name, artifacts))
        except mlflow.MlflowException:
            if not (existing := store.get_experiment_by_name(name)):
                raise
    store_problems.require_active(existing, uri)
    return str(existing.experiment_id)


@contextlib.contextmanager
def answering(root: Path, item: str = "") -> Iterator[None]:
    """Raise UserError for a TrackingError: the store lacks `item`, has no room, does not answer, or refuses the user."""
    store = masked(store_uri(root))
    try:
        with told(f"MLflow: waits for an answer of {store}"):
            yield
    except TrackingError as error:
        if full := disk_full(error, store):
            raise full from None
        why = reason(error)
        if isinstance(error, mlflow.MlflowException) and error.get_http_status_code() in (401, 403):
            message = (
                f"MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD: {store} refuses this account (found {why!r}, expected "
                "the right to read and write). Fix: set both, or ask the server's administrator for the right"
            )
        elif item:
            message = f"{item}: not in {store} (found {why!r}, expected one that `make ui` lists). Fix: choose another"
        else:
            message = store_problems.no_answer(store_uri(root), why)
        raise UserError(message) from None


def search_runs(client: mlflow.MlflowClient, experiment: str, tags: Mapping[str, str]) -> list[Run]:
    """Return the runs of an experiment that have all these tags, the newest first. Raises what the store raises."""
    wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    return list(client.search_runs([experiment], wanted, order_by=["attributes.start_time DESC", "attributes.run_id"]))


def curves(root: Path, run_id: str, names: Iterable[str]) -> dict[str, dict[int, float]]:
    """Return the values of metrics `names` of run `run_id` by step. Raises UserError if the store does not answer."""
    store, _ = connect(root)
    with answering(root):
        return {name: {one.step: one.value for one in store.get_metric_history(run_id, name)} for name in names}


def download(root: Path, run_id: str, name: str, folder: Path) -> Path:
    """Copy file `name` of what run `run_id` stored into `folder`. Raises UserError if the store has no such run or file."""
    store, _ = connect(root)
    with answering(root, f"run {run_id}, {name}"):
        return Path(store.download_artifacts(run_id, name, str(folder)))


def serve_ui(root: Path, host: str, port: int) -> None:
    """Become the MLflow UI on this project's store, or print the address of the server that has it; ends with Ctrl-C.

    Raises UserError if the store fails, or the address cannot be used.
    """
    uri = store_uri(root)
    store, experiment = connect(root)
    page = f"#/experiments/{experiment}/runs?workflowType=machine_learning"  # without it, a page of language models
    with contextlib.suppress(*TrackingError):  # of a store that this user may only read
        store.set_experiment_tag(experiment, VIEW_TAG + VIEW, json.dumps(view_state(_newest_data(store, experiment))))
        page += f"&viewStateShareKey={VIEW}"
    if uri.startswith(("http://", "https://")):
        print(f"MLFLOW_TRACKING_URI names a server, which has its own pages: open {masked(uri).rstrip('/')}/{page}")
        return
    listening.listen(host, port).close()
    os.environ |= {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }  # jobs: of chat bots
    print(f"MLflow UI on http://{listening.address(host, port)}/{page} (in a few seconds; Ctrl-C ends it)", flush=True)
    where = ["--backend-store-uri", uri, "--host", host, "--port", str(port)]
    enough = ["--workers", "1", "--uvicorn-opts", "--log-level warning"]  # for one user, and there sooner than four
    mlflow_ui.become("ui", *where, *enough)


def _newest_data(store: mlflow.MlflowClient, experiment: str) -> str:
    """Return the folder of raw data of the newest training; empty if there is none."""
    newest = store.search_runs([experiment], TRAINED, max_results=1, order_by=["attributes.start_time DESC"])
    return newest[0].data.params.get("data.raw", "") if newest else ""


def view_state(data: str) -> dict[str, object]:
    """Return the view of the runs that `make ui` opens, as MLflow's page keeps one that is shared.

    The trainings on the folder `data` (empty: on all) are sorted by test accuracy, and what one compares first has a column.
    Accuracies on simulated shots and on other files are no scale for each other: a filter keeps them apart, not an experiment
    of MLflow, since runs of several experiments cannot be compared in one table when that is wanted.
    """
    same = f" and params.`data.raw` = '{data}'" if data and "'" not in data else ""
    return {
        "searchFilter": TRAINED + same,
        "orderByKey": f"metrics.`{ACCURACY}`",
        "orderByAsc": False,
        "selectedColumns": list(COLUMNS),
        "columnOrder": list(PINNED | COLUMNS),
        "columnWidths": PINNED | COLUMNS,
    }
