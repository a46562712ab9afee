"""MLflow's SQLite database as a file, without MLflow's import: ready to be opened, with paths that are those of today.

MLflow stores absolute paths of artifacts, and has no way to change them. Those of the project's own store are rewritten when
the project is found in another folder than before, moved or copied, so that nothing is read or written in the old one.
"""

import contextlib
import os
import sqlite3
from pathlib import Path
from urllib.parse import unquote, urlsplit

from xtcav_ml.system.errors import UserError, disk_full
from xtcav_ml.tracking.mlflow_names import EXPERIMENT, NOTES, own_database, store_uri

SQLITE, ARTIFACTS = "sqlite:///", "artifacts"

LOCATIONS = {
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
}
"""Tables and columns of MLflow that hold paths or addresses of artifacts."""

BUSY_SECONDS = 20.0  # as long as MLflow waits for another process


def database_of(uri: str) -> Path | None:
    """Return the file that SQLAlchemy opens for the address of an SQLite database; None for that of another store."""
    return Path(unquote(uri.removeprefix(SQLITE).partition("?")[0])).absolute() if uri.startswith(SQLITE) else None


def reading(database: Path, seconds: float = BUSY_SECONDS) -> contextlib.closing[sqlite3.Connection]:
    """Return a connection, to be entered, that writes nothing and waits so long for another process."""
    return contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", seconds, uri=True))


def prepare(root: Path) -> str | None:
    """Let the SQLite database of the project's store be opened by MLflow; return where new experiments have their artifacts.

    None, and nothing is done, if the store is no SQLite database. Paths below the `mlruns` in which the project was before
    are rewritten to the present one, all of them or none; paths elsewhere stay. Raises UserError if the database is missing
    its folder, damaged, in use or not writable.
    """
    uri = store_uri(root)
    database = database_of(uri)
    if database is None:
        return None
    folder, own = database.parent, database == own_database(root)
    try:
        if own and root.is_dir():
            folder.mkdir(exist_ok=True)
        if not folder.is_dir():
            raise UserError(
                f"MLFLOW_TRACKING_URI: no folder for the database (found {uri!r}, expected folder {folder}). Fix: create it, "
                "or unset the variable to use mlruns/mlflow.db"
            )
        if not all(os.access(path, os.W_OK) for path in (folder, database) if path.exists()):
            raise PermissionError("Permission denied")  # which SQLite notices only when it writes
        with contextlib.closing(sqlite3.connect(database, BUSY_SECONDS, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # persists: readers, as the UI, never block a writer
            if own:
                _follow(connection, folder)
    except (sqlite3.Error, PermissionError) as error:
        raise _unusable(database, error) from None
    return (folder / ARTIFACTS).as_uri()


def require_whole(database: Path) -> None:
    """Raise UserError if an SQLite database is damaged anywhere, which a command that reads elsewhere would not see."""
    try:
        with reading(database) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            damaged = sqlite3.DatabaseError(found)
            damaged.sqlite_errorname = "SQLITE_CORRUPT"
            raise damaged
    except sqlite3.Error as error:
        raise _unusable(database, error) from None


def _follow(connection: sqlite3.Connection, folder: Path) -> None:
    """Rewrite paths below the folders in which the store was before to those below `folder`."""
    if not _earlier_folders(connection, folder):
        return
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        columns = "SELECT one.name, two.name FROM sqlite_master AS one, pragma_table_info(one.name) AS two"
        present = set(connection.execute(columns))  # of MLflow's present schema, or of another version
        for old in _earlier_folders(connection, folder):  # none if another process was faster
            for before, now in ((old, folder.as_uri()), (unquote(urlsplit(old).path), str(folder))):
                for table, column in present & LOCATIONS:
                    connection.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                        (f"{now}/", len(before) + 2, len(before) + 1, f"{before}/"),
                    )


def _earlier_folders(connection: sqlite3.Connection, folder: Path) -> set[str]:
    """Return the addresses of the folders, except `folder`, in which the project's experiments have their artifacts."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'").fetchone():
        return set()  # created, and empty
    rows = connection.execute(
        "SELECT artifact_location FROM experiments WHERE name IN (?, ?) AND artifact_location LIKE ?",
        (EXPERIMENT, NOTES, f"file:///%/{folder.name}/{ARTIFACTS}"),
    )
    return {location.removesuffix(f"/{ARTIFACTS}") for (location,) in rows} - {folder.as_uri()}


def _unusable(database: Path, error: sqlite3.Error | PermissionError) -> UserError:
    if full := disk_full(error, database):
        return full
    name = getattr(error, "sqlite_errorname", "")
    if name in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
        problem, expected = "unreadable", "MLflow's SQLite database"
        cure = "restore a copy, or move it away, and a new one is created"
    elif name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        problem, expected, cure = "in use", "no other process that locks it", "wait for that process, or end it"
    else:
        problem, expected = "not writable", "permission to write to it and to its folder"
        cure = "ask the owner for it, or copy the project with `cp -r` and work in the copy"
    return UserError(f"{database}: {problem} (found {str(error)!r}, expected {expected}). Fix: {cure}")
