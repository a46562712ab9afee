"""What can be wrong with a store that answers nothing, or not as it should: one line each, with a cure that works."""

import contextlib
import re
import sqlite3
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
import requests
from mlflow.entities import Experiment, LifecycleStage

from xtcav_ml.system.errors import LOCKED, UserError, masked

MIGRATIONS = Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"
"""A file for each version of the schema, which its name begins with."""


def require_known_schema(database: Path, connection: sqlite3.Connection) -> None:
    """Raise UserError if a newer MLflow has written a database. The installed one creates or upgrades all others."""
    with contextlib.suppress(sqlite3.OperationalError):  # no such table: it is new
        for (version,) in connection.execute("SELECT version_num FROM alembic_version"):
            if not any(MIGRATIONS.glob(f"{version}_*.py")):
                raise UserError(
                    f"{database}: written by a newer MLflow (found schema {version!r}, expected one of MLflow "
                    f"{mlflow.__version__}). Fix: use the version of this project that wrote it, or move it away, and a new "
                    "one is created"
                )


def require_active(experiment: Experiment, uri: str) -> None:
    """Raise UserError if an experiment was deleted: it takes no run."""
    if (stage := experiment.lifecycle_stage) != LifecycleStage.ACTIVE:
        raise UserError(
            f"experiment {experiment.name}: deleted in {masked(uri)} (found {stage!r}, expected 'active'). "
            f"Fix: run `MLFLOW_TRACKING_URI='{masked(uri)}' .venv/bin/mlflow experiments restore --experiment-id "
            f"{experiment.experiment_id}`, then `xtcav sync`"
        )


def no_answer(uri: str, why: str) -> str:
    """Return the message for a store that does not answer: an older schema, a lock, a proxy, or no server."""
    store, proxies = masked(uri), requests.utils.get_environ_proxies(uri) if uri.startswith("http") else {}
    if versions := re.search(r"out-of-date database schema .found version (\w+), but expected (\w+)", why):
        return (
            f"{store}: schema of an older MLflow (found {versions[1]}, expected {versions[2]}). Fix: keep a copy, then run "
            f"`.venv/bin/mlflow db upgrade '{store}'`"
        )
    if LOCKED in why:
        return (
            f"{store}: in use (found {why!r}, expected no process that locks it). Fix: wait for that process, or end it"
        )
    if proxies:
        proxy = masked(proxies.get(urlsplit(uri).scheme) or next(iter(proxies.values())))
        return (
            f"NO_PROXY: requests to {store} go through a proxy, {proxy} (found {why!r}, expected an answer). Fix: run "
            f"`export NO_PROXY={urlsplit(uri).hostname}`"
        )
    return (
        f"MLFLOW_TRACKING_URI: no answer (found {why!r}, expected one from {store}). Fix: start the server, or unset the "
        "variable to use mlruns/mlflow.db"
    )
