"""Commands told to stop, or killed, at any moment: what is finished stays so, and the next call completes it, in one run."""

import contextlib
import hashlib
import random
import shutil
import signal
import sqlite3
import time
from types import SimpleNamespace

import pytest

from tests.commands import finished_project
from xtcav_ml.config.paths import BEST, REPORT, RUN_ADDRESS
from xtcav_ml.tracking import uploader
from xtcav_ml.tracking.tracker import Tracker

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)

CALLS = {
    "record": "",
    "sync": "",
    "promote-model": "candidate",
    "promote": "--force",
    "report": "",
    "evaluate": "",
    "predict": "models/model.keras raw",
}
MADE = (REPORT, RUN_ADDRESS, "results/predictions")
"""What is removed before each call, so that there is something to do."""

RECORDED = ("metrics", "latest_metrics")
"""MLflow's tables of metrics."""


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """A project whose stages have run, and the folders `mlruns` from which `record` and `sync`, and the others, begin."""
    top = tmp_path_factory.mktemp("signals")
    project = finished_project(top)
    (project.folder / BEST).parent.mkdir()
    shutil.copy(top / "best.json", project.folder / BEST)
    ((run_key,),) = stored(project, "SELECT value FROM tags WHERE key = 'run.key'")
    shutil.copytree(project.folder / "mlruns", top / "others")
    with contextlib.closing(sqlite3.connect(project.folder / "mlruns/mlflow.db")) as database, database:
        for table in RECORDED:
            database.execute(f"DELETE FROM {table} WHERE key LIKE 'test/%' OR key LIKE '%/test'")
        database.execute("DELETE FROM tags WHERE key LIKE 'evaluation.%'")
    shutil.copytree(project.folder / "mlruns", top / "record")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("FAILURES", 1), ("FIRST_PAUSE", 0.01), ("LAST_PAUSE", 0.01)):
            patch.setattr(uploader, name, value)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with Tracker(project.folder) as tracker:
            patch.setattr(tracker.uploader, "_upload_next", refuse)
            left = tracker.start("evaluation", {}, run_key=run_key, adds=True)
            left.metrics({"test_accuracy": 0.5})
            left.finish()
            tracker.uploader.drain()
    shutil.copytree(project.folder / "mlruns", top / "sync")
    return SimpleNamespace(project=project, top=top)


def refuse(*_):
    raise ConnectionError("no answer")


def renew(states, name):
    """Let a command have something to do."""
    folder = states.project.folder
    shutil.rmtree(folder / "mlruns")
    shutil.copytree(states.top / (name if name in ("record", "sync") else "others"), folder / "mlruns")
    for made in MADE:
        shutil.rmtree(folder / made, ignore_errors=True) if (folder / made).is_dir() else (folder / made).unlink(
            missing_ok=True
        )
    states.project.run("git", "checkout", "-q", "params.yaml")


def outputs(folder):
    """Return the digests of all files that a command may write, but those whose bytes have dates in them."""
    paths = [folder / "params.yaml", *(folder / "results").rglob("*")]
    found = {path.relative_to(folder).as_posix(): path for path in paths if path.is_file()}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in found.items()
        if not name.startswith("results/resources") and path.suffix not in (".html", ".lock")
    }


def stored(project, query):
    """Return what MLflow's database has; it is another one for each call, which an open client would not see."""
    with contextlib.closing(sqlite3.connect(project.folder / "mlruns/mlflow.db")) as database:
        return database.execute(query).fetchall()


def require_true(project, complete=False):
    """Assert that there is one run, finished, with nothing twice."""
    assert stored(project, "SELECT status FROM runs WHERE lifecycle_stage = 'active'") == [("FINISHED",)]
    assert not stored(project, "SELECT key FROM metrics GROUP BY run_uuid, key, step HAVING count(*) > 1")
    if complete:
        assert stored(project, "SELECT step FROM metrics WHERE key = 'accuracy'") == [(0,)]


def end_at_random(states, name, ways, choose):
    """Send a command each of the signals at a random moment, then call it again, from the same state each time."""
    project, words = states.project, ["xtcav", name, *CALLS[name].split()]
    renew(states, name)
    started = time.monotonic()
    project.run(*words)
    seconds, expected = time.monotonic() - started, outputs(project.folder)
    require_true(project, complete=True)
    for how in ways:
        renew(states, name)
        running = project.start(*words[1:], warm=True)
        time.sleep(choose.uniform(0, 1.1 * seconds))
        running.send_signal(how)
        _, said = running.communicate()
        assert b"Traceback" not in said, said.decode()
        require_true(project)
        project.run(*words)
        require_true(project, complete=True)
        assert outputs(project.folder) == expected
        if name == "promote-model":
            assert ("champion", 1) in stored(project, "SELECT alias, version FROM registered_model_aliases")


@pytest.mark.parametrize(("name", "how"), list(zip(CALLS, 2 * SIGNALS, strict=False)))
def test_a_finished_run_stays_so_and_the_next_call_completes(states, name, how):
    end_at_random(states, name, [how], random.Random(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_ten_signals_at_random_moments(states, name):
    choose = random.Random(f"ten {name}")
    end_at_random(states, name, choose.choices(SIGNALS, k=10), choose)
