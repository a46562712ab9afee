"""The thread that uploads, to stores that are made up."""

import http.server
import signal
import threading
import time

import pytest

from tests.conftest import begin_event
from xtcav_ml.system import interrupts
from xtcav_ml.tracking import uploader
from xtcav_ml.tracking.journal import EVENTS, Journal
from xtcav_ml.tracking.uploader import Uploader


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    for name in ("BATCH_PAUSE", "FIRST_PAUSE", "LONGEST_PAUSE", "LAST_PAUSE"):
        monkeypatch.setattr(uploader, name, 0.001)
    for name in uploader.REQUEST:  # what the uploader sets goes with the test
        monkeypatch.setenv(name, "1")


def journal(tmp_path, name, count=3):
    made = Journal.create(tmp_path, name, begin_event(name))
    for step in range(count):
        made.append({"event": "metrics", "step": step, "time_ms": 1, "values": {}})
    return made


def one_by_one(took):
    """Return what uploads a journal's next event, and remembers it."""

    def project(root, journal):
        event, end = next(iter(journal.events(journal.offset)))
        took.append((journal.begin["name"], event))
        journal.acknowledge(end, "run", "7")

    return project


def test_all_is_uploaded_in_order_and_what_is_complete_is_removed(tmp_path):
    took = []
    uploading = Uploader(tmp_path, one_by_one(took))
    first = journal(tmp_path, "a")
    uploading.add(first)
    first.append({"event": "finish", "status": "FINISHED", "time_ms": 1})
    uploading.wake.set()
    assert uploading.drain() == []
    assert [event["event"] for _, event in took] == ["begin", *["metrics"] * 3, "finish"]
    uploading.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_one_that_is_damaged_meanwhile_is_left_and_the_end_is_no_traceback(tmp_path, damage):
    made = journal(tmp_path, "a")
    events = made.folder / EVENTS
    if damage == "flipped":
        events.write_bytes(events.read_bytes().replace(b"metrics", b"metricr", 1))
    elif damage == "cut":
        events.write_bytes(events.read_bytes()[:40])
    else:
        events.unlink()
    uploading = Uploader(tmp_path, one_by_one([]))
    uploading.add(made)
    assert uploading.drain() == [made]
    assert made.pending == 1
    uploading.close()


def test_one_that_cannot_go_keeps_no_other_waiting(tmp_path):
    took, good = [], threading.Event()

    def project(root, journal):
        if journal.begin["name"] == "bad":
            raise OSError("no")
        one_by_one(took)(root, journal)
        good.set()

    uploading = Uploader(tmp_path, project)
    bad = journal(tmp_path, "bad")
    uploading.add(bad)
    uploading.add(journal(tmp_path, "good"))
    assert good.wait(60)
    assert uploading.drain() == [bad]
    assert len(took) == 4
    assert uploading.failure == "no"


def test_the_end_is_waited_for_while_there_is_progress_and_no_longer(tmp_path):
    took, calls = [], []

    def project(root, journal):
        calls.append(1)
        if len(calls) % 3:  # two of three fail, which is fewer than FAILURES one after another
            raise OSError("not now")
        one_by_one(took)(root, journal)

    uploading = Uploader(tmp_path, project)
    uploading.add(journal(tmp_path, "a", count=20))
    assert uploading.drain() == []
    assert len(took) == 21

    dead = Uploader(tmp_path, lambda *_: 1 / 0)
    left = journal(tmp_path, "b")
    dead.add(left)
    assert dead.drain() == [left]
    assert left.pending == 4


@pytest.fixture
def one_request(tmp_path, monkeypatch):
    """Drain a journal whose one request takes as long as a function does, with little patience for one without progress."""
    monkeypatch.setattr(uploader, "SILENT_SECONDS", 0.1)

    def drained(request):
        def project(root, journal):
            request()
            journal.acknowledge(journal.size, "run", "7")

        uploading = Uploader(tmp_path, project)
        uploading.add(journal(tmp_path, "a"))
        return uploading.drain()

    return drained


def test_a_request_whose_bytes_move_is_waited_for_to_its_end(one_request):
    def upload():
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            time.sleep(0.02)

    assert one_request(upload) == []


def test_a_request_that_is_stuck_is_waited_for_a_while(one_request):
    stuck = threading.Event()
    (left,) = one_request(lambda: stuck.wait(60))
    assert left.pending == 4
    stuck.set()


@pytest.mark.parametrize(("status", "arrives"), [(200, True), (401, True), (502, False)])
def test_a_request_without_progress_is_waited_for_while_the_server_answers_others(
    one_request, monkeypatch, status, arrives
):
    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://someone:secret@127.0.0.1:{server.server_port}")
        assert bool(one_request(lambda: time.sleep(1))) != arrives
        server.shutdown()


def test_a_request_to_stop_ends_the_wait_and_nothing_else(one_request, monkeypatch):
    monkeypatch.setattr(uploader, "SILENT_SECONDS", 60)
    monkeypatch.setattr(interrupts, "_first", None)
    stuck, before = threading.Event(), signal.signal(signal.SIGALRM, interrupts._stop)
    try:
        with interrupts.held():
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            assert len(one_request(lambda: stuck.wait(60))) == 1
        interrupts.require_none()
    finally:
        signal.signal(signal.SIGALRM, before)
        stuck.set()


def test_a_request_to_stop_from_before_the_wait_is_kept_for_afterwards(one_request, monkeypatch):
    monkeypatch.setattr(interrupts, "_first", None)
    before = signal.signal(signal.SIGALRM, interrupts._stop)
    try:
        with pytest.raises(KeyboardInterrupt), interrupts.held():
            signal.raise_signal(signal.SIGALRM)
            assert one_request(lambda: time.sleep(0.05)) == []
    finally:
        signal.signal(signal.SIGALRM, before)


def test_what_mlflow_s_import_raises_is_the_failure_at_the_end(tmp_path):
    def broken(*_):
        raise ImportError("no mlflow")

    uploading = Uploader(tmp_path, broken)
    left = journal(tmp_path, "a")
    uploading.add(left)
    assert uploading.drain() == [left]
    assert uploading.failure == "no mlflow"
