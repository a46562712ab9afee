"""Uploads journals to MLflow from a thread beside the training: never raises into it, never makes it wait."""

import contextlib
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from xtcav_ml.system import interrupts
from xtcav_ml.system.errors import UserError, reason
from xtcav_ml.system.progress import console
from xtcav_ml.tracking.journal import Journal
from xtcav_ml.tracking.mlflow_names import store_uri

BATCH_PAUSE, FIRST_PAUSE, LONGEST_PAUSE, LAST_PAUSE = 0.5, 0.2, 30.0, 1.0
"""Seconds between two requests; after the first failure, doubled after each; at most; at most while `drain` waits."""

FAILURES, FAILING_SECONDS, SILENT_SECONDS, NOTICE_SECONDS = 5, 15.0, 60.0, 3.0
"""What `drain` waits for: failures in a row; seconds without progress until the store must answer, if the last request
failed and if not. Seconds after which it prints that it waits."""

TIMEOUT, TIMEOUT_GROWTH, LONGEST_TIMEOUT, HEALTH_SECONDS = "MLFLOW_HTTP_REQUEST_TIMEOUT", 4, 600, 5.0
"""MLflow's variable for the seconds of silence that end a request; its growth after each, and its end, while the server
answers others; seconds that the server has for /health."""

REQUEST = {TIMEOUT: "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
"""Shorter than MLflow's own 120 s and 7 retries, since failed requests are repeated here. The environment's values win."""


def be_brief() -> None:
    """Set the variables of REQUEST that the environment does not set, for this process."""
    for name, value in REQUEST.items():
        os.environ.setdefault(name, value)


def answers(uri: str) -> bool:
    """Return whether the server at `uri` answers now; False for a store that is not a server."""
    if not uri.startswith("http"):
        return False
    import requests  # a quarter of a second

    try:
        return requests.get(f"{uri.rstrip('/')}/health", timeout=HEALTH_SECONDS).status_code < 500
    except requests.RequestException:
        return False


def _to_mlflow(root: Path, journal: Journal) -> None:
    from xtcav_ml.tracking.mlflow_writer import upload_next  # imports MLflow, which takes seconds

    upload_next(root, journal)


class Uploader:
    """Journals on their way to the store of the project in `root`; those that are complete are released.

    `upload_next` uploads the next events of a journal and acknowledges them, or raises.
    """

    def __init__(self, root: Path, upload_next: Callable[[Path, Journal], None] = _to_mlflow) -> None:
        self.root, self._upload_next = root, upload_next
        self.failure = ""  # why the last request failed, if it did
        self.tried = threading.Event()  # a first request has ended, however
        self._journals: list[Journal] = []
        self.wake = threading.Event()  # set to let the thread look for more to upload
        self._ends, self._over = threading.Event(), threading.Event()
        self._requests = self._failures = 0  # that succeeded; that failed since
        self._refused: Counter[str] = Counter()  # failures of each journal
        self._clock: int | None = None  # the thread's CPU time, which a request uses while its bytes move
        be_brief()
        self._adapts = os.environ[TIMEOUT] == REQUEST[TIMEOUT]  # else it is the user's
        self._thread = threading.Thread(target=self._run, name="uploader", daemon=True)

    def add(self, journal: Journal) -> None:
        """Upload a journal, and what will be written to it."""
        self._journals.append(journal)
        if not self._thread.is_alive():
            self._thread.start()
        self.wake.set()

    def drain(self) -> list[Journal]:
        """Wait until all is uploaded, while bytes move or the server answers; return the journals with what is left.

        A request to stop that comes meanwhile ends the wait and nothing else.
        """
        self._ends.set()
        self.wake.set()
        self._failures, stopping, progress = 0, interrupts.pending(), self._progress()
        began = since = time.monotonic()
        while self._thread.is_alive() and self._failures < FAILURES:
            now = time.monotonic()
            if progress != (progress := self._progress()):
                since = now
            elif now - since > (FAILING_SECONDS if self.failure else SILENT_SECONDS):
                if not answers(store_uri(self.root)):
                    break
                since = now
            if now - began > NOTICE_SECONDS:
                console().print("MLflow: uploading run data; Ctrl-C leaves the rest in mlruns/journal")
                began = math.inf  # once
            if interrupts.pending() and not stopping:
                interrupts.withdraw()
                break
            self._thread.join(0.02)
        return [journal for journal in self._journals if journal.pending]

    def close(self) -> None:
        """Release all journals. What was on its way may arrive yet, and is uploaded again, which changes nothing."""
        self._over.set()
        for journal in self._journals:
            journal.close()

    def _progress(self) -> tuple[int, float]:
        """Return what changes while data arrive: the number of requests, and where none fails the CPU time of the thread."""
        if not self.failure and self._clock is not None:
            with contextlib.suppress(OSError):  # the thread has ended
                return self._requests, time.clock_gettime(self._clock)
        return self._requests, 0.0

    def _run(self) -> None:
        self._clock = time.pthread_getcpuclockid(threading.get_ident())
        while not self._over.is_set():
            waiting = [journal for journal in self._journals if journal.offset < journal.size]
            if waiting:  # none waits for one that cannot go
                self._request(min(waiting, key=lambda journal: self._refused[journal.folder.name]))
                failing = min(self._failures, 10)
                pause = min(FIRST_PAUSE * 2 ** (failing - 1), LONGEST_PAUSE) if failing else BATCH_PAUSE
                if self._ends.wait(pause) and self._failures:  # to collect more events, or for the store to recover
                    time.sleep(min(pause, LAST_PAUSE))
            elif self._ends.is_set():
                return
            else:
                self.wake.wait()
                self.wake.clear()

    def _request(self, journal: Journal) -> None:
        began = time.monotonic()
        try:
            self._upload_next(self.root, journal)
            self.failure, self._failures = "", 0
            self._requests += 1
        except Exception as error:  # whatever it is, it stays in the journal and is tried again
            self.failure = str(error) if isinstance(error, UserError) else reason(error)
            self._failures += 1
            self._refused[journal.folder.name] += 1
            allowed = int(os.environ.get(TIMEOUT, REQUEST[TIMEOUT]))
            if self._adapts and allowed <= time.monotonic() - began and answers(store_uri(self.root)):
                os.environ[TIMEOUT] = str(min(TIMEOUT_GROWTH * allowed, LONGEST_TIMEOUT))
        self.tried.set()
        if journal.finished and journal.offset >= journal.size:
            self._journals.remove(journal)
            journal.close()
