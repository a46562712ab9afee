"""The run before another one, read from the project's SQLite database: the end of `make repro` has no time to import MLflow."""

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from xtcav_ml.tracking.mlflow_names import EXPERIMENT, earlier_name, store_uri
from xtcav_ml.tracking.sqlite_store import database_of, reading

BEFORE = """
SELECT runs.run_uuid, runs.name, latest_metrics.value
FROM runs JOIN experiments USING (experiment_id) JOIN tags USING (run_uuid) JOIN latest_metrics USING (run_uuid)
WHERE experiments.name = ? AND tags.key = 'stage' AND tags.value = 'train' AND latest_metrics.key IN (?, ?)
AND runs.status = 'FINISHED' AND runs.lifecycle_stage = 'active'
AND runs.start_time < (SELECT start_time FROM runs WHERE run_uuid = ?)
ORDER BY runs.start_time DESC LIMIT 1
"""


ANSWER_SECONDS = 0.2  # the summary waits no longer


@dataclass(frozen=True)
class LastRun:
    """A finished run of training, and what differs in the one after it."""

    run_id: str
    name: str
    value: float  # of the metric that was asked for
    changed: dict[str, tuple[str, str]]  # parameters by name: then, now; "-" where there was none


def run_before(root: Path, run_id: str, metric: str) -> LastRun | None:
    """Return the newest finished training with this metric of MLflow that began before run `run_id`.

    None if there is none, or if the store is a server or does not answer at once.
    """
    database = database_of(store_uri(root))
    if database is None:
        return None
    with contextlib.suppress(sqlite3.Error), reading(database, ANSWER_SECONDS) as connection:
        row = connection.execute(BEFORE, (EXPERIMENT, metric, earlier_name(metric), run_id)).fetchone()
        if row is not None:
            then, now = (_params(connection, one) for one in (row[0], run_id))
            names = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
            return LastRun(row[0], row[1], row[2], {name: (then.get(name, "-"), now.get(name, "-")) for name in names})
    return None


def _params(connection: sqlite3.Connection, run_id: str) -> dict[str, str]:
    return dict(connection.execute("SELECT key, value FROM params WHERE run_uuid = ?", (run_id,)))
