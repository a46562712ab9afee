"""A team's MLflow server: PostgreSQL behind it, artifacts through it, users with passwords, exact host names."""

import ipaddress
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from xtcav_ml.server import postgres, services
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError

PASSWORD, SECRET, ORIGINS = (
    "MLFLOW_AUTH_ADMIN_PASSWORD",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
    "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS",
)
LEAST = 12
"""Characters that MLflow wants in a password."""

START = 120.0
"""Seconds within which the server must answer; the first start makes some hundred tables."""

USERS = """\
[mlflow]
default_permission = READ
database_uri = {database}
admin_username = admin
auth_cache_ttl_seconds = 60
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""
"""MLflow's settings for users. Who has an account may read everything; to write to what another made needs a grant.

To check a password takes 0.3 s, on purpose. A worker remembers for a minute that it was right, or each request would.
"""


def run(folder: Path, host: str, port: int, allowed: Sequence[str]) -> None:
    """Serve on http://host:port until somebody asks to stop; data, artifacts and settings are in `folder`.

    `allowed` are the names, each with its port, under which clients may call the server. Raises UserError if a setting is
    not safe, the port is taken, or PostgreSQL or MLflow do not start.
    """
    settings = _settings(host, port, allowed)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with postgres.reached(folder) as database:
        users = folder.resolve() / "users.ini"
        with atomic.replacing(users) as temporary:
            temporary.write_text(USERS.format(database=database.users))
        command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth"]
        command += ["--host", host, "--port", str(port), "--serve-artifacts"]
        command += ["--artifacts-destination", str(folder.resolve() / "artifacts")]
        environment = {
            **{name: value for name, value in os.environ.items() if not _of_a_client(name)},
            **settings,
            **database.environment(),
            "MLFLOW_BACKEND_STORE_URI": database.runs,
            "MLFLOW_AUTH_CONFIG_PATH": str(users),
        }
        with services.running(command, signal.SIGTERM, environment) as server:
            _await_answer(server, host, port)
            _announce(host, port, folder, database)
            raise UserError(f"mlflow server: must run until it is told to stop, got its end with code {server.wait()}")


def _settings(host: str, port: int, allowed: Sequence[str]) -> dict[str, str]:
    """Return MLflow's settings, from options and environment. Raises UserError for one that is missing or not safe."""
    password = os.environ.get(PASSWORD, "")
    if len(password) < LEAST:
        raise UserError(
            f"{PASSWORD}: must have at least {LEAST} characters, got {len(password)}; set it in the environment, as with "
            f"`read -rs {PASSWORD} && export {PASSWORD}`"
        )
    if not allowed and not _is_loopback(host):
        raise UserError(
            f"--allowed-hosts: must name the server as its clients do when --host is not of this machine alone, got --host "
            f"{host}; add for instance --allowed-hosts mlflow.example.org:{port}"
        )
    origins = os.environ.get(ORIGINS) or ",".join(
        f"https://{name}" for name in allowed
    )  # its own pages, through a proxy
    for name, value in (("--allowed-hosts", ",".join(allowed)), (ORIGINS, origins)):
        if "*" in value:
            raise UserError(f"{name}: must be exact names, got {value!r}; a pattern also fits names that others own")
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            free.bind((host, port))
        except OSError as error:
            raise UserError(f"--port: must be free on {host}, got {port} ({error.strerror}); name another") from None
    return {
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(allowed or (f"localhost:{port}", f"127.0.0.1:{port}")),
        ORIGINS: origins,
        "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "false",
        "MLFLOW_BASIC_AUTH_FAIL_CLOSED": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # what we do not use: processes that run what a client sends
        "MLFLOW_ENABLE_ASSISTANT_SANDBOX": "true",  # it has a shell on this machine for whoever has an account
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_WORKERS": os.environ.get("MLFLOW_WORKERS", "2"),
        "MLFLOW_UVICORN_OPTS": "--timeout-graceful-shutdown 10",
        SECRET: os.environ.get(SECRET) or secrets.token_hex(32),
    }


def _of_a_client(name: str) -> bool:
    """Tell whether an environment variable is for those who use a server; ours needs no password of another."""
    return name.startswith("MLFLOW_TRACKING_") or name == postgres.ADDRESS


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _await_answer(server: subprocess.Popen[bytes], host: str, port: int) -> None:
    """Return when the server answers. Raises UserError if it ends, or does not in time."""
    name = "127.0.0.1" if host == "0.0.0.0" else host
    deadline = time.monotonic() + START
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://{name}:{port}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise UserError(f"mlflow server: must answer on port {port}, got no answer; what it said stands above")


def _announce(host: str, port: int, folder: Path, database: postgres.Database) -> None:
    print(f"MLflow on http://{host}:{port}, artifacts in {folder / 'artifacts'} (Ctrl-C ends it)")
    print(f"Projects   MLFLOW_TRACKING_URI=http://{host}:{port}, MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD")
    if "password" not in database.keywords:
        print(f"Database   {postgres.programs()}/psql --host {database.keywords['host']} {database.name}")
    sys.stdout.flush()
