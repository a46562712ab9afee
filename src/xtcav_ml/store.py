"""Where MLflow keeps runs: the address of the store, a connection to it, its pages."""

import contextlib
import logging
import os
import sqlite3
import sys
from collections.abc import Mapping
from pathlib import Path

import mlflow
from mlflow.entities import Run

from xtcav_ml.address import EXPERIMENT, masked, reason, store_uri
from xtcav_ml.errors import UserError

TrackingError = (mlflow.MlflowException, OSError)
"""What MLflow, and the HTTP and file system below it, raise when a store cannot be written to."""


def connect(root: Path, experiment: str = EXPERIMENT) -> tuple[mlflow.MlflowClient, str]:
    """Return a client and the id of an experiment, the project's own by default, both made on first use."""
    uri = store_uri(root)
    mlflow.set_tracking_uri(uri)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it tells of every table that it makes
    local = uri.startswith("sqlite:///")
    if local:
        database = Path(uri.removeprefix("sqlite:///"))
        database.parent.mkdir(parents=True, exist_ok=True)
        try:
            with contextlib.closing(sqlite3.connect(database)) as connection:
                connection.execute(
                    "PRAGMA journal_mode=WAL"
                )  # readers, as the UI, then never block a writer; it persists
        except sqlite3.Error as error:
            raise UserError(
                f"{database}: must be MLflow's SQLite database, got {str(error)!r}; bring it back from a copy, or move it "
                "away: a new one is then made"
            ) from None
    artifacts = (root / "mlruns" / "artifacts").resolve().as_uri() if local else None
    try:
        client = mlflow.MlflowClient(uri)
        found = client.get_experiment_by_name(experiment)
        known = found.experiment_id if found else client.create_experiment(experiment, artifacts)
    except TrackingError as error:
        raise unanswered(root, error) from None
    return client, known


def unanswered(root: Path, error: Exception) -> UserError:
    """Return what to tell a user whose store does not answer."""
    return UserError(
        f"MLFLOW_TRACKING_URI: must name a store that answers, got {masked(store_uri(root))!r} ({reason(error)}); "
        "start the server, or unset the variable to use mlruns/mlflow.db"
    )


def search(client: mlflow.MlflowClient, experiment: str, tags: Mapping[str, str]) -> list[Run]:
    """Return the runs of an experiment that have all these tags, the newest first. Raises what the store raises."""
    wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    return list(client.search_runs([experiment], wanted, order_by=["attributes.start_time DESC", "attributes.run_id"]))


def download(root: Path, run_id: str, name: str, folder: Path) -> Path:
    """Copy file `name` of what run `run_id` stored into `folder`. Raises UserError if the store has no such run or file."""
    client, _ = connect(root)
    try:
        return Path(client.download_artifacts(run_id, name, str(folder)))
    except TrackingError as error:
        raise UserError(
            f"run {run_id}: must be in {masked(store_uri(root))} with {name}, got {reason(error)!r}; `make ui` lists the runs"
        ) from None


def serve_ui(root: Path, host: str, port: int) -> None:
    """Become the MLflow UI on this project's store; ends with Ctrl-C."""
    uri = store_uri(root)
    if uri.startswith(("http://", "https://")):
        print(f"MLFLOW_TRACKING_URI names a server, which has its own pages: open {masked(uri)}")
        return
    connect(root)
    arguments = ["-m", "mlflow", "ui", "--backend-store-uri", uri, "--host", host, "--port", str(port)]
    print(f"MLflow UI on http://{host}:{port} (Ctrl-C ends it)", flush=True)
    os.execv(sys.executable, [sys.executable, *arguments])
