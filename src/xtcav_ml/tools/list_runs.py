"""runs: what MLflow has, newest first, with what differs from params.yaml."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from xtcav_ml.config.base import read_tree
from xtcav_ml.config.paths import PARAMS_FILE
from xtcav_ml.lineage import git, project
from xtcav_ml.science.thresholds import INTERVAL
from xtcav_ml.system.errors import UserError, masked
from xtcav_ml.system.progress import console, titled_table
from xtcav_ml.tracking import find_runs, uploader
from xtcav_ml.tracking.logged_params import logged_params
from xtcav_ml.tracking.mlflow_names import store_uri

WORKSPACE = "."
NAMED = 3  # parameters that differ, of those shown in a row


def list_runs(revision: str | None, limit: int, as_json: bool) -> None:
    """Print the `limit` newest runs of training, or those of one `revision`, of which "." is the workspace.

    Raises UserError if there is none.
    """
    root = project.find_root()
    uploader.be_brief()
    runs = (
        find_runs.newest(root, limit) if revision is None else find_runs.runs_of(root, _reader(root, revision))[:limit]
    )
    if not runs:
        state = {None: "this project", WORKSPACE: "the workspace"}.get(revision, str(revision))
        raise UserError(
            f"{state}: no run in {masked(store_uri(root))} (found 0, expected a run of its lineage.key). Fix: run "
            "`make repro`, which trains it or logs the results in DVC's cache"
        )
    current = logged_params(read_tree(root / PARAMS_FILE))
    rows = [find_runs.describe(run, current) for run in runs]
    if as_json:
        print(json.dumps(rows, indent=2, allow_nan=False))
    else:
        _print(rows, root)


def _reader(root: Path, revision: str) -> Callable[[str], bytes]:
    if revision == WORKSPACE:
        return lambda name: (root / name).read_bytes()
    return lambda name: git.file_at(revision, name, root)


def _print(rows: Sequence[dict[str, Any]], root: Path) -> None:
    headings = ("run", "started", f"test accuracy, {INTERVAL}", "name", "differs from params.yaml")
    table = titled_table("", headings, headings)
    for row in rows:
        low_high = row["accuracy_interval"]
        accuracy = "-" if row["accuracy"] is None else f"{row['accuracy']:.1%}"
        if low_high:
            accuracy += f" ({low_high[0]:.1%} to {low_high[1]:.1%})"
        if row["state"] != "FINISHED":
            accuracy = f"{row['state']} {accuracy}".removesuffix(" -")
        started = row["started"][:16].replace("T", " ")
        table.add_row(row["run_id"][:8], started, accuracy, row["name"], _differences(row))
    console().print(table)
    uri = store_uri(root)
    console().print(f"in {masked(uri)}; `xtcav compare` and `xtcav reproduce` take these digits or names")


def _differences(row: dict[str, Any]) -> str:
    differs = [f"{name} {value}" for name, value in row["differs"].items()]
    more = [f"and {len(differs) - NAMED} more"] if len(differs) > NAMED else []
    edited = ["code edited since its commit"] if row["edited"] else []
    rebuilt = ["rebuilt"] if row["rebuilt"] else []
    seeds = [f"mean of seeds {row['seeds']}"] if row["seeds"] else []
    return ", ".join([*seeds, *differs[:NAMED], *more, *edited, *rebuilt])
