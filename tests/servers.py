"""A real MLflow server on loopback, which tests start, kill and start again."""

import multiprocessing
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.conftest import empty_database

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["mlflow.server.fastapi_app", "tests.tracking.test_many_writers"])
"""Of seconds each, which neither a restart then takes nor a writer."""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def end(server: subprocess.Popen[bytes]) -> None:
    """Kill a server that leads a session of its own, and its workers with it: they would take seconds to end in order."""
    os.killpg(server.pid, signal.SIGKILL)
    server.wait(20)


class Server:
    """What `mlflow server` runs, in a process of its own, on the database and artifacts of `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (folder / "mlflow.db").write_bytes(empty_database())

    def start(self) -> None:
        """Begin to serve, and wait until it answers."""
        self._process = FORKS.Process(target=_serve, args=(self.folder, self.port), daemon=True)
        self._process.start()
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and self._process.is_alive():
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise TimeoutError(f"no answer from {self.url}")

    def kill(self) -> None:
        """End it at once, whatever it does."""
        self._process.kill()
        self._process.join(20)


def _serve(folder: Path, port: int) -> None:
    import mlflow.server as mlflow_server
    import uvicorn
    from mlflow.server.fastapi_app import app

    os.environ[mlflow_server.BACKEND_STORE_URI_ENV_VAR] = f"sqlite:///{folder}/mlflow.db"
    os.environ[mlflow_server.ARTIFACT_ROOT_ENV_VAR] = "mlflow-artifacts:/"
    os.environ[mlflow_server.SERVE_ARTIFACTS_ENV_VAR] = "true"
    os.environ[mlflow_server.ARTIFACTS_DESTINATION_ENV_VAR] = str(folder / "artifacts")
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")
