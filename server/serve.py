"""A team's MLflow server: PostgreSQL behind it, artifacts through it, accounts with passwords, exact host names."""

import contextlib
import ipaddress
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from server import postgres, services
from xtcav_ml.system import atomic, listening
from xtcav_ml.system.errors import UserError

PASSWORD, SECRET = "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"
ORIGINS, HOSTS = "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", "MLFLOW_SERVER_ALLOWED_HOSTS"
PASSWORD_LENGTH = 12  # characters that MLflow wants at least
START = 120.0  # seconds within which the server must answer; the first start creates some hundred tables
LOOK = 1.0  # seconds between two looks whether PostgreSQL and MLflow still run
OF_CLIENTS = ("MLFLOW_TRACKING_", postgres.ADDRESS)  # variables that MLflow's own process does not get
ELSEWHERE = (
    "MLFLOW_REGISTRY_STORE_URI",
    "MLFLOW_READ_REPLICA_",
    "MLFLOW_DEFAULT_ARTIFACT_ROOT",
    "MLFLOW_ARTIFACTS_ONLY",
    "MLFLOW_STATIC_PREFIX",
    "MLFLOW_GUNICORN_OPTS",
)  # nor other stores and addresses than it prints
HERE = Path(__file__).parent


def run(folder: Path, host: str, port: int, allowed: Sequence[str]) -> None:
    """Serve on http://host:port until somebody asks to stop; data, artifacts and settings are in `folder`.

    `allowed` are the names, each with its port, under which clients may call the server. Raises UserError if a setting is
    not safe, the port is taken, or PostgreSQL or MLflow do not start.
    """
    settings = _settings(host, port, allowed)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    print(f"server: starts PostgreSQL and MLflow in {folder}, the first time in a minute", flush=True)
    with postgres.reached(folder) as database:
        users = folder.resolve() / "users.ini"
        with atomic.replacing(users) as temporary:
            temporary.write_text((HERE / "users.ini").read_text().replace("/mlflow_users", f"/{database.name}_users"))
        command = [sys.executable, "-m", "server.gate", "server", "--app-name", "basic-auth"]
        command += ["--host", host, "--port", str(port), "--serve-artifacts"]
        command += ["--artifacts-destination", str(folder.resolve() / "artifacts")]
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(OF_CLIENTS + ELSEWHERE)},
            **settings,
            **database.environment(),  # all of its address but the name
            "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg:///{database.name}",
            "MLFLOW_AUTH_CONFIG_PATH": str(users),
            "PYTHONWARNINGS": "ignore",  # MLflow's own use of what its libraries will remove
            "PYTHONPATH": os.pathsep.join(
                [str(HERE.parent), os.environ.get("PYTHONPATH", "")]
            ),  # where `server` is, whatever the present folder
        }
        with services.Kept("MLflow", lambda: services.running(command, signal.SIGTERM, environment)) as server:
            _await_answer(server.process, host, port)
            address = _address(host, port, allowed)
            print(f"MLflow on {address}, artifacts in {folder / 'artifacts'} (Ctrl-C ends it)")
            print("Projects   set three variables before they run anything:")
            print(f"           export MLFLOW_TRACKING_URI={address}")
            print("           export MLFLOW_TRACKING_USERNAME=admin  # or an account of its own")
            print("           read -rs MLFLOW_TRACKING_PASSWORD && export MLFLOW_TRACKING_PASSWORD")
            if "password" not in database.keywords:
                print(f"Database   {postgres.programs()}/psql --host {database.keywords['host']} {database.name}")
            sys.stdout.flush()
            while True:
                database.revive()
                server.revive()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    server.process.wait(LOOK)


def _address(host: str, port: int, allowed: Sequence[str]) -> str:
    """Return where clients find the server: itself, or the first allowed name, without this port that of a proxy with TLS."""
    if not allowed:
        return f"http://{host}:{port}"
    return f"{'http' if allowed[0].endswith(f':{port}') else 'https'}://{allowed[0]}"


def _settings(host: str, port: int, allowed: Sequence[str]) -> dict[str, str]:
    """Return MLflow's settings, from options and environment. Raises UserError for one that is missing or not safe."""
    password = os.environ.get(PASSWORD, "")
    if len(password) < PASSWORD_LENGTH:
        raise UserError(
            f"{PASSWORD}: too short (found {len(password)} characters, expected at least {PASSWORD_LENGTH}). Fix: run `read "
            f"-rs {PASSWORD} && export {PASSWORD}`"
        )
    if not allowed and not _is_loopback(host):
        raise UserError(
            f"--allowed-hosts: missing (found --host {host}, which lets other machines in, expected the names that clients "
            f"use). Fix: name them, for example --allowed-hosts mlflow.example.org:{port}"
        )
    origins = os.environ.get(ORIGINS) or ",".join(f"https://{name}" for name in allowed)  # its pages, behind a proxy
    for name, value in (("--allowed-hosts", ",".join(allowed)), (ORIGINS, origins)):
        if "*" in value:
            raise UserError(
                f"{name}: a pattern fits foreign names (found {value!r}, expected none). Fix: list exact names"
            )
    listening.listen(host, port).close()
    lines = (HERE / "settings.env").read_text().splitlines()
    return {
        **dict(line.split("=", 1) for line in lines if not line.startswith("#")),
        HOSTS: ",".join(allowed or (f"localhost:{port}", f"127.0.0.1:{port}")),
        ORIGINS: origins,
        "MLFLOW_WORKERS": os.environ.get("MLFLOW_WORKERS", "2"),
        SECRET: os.environ.get(SECRET) or secrets.token_hex(32),
    }


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
        except OSError:
            time.sleep(0.1)
    raise UserError(
        f"mlflow server: no answer (found exit code {server.poll()}, expected port {port} to answer). Fix: read its messages"
    )
