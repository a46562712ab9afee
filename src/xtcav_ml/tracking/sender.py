"""Sends journals to MLflow from a thread beside the training: never raises into it, never makes it wait."""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from xtcav_ml.system.errors import reason
from xtcav_ml.tracking.journal import Journal

INTERVAL, FIRST, MOST, HURRIED = 0.5, 0.2, 30.0, 1.0
"""Seconds between two batches; to wait after a failure at first, at most, and at most when somebody waits for the end."""

FAILURES, PATIENCE, LONGEST = 5, 15.0, 60.0
"""Where the end is waited for no longer: failures one after another; seconds without progress, if any failed; if none did."""

REQUEST = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""MLflow's own patience, less than its 120 s and 7 times: trying again is done here. Who sets them otherwise is obeyed."""


def be_brief() -> None:
    """Give MLflow REQUEST's patience in this process, where the environment does not say otherwise."""
    for name, value in REQUEST.items():
        os.environ.setdefault(name, value)


def _mlflow(root: Path) -> Callable[[Journal], None]:
    from xtcav_ml.tracking.mlflow_writer import Projection  # imports MLflow, which takes seconds

    return Projection(root).send


class Sender:
    """Journals on their way to the store of the project in `root`; those that are through and closed are let go of."""

    def __init__(self, root: Path, sends: Callable[[Path], Callable[[Journal], None]] = _mlflow) -> None:
        self.root, self._sends = root, sends
        self.failure = ""  # why the last request failed, if it did
        self.asked = threading.Event()  # a first request has ended, however
        self._journals: list[Journal] = []
        self._wake, self._ends, self._over = threading.Event(), threading.Event(), threading.Event()
        self._sent = self._failures = 0  # requests; failures since the last that did not fail
        self._refused: Counter[str] = Counter()  # failures of each journal
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)

    def take(self, journal: Journal) -> None:
        """Send a journal, and what will be written to it."""
        self._journals.append(journal)
        if not self._thread.is_alive():
            be_brief()
            self._thread.start()
        self.wake()

    def wake(self) -> None:
        """Say that there is more to send."""
        self._wake.set()

    def drain(self) -> list[Journal]:
        """Wait until all has been sent, but only while there is progress; return the journals with what is left."""
        self._ends.set()
        self.wake()
        sent, since = -1, 0.0
        self._failures = 0
        while self._thread.is_alive():
            if sent != self._sent:
                sent, since = self._sent, time.monotonic()
            waited = time.monotonic() - since
            if self._failures >= FAILURES or waited > (PATIENCE if self._failures else LONGEST):
                break
            self._thread.join(0.02)
        return [journal for journal in self._journals if journal.unsent]

    def close(self) -> None:
        """Let go of all journals. What was on its way may arrive yet, and is sent again, which changes nothing."""
        self._over.set()
        for journal in self._journals:
            journal.close()

    def _run(self) -> None:
        try:
            send = self._sends(self.root)
        except Exception as error:
            self.failure = reason(error)
            self.asked.set()
            return
        while not self._over.is_set():
            waiting = [journal for journal in self._journals if journal.offset < journal.size]
            if not waiting:
                if self._ends.is_set():
                    return
                self._wake.wait()
                self._wake.clear()
                continue
            journal = min(waiting, key=lambda one: self._refused[one.folder.name])  # none waits for one that cannot go
            try:
                send(journal)
                self.failure, self._failures = "", 0
                self._sent += 1
            except Exception as error:  # whatever it is, it stays in the journal and is tried again
                self.failure = reason(error)
                self._failures += 1
                self._refused[journal.folder.name] += 1
            self.asked.set()
            if journal.done:
                self._journals.remove(journal)
                journal.close()
            self._pause()

    def _pause(self) -> None:
        """Wait before the next request: so that it takes more, or for the store to recover."""
        if not self._failures:
            self._ends.wait(INTERVAL)
            return
        seconds = min(FIRST * 2 ** min(self._failures - 1, 10), MOST)
        if self._ends.is_set() or self._ends.wait(seconds):
            time.sleep(min(seconds, HURRIED))
