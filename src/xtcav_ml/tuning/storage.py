"""Where studies are: in an SQLite file, or in the database that OPTUNA_STORAGE names, as it does for Optuna's own commands."""

import contextlib
import hashlib
import importlib.util
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy

from xtcav_ml.system import file_systems, one_writer
from xtcav_ml.system.errors import UserError, masked

VARIABLE = "OPTUNA_STORAGE"

Place = Path | str
"""An SQLite file, or the URL of a PostgreSQL with the driver that is used."""


def place(path: Path) -> Place:
    """Return where studies are: `path`, unless the user named another place.

    Raises UserError if that is none that can be used, or if a file is where several machines may write it.
    """
    url = os.environ.get(VARIABLE) or f"sqlite:///{path.absolute()}"
    if url.startswith("sqlite:///"):
        return _local(Path(url.removeprefix("sqlite:///")).absolute())
    if re.match(r"postgres(ql)?(\+psycopg)?://", url) is None:
        raise UserError(
            f"{VARIABLE}: no such database (found {masked(url)!r}, expected sqlite:///FILE or postgresql://USER@HOST/NAME). "
            "Fix: correct or unset it"
        )
    if importlib.util.find_spec("psycopg") is None:
        raise UserError(
            f"{VARIABLE}: no driver of PostgreSQL (found no package psycopg, expected it). Fix: run `make install-cluster`"
        )
    return re.sub(r"^[^:]*", "postgresql+psycopg", url)


def _local(file: Path) -> Path:
    if kind := file_systems.shared(file.parent):
        raise UserError(
            f"{file}: SQLite on a file system that machines share (found {kind}, expected a disk of this machine: SQLite loses "
            f"data there). Fix: set {VARIABLE} to sqlite:////a/local/folder/study.db, or to postgresql://USER@HOST/NAME"
        )
    return file


def named(where: Place) -> str:
    """Return a place without its password."""
    return masked(str(where))


@contextlib.contextmanager
def alone(where: Place, path: Path, study: str) -> Iterator[None]:
    """Let no other process of any project write this study meanwhile, if it is at another place than `path`.

    Nobody else writes `path`, whose project the caller has locked. Raises UserError if another one writes the study.
    """
    if isinstance(where, Path):
        with one_writer.writing(where) if where != path.absolute() else contextlib.nullcontext():
            yield
        return
    with _locking(where, sqlalchemy.func.pg_try_advisory_lock, study) as taken:
        if not taken:
            raise UserError(
                f"{VARIABLE}: study {study} is written by another process (found its lock in {named(where)}, expected none). "
                "Fix: wait for it, or set another tune.study"
            )
        yield


@contextlib.contextmanager
def making(where: Place) -> Iterator[None]:
    """Wait for any other process that makes the tables of this database, and let none do it meanwhile."""
    with (
        one_writer.writing(where)
        if isinstance(where, Path)
        else _locking(where, sqlalchemy.func.pg_advisory_lock, "tables")
    ):
        yield


@contextlib.contextmanager
def _locking(where: str, function: Callable[[int], sqlalchemy.ColumnElement[Any]], name: str) -> Iterator[Any]:
    """Yield what a function of PostgreSQL's says that takes a lock of this name, which ends with its connection."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
    engine = sqlalchemy.create_engine(where, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        taken = connection.execute(sqlalchemy.select(function(number))).scalar()
        connection.commit()
        yield taken
