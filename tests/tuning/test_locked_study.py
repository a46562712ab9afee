"""A study's file that another process has locked, or that is none."""

import contextlib
import sqlite3
import threading
import time

import pytest

from xtcav_ml.config.tune import TuneParams
from xtcav_ml.system import interrupts, progress
from xtcav_ml.system.errors import UserError
from xtcav_ml.tuning import studies


@pytest.fixture
def tune(params):
    return params.tune


@contextlib.contextmanager
def locked(path, seconds):
    """Let another connection have the file for itself."""
    held = threading.Event()

    def hold():
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            held.set()
            time.sleep(seconds)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    yield
    thread.join()


def test_a_lock_is_told_and_waited_for_and_nothing_is_lost(tmp_path, tune: TuneParams, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SILENT_SECONDS", 0.1)
    study = studies.open_study(tune, {}, tmp_path / "study.db")
    with locked(tmp_path / "study.db", 1.5):
        study.set_user_attr("a", 1)
    assert study.user_attrs == {"a": 1}
    assert "waits for another process" in capsys.readouterr().err


def test_the_wait_is_bounded_and_ends_in_one_line(tmp_path, tune, monkeypatch):
    study = studies.open_study(tune, {}, tmp_path / "study.db")
    monkeypatch.setattr(studies, "LOCKED_SECONDS", 0.1)
    with (
        locked(tmp_path / "study.db", 3),
        pytest.raises(UserError, match=r"study\.db: in use .*database is locked"),
        studies.usable(tmp_path / "study.db"),
    ):
        study.set_user_attr("a", 1)


def test_a_request_to_stop_ends_the_wait(tmp_path, tune, monkeypatch):
    study = studies.open_study(tune, {}, tmp_path / "study.db")
    monkeypatch.setattr(interrupts, "pending", lambda: True)
    monkeypatch.setattr(interrupts, "_first", 0.0)
    with locked(tmp_path / "study.db", 1.5), pytest.raises(KeyboardInterrupt):
        study.set_user_attr("a", 1)


@pytest.mark.parametrize("damage", [b"\0" * 5000, b"no database" * 500, None, "cut"])
def test_a_damaged_file_is_one_line(tmp_path, tune, damage):
    path = tmp_path / "study.db"
    if damage is None:
        path.mkdir()
    elif damage == "cut":
        studies.open_study(tune, {}, path)
        path.write_bytes(path.read_bytes()[:9000])
    else:
        path.write_bytes(damage)
    with pytest.raises(UserError, match=r"study\.db: damaged .*move it away") as error, studies.usable(path):
        studies.open_study(tune, {}, path)
    assert "\n" not in str(error.value)
