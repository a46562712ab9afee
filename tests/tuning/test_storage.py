"""Where studies are: in a file of this machine's disk, or in PostgreSQL."""

import os
import subprocess
import sys

import psycopg
import pytest

from server import postgres
from tests.conftest import ROOT
from tests.tuning.test_studies import BASE, TUNE, finish
from xtcav_ml.system import file_systems
from xtcav_ml.system.errors import UserError
from xtcav_ml.tuning import storage, studies


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with postgres.embedded(tmp_path_factory.mktemp("server")) as database:
        yield f"postgresql:///mlflow?host={database.keywords['host']}&user={database.keywords['user']}"


def another_database(url):
    """Return the URL of a new database of the same server."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE another")
    return url.replace("/mlflow?", "/another?")


def test_a_file_that_machines_share_is_refused_before_it_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(file_systems, "shared", lambda folder: "nfs4" if "home" in folder.parts else "")
    path = tmp_path / "home" / "study.db"
    with pytest.raises(
        UserError, match=r"study\.db: SQLite on a file system that machines share \(found nfs4.*OPTUNA_STORAGE"
    ):
        studies.open_study(TUNE, {}, path)
    assert not path.exists()
    monkeypatch.setenv("OPTUNA_STORAGE", f"sqlite:///{tmp_path}/local.db")
    studies.open_study(TUNE, {}, path)
    assert (tmp_path / "local.db").exists()
    assert not path.exists()


@pytest.mark.parametrize("address", ["mysql://you:secret@host/db", "study.db", "redis://host"])
def test_another_database_is_refused_and_its_password_not_shown(tmp_path, monkeypatch, address):
    monkeypatch.setenv("OPTUNA_STORAGE", address)
    with pytest.raises(UserError, match=r"OPTUNA_STORAGE: no such database .*Fix:") as error:
        storage.place(tmp_path / "study.db")
    assert "secret" not in str(error.value)


def test_a_postgresql_that_does_not_answer_is_one_line_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setenv("OPTUNA_STORAGE", "postgresql://you:secret@127.0.0.1:1/db")
    refused = pytest.raises(UserError, match=r"OPTUNA_STORAGE: not usable .*Fix: start it")
    with refused as error, studies.usable(tmp_path / "study.db"):
        studies.open_study(TUNE, {}, tmp_path / "study.db")
    assert "secret" not in str(error.value)


@pytest.mark.thorough
def test_a_study_in_postgresql_has_the_trials_of_one_in_a_file(tmp_path, monkeypatch, url):
    finish(studies.open_study(TUNE, {}, tmp_path / "study.db"), 5)
    inside = studies.open_study(TUNE, {}, tmp_path / "study.db")
    monkeypatch.setenv("OPTUNA_STORAGE", url)
    for _ in range(5):
        finish(studies.open_study(TUNE, {}, tmp_path / "none.db"), 1)
    remote = studies.open_study(TUNE, {}, tmp_path / "none.db")
    assert [(one.params, one.value) for one in remote.trials] == [(one.params, one.value) for one in inside.trials]
    assert not (tmp_path / "none.db").exists()
    assert studies.latest(tmp_path / "none.db") is not None
    begun = studies.next_trial(remote, TUNE, BASE)
    begun.report(0.5, 1)
    again = studies.next_trial(studies.open_study(TUNE, {}, tmp_path / "none.db"), TUNE, BASE)
    assert again.number == begun.number


@pytest.mark.thorough
def test_a_study_in_postgresql_is_written_by_one_process_at_a_time(tmp_path, monkeypatch, url):
    monkeypatch.setenv("OPTUNA_STORAGE", url)
    where = storage.place(tmp_path / "study.db")
    with storage.alone(where, tmp_path / "study.db", "peaks-1"):
        with (
            pytest.raises(UserError, match=r"study peaks-1 is written by another"),
            storage.alone(where, tmp_path / "b", "peaks-1"),
        ):
            pass
        with storage.alone(where, tmp_path / "study.db", "peaks-2"):
            pass
    with pytest.raises(ZeroDivisionError), storage.alone(where, tmp_path / "study.db", "peaks-1"):
        raise ZeroDivisionError
    with storage.alone(where, tmp_path / "study.db", "peaks-1"):
        pass
    script = (
        "import sys, time; from xtcav_ml.tuning import storage; from pathlib import Path\n"
        "with storage.alone(sys.argv[1], Path('x'), 'peaks-1'): print('has it', flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, str(where)], stdout=subprocess.PIPE, env=dict(os.environ))
    assert holder.stdout.readline() == b"has it\n"
    holder.kill()
    holder.wait()
    holder.stdout.close()
    while True:  # the server sees the end of the connection in its own time
        try:
            with storage.alone(where, tmp_path / "study.db", "peaks-1"):
                break
        except UserError:
            continue


@pytest.mark.thorough
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_eight_drivers_that_begin_at_once_in_a_new_database_lose_no_trial(tmp_path, monkeypatch, request, database):
    address = (
        f"sqlite:///{tmp_path}/shared.db" if database == "sqlite" else another_database(request.getfixturevalue("url"))
    )
    monkeypatch.setenv("OPTUNA_STORAGE", address)
    command = [sys.executable, "-m", "tests.tuning.many_drivers", str(tmp_path), "8", "20"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    counts = [len(studies.open_study(TUNE, {"driver": number}, tmp_path / "none.db").trials) for number in range(8)]
    assert counts == [20] * 8
