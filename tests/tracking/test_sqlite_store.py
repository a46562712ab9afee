"""A store that was moved or copied with its project: the runs of before and after it, in the right folder and in no other."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from unittest.mock import Mock

import mlflow
import pytest

from tests.conftest import StoredRun, lay_store
from xtcav_ml.system.errors import UserError
from xtcav_ml.tracking import mlflow_names, mlflow_store, sqlite_store, uploader
from xtcav_ml.tracking.tracker import Tracker


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A project with an experiment, a run with a file, a model and a version of it; in a folder that may get another name."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "unset below, and back after the test")
    (tmp_path / "here").mkdir()
    lay_store(tmp_path / "here")
    log(tmp_path / "here", "before")
    return tmp_path / "here"


def forget():
    """Be another process, which has opened no store yet."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # MLflow sets it
    mlflow.tracking._tracking_service.utils._artifact_repos_cache.clear()


def log(root, name):
    """Log a run, a file, and a model with a version, each with `name` as its content, as a new process would."""
    forget()
    run = StoredRun(root, stage=name)
    file = root / "file.txt"
    file.write_text(name)
    run.artifact(file)
    file.unlink()
    model = run.client.create_logged_model(run.experiment_id, "model", run.run_id)
    folder = root / "model"
    folder.mkdir()
    (folder / "data.txt").write_text(name)
    run.client.log_model_artifacts(model.model_id, str(folder))
    shutil.rmtree(folder)
    run.client.finalize_logged_model(model.model_id, "READY")
    if not run.client.search_registered_models():
        run.client.create_registered_model("xtcav")
    run.client.create_model_version("xtcav", f"models:/{model.model_id}", run.run_id, model_id=model.model_id)
    run.finish()


def contents(root, folder):
    """Return the contents of each run's file, model and model version, by run, as a new process of the project reads them."""
    forget()
    client, experiment = mlflow_store.connect(root)
    folder.mkdir(exist_ok=True)
    read = {}
    for run in client.search_runs([experiment]):
        (model,) = client.search_logged_models([experiment], f"source_run_id = '{run.info.run_id}'")
        (version,) = client.search_model_versions(f"run_id = '{run.info.run_id}'")
        addresses = [
            f"runs:/{run.info.run_id}/file.txt",
            f"models:/{model.model_id}",
            f"models:/xtcav/{version.version}",
        ]
        files = []
        for uri in addresses:
            path = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder / f"{len(read)}.{len(files)}")))
            files.append((path if path.is_file() else path / "data.txt").read_text())
        read[run.data.tags["stage"]] = files
    return read


def listing(folder):
    """Return all paths below a folder with the time of their last change, except what SQLite keeps while it is open."""
    paths = [path for path in folder.rglob("*") if not path.name.endswith(("-wal", "-shm"))]
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in paths if path.is_file()}


def addresses(root):
    """Return all that MLflow's database has of paths."""
    with sqlite3.connect(root / "mlruns/mlflow.db") as connection:
        return {
            (table, text)
            for table, column in sqlite_store.LOCATIONS
            for (text,) in connection.execute(f"SELECT {column} FROM {table}")
            if text and table != "trace_tags"
        }


MOVES = {
    "a name of its own": "there",
    "deeper": "a/b/c",
    "blanks and quotes": 'it\'s my "new" project',
    "characters of addresses": "a#b&c=d@e:f+g",
    "letters of others": "prôjet é 実験",
    "patterns": "[x]*_LIKE_",
    "a name that begins like the old": "here.old/here",
}


@pytest.mark.parametrize("name", MOVES.values(), ids=MOVES)
def test_a_moved_store_has_its_old_runs_and_new_ones_come_beside_them(store, tmp_path, name):
    there = tmp_path / name
    there.parent.mkdir(parents=True, exist_ok=True)
    store.rename(there)
    assert contents(there, tmp_path / "read") == {"before": ["before"] * 3}
    log(there, "after")
    assert contents(there, tmp_path / "read") == {"before": ["before"] * 3, "after": ["after"] * 3}
    assert not store.exists()
    assert len(list(there.rglob("file.txt"))) == 2
    there.rename(store)  # and back
    log(store, "back")
    assert contents(store, tmp_path / "read").keys() == {"before", "after", "back"}
    assert not there.exists()


def test_a_copied_store_leaves_the_original_alone_and_lives_without_it(store, tmp_path):
    copy, before = tmp_path / "copy", listing(store)
    shutil.copytree(store, copy)
    log(copy, "in the copy")
    assert listing(store) == before
    log(store, "in the original")
    shutil.move(store, tmp_path / "gone")
    assert contents(copy, tmp_path / "read") == {"before": ["before"] * 3, "in the copy": ["in the copy"] * 3}
    assert contents(tmp_path / "gone", tmp_path / "read").keys() == {"before", "in the original"}
    assert not [text for _, text in addresses(copy) if str(store) in text]


def test_a_copied_database_alone_writes_nothing_into_the_original(store, tmp_path):
    before = listing(store)
    (tmp_path / "clone/mlruns").mkdir(parents=True)
    shutil.copy(store / "mlruns/mlflow.db", tmp_path / "clone/mlruns")
    log(tmp_path / "clone", "in the clone")
    assert listing(store) == before
    assert len(list((tmp_path / "clone").rglob("file.txt"))) == 1


def test_paths_elsewhere_stay(store, tmp_path):
    forget()
    client, _ = mlflow_store.connect(store)
    elsewhere = {
        "bucket": "s3://team/mlruns/artifacts",
        "disk": f"{tmp_path}/here-too/mlruns/artifacts",
        "disk as address": (tmp_path / "here2/mlruns/artifacts").as_uri(),
        "server": "mlflow-artifacts:/1",
    }
    for name, location in elsewhere.items():
        client.create_run(client.create_experiment(name, location))
    own = client.create_experiment("of a person, in mlruns", f"{store}/mlruns/7")
    there = tmp_path / "there"
    store.rename(there)
    log(there, "after")
    moved, _ = mlflow_store.connect(there)
    for name, location in elsewhere.items():
        experiment = moved.get_experiment_by_name(name)
        assert experiment.artifact_location == location
        (run,) = moved.search_runs([experiment.experiment_id])
        assert run.info.artifact_uri == f"{location}/{run.info.run_id}/artifacts"
    assert moved.get_experiment(own).artifact_location == f"{there}/mlruns/7"


@pytest.fixture(autouse=True)
def _one_try(monkeypatch):
    monkeypatch.setattr(uploader, "FAILURES", 1)


def test_a_store_that_was_not_moved_is_not_written_to(store):
    forget()
    sqlite_store.prepare(store)
    with sqlite3.connect(store / "mlruns/mlflow.db") as connection:
        version = connection.execute("PRAGMA data_version").fetchone()
        sqlite_store.prepare(store)
        assert connection.execute("PRAGMA data_version").fetchone() == version


def test_many_processes_that_open_it_at_once_agree(store, tmp_path):
    there, failures = tmp_path / "there", []
    store.rename(there)
    forget()

    def open_store():
        try:
            sqlite_store.prepare(there)
        except UserError as error:
            failures.append(error)

    threads = [threading.Thread(target=open_store) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert all(
        str(there) in text or text.startswith("models:/") for _, text in addresses(there) if "/0" not in text[-2:]
    )
    assert contents(there, tmp_path / "read") == {"before": ["before"] * 3}


def test_it_is_rewritten_whole_or_not_at_all(store, tmp_path, monkeypatch):
    before = addresses(store)
    there = tmp_path / "there"
    store.rename(there)
    forget()
    with sqlite3.connect(there / "mlruns/mlflow.db") as connection:  # as a disk that is full for the last row
        connection.execute(
            "CREATE TRIGGER full BEFORE UPDATE ON model_versions BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
        )
    with pytest.raises(UserError, match=r"mlflow\.db: .*disk is full.*Fix: "):
        sqlite_store.prepare(there)
    assert addresses(there) == before
    with sqlite3.connect(there / "mlruns/mlflow.db") as connection:
        connection.execute("DROP TRIGGER full")
    assert contents(there, tmp_path / "read") == {"before": ["before"] * 3}


def test_a_symbolic_link_to_the_project_is_the_same_store(store, tmp_path):
    (tmp_path / "link").symlink_to(store)
    before = addresses(store)
    log(tmp_path / "link", "through the link")
    assert before < addresses(store)
    assert not [text for _, text in addresses(store) if "/link" in text]
    store.rename(tmp_path / "there")
    (tmp_path / "link").unlink()
    store.symlink_to(tmp_path / "there")  # as one leaves it where the project was
    assert contents(store, tmp_path / "read").keys() == {"before", "through the link"}
    assert not [text for _, text in addresses(store) if f"{store}/" in text]


def test_mlruns_on_another_disk_moves_with_its_link(store, tmp_path):
    (store / "mlruns").rename(tmp_path / "big")
    (store / "mlruns").symlink_to(tmp_path / "big")
    log(store, "on the disk")
    store.rename(tmp_path / "there")
    log(tmp_path / "there", "after")
    assert contents(tmp_path / "there", tmp_path / "read").keys() == {"before", "on the disk", "after"}
    assert not store.exists()
    assert len(list((tmp_path / "big").rglob("file.txt"))) == 3


def test_a_person_who_starts_mlflow_by_hand_sees_the_files(store, tmp_path):
    there = tmp_path / "there"
    store.rename(there)
    forget()
    sqlite_store.prepare(there)  # as every command of the project does
    script = (
        "import mlflow; client = mlflow.MlflowClient('sqlite:///mlruns/mlflow.db'); (run,) = client.search_runs(['1']);"
        "print([file.path for file in client.list_artifacts(run.info.run_id)])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=there, capture_output=True, text=True, check=True)
    assert done.stdout == "['file.txt']\n"


def test_a_folder_that_is_gone_is_never_made_anew(store, tmp_path, monkeypatch):
    store.rename(tmp_path / "there")
    forget()
    before = sorted(path.name for path in tmp_path.iterdir())
    for uri in ("", f"sqlite:///{store}/mlruns/mlflow.db"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(UserError, match=r"MLFLOW_TRACKING_URI: .*here/mlruns.*Fix: "):
            mlflow_store.connect(store)
        with pytest.raises(UserError):
            mlflow_store.client(store)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_database_that_the_environment_names_has_its_artifacts_beside_it(store, tmp_path, monkeypatch):
    (tmp_path / "team").mkdir()
    lay_store(tmp_path / "team")
    (tmp_path / "team/mlruns/mlflow.db").rename(tmp_path / "team/runs.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/team/runs.db?timeout=30")
    before = listing(store)
    client, experiment = mlflow_store.connect(store)
    assert client.get_experiment(experiment).artifact_location == (tmp_path / "team/artifacts").as_uri()
    assert listing(store) == before
    assert not list(tmp_path.rglob("*timeout*"))


@pytest.mark.parametrize("name", ["que?st", "50%25"])
def test_a_path_that_an_address_cannot_have_is_one_line(tmp_path, monkeypatch, name):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=r"mlruns: no place for MLflow's database .*Fix: rename"):
        mlflow_store.connect(tmp_path / name)
    assert [path.name for path in tmp_path.rglob("*")] == [name]


def test_what_waits_in_the_journal_goes_to_the_store_of_the_moved_project(store, tmp_path, monkeypatch):
    forget()
    with Tracker(store) as tracker:
        monkeypatch.setattr(tracker.uploader, "_upload_next", Mock(side_effect=ConnectionError))
        run = tracker.start("killed", {"stage": "journal"})
        run.artifact(Path(__file__))
        run.finish()
    copy = Path(shutil.copytree(store, tmp_path / "copy"))
    there = store.rename(tmp_path / "there")
    for folder in (there, copy):
        forget()
        with Tracker(folder):
            pass
        client, experiment = mlflow_store.connect(folder)
        (run,) = client.search_runs([experiment], "tags.stage = 'journal'")
        assert len(list(folder.rglob(Path(__file__).name))) == 1
        assert not list((folder / "mlruns/journal").iterdir())
    assert not store.exists()


def test_a_project_that_is_moved_while_it_logs_loses_nothing(store, tmp_path, monkeypatch):
    forget()
    monkeypatch.chdir(store)
    with Tracker(Path()) as tracker:
        run = tracker.start("moved", {"stage": "moved"})
        run.metrics({"loss": 1.0}, 1)
        there = store.rename(tmp_path / "there")
        run.metrics({"loss": 2.0}, 2)
        run.artifact(there / "mlruns/mlflow.db")
        run.finish()
        child = tracker.start("child", {"stage": "child"}, parent=run)
        child.finish()
    assert not store.exists()
    forget()
    with Tracker(Path()):
        pass
    client, experiment = mlflow_store.connect(there)
    (run,) = client.search_runs([experiment], "tags.stage = 'moved'")
    assert [row.value for row in client.get_metric_history(run.info.run_id, "loss")] == [1.0, 2.0]
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["mlflow.db"]
    assert client.search_runs([experiment], "tags.stage = 'child'")
    assert not store.exists()


READ_ONLY = """
import sys
from pathlib import Path
from xtcav_ml.system.errors import UserError
from xtcav_ml.tracking import sqlite_store
try:
    sqlite_store.prepare(Path(sys.argv[1]))
except (UserError, OSError) as error:
    print(error)
"""


@pytest.mark.parametrize("moved", [False, True])
def test_a_store_of_another_user_is_one_line(store, tmp_path, moved):
    folder = store.rename(tmp_path / "there") if moved else store
    forget()
    for path in (folder / "mlruns/mlflow.db", folder / "mlruns", folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    limits = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.getuid() == 0 else []
    done = subprocess.run(
        [*limits, sys.executable, "-c", READ_ONLY, str(folder)], capture_output=True, text=True, check=True
    )
    folder.chmod(0o755)
    (folder / "mlruns").chmod(0o755)
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"{folder}/mlruns/mlflow.db: not writable (found ")
    assert "cp -r" in line


def test_names_of_the_store_move_with_the_project(store, monkeypatch):
    forget()
    assert mlflow_names.store_name(store) == "mlruns/mlflow.db"
    mlflow_store.connect(store)  # MLflow has set its variable now
    assert mlflow_names.store_name(store) == "mlruns/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@host/db")
    assert mlflow_names.store_name(store) == "postgresql://***@host/db"
