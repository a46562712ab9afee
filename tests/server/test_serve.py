import socket

import pytest

from xtcav_ml.server import serve
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
    said = refused(tmp_path / "server")
    assert said.startswith(f"MLFLOW_AUTH_ADMIN_PASSWORD: must have at least 12 characters, got {len(password or '')};")
    assert not password or password not in said


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "mlflow.example.org", "::"])
def test_other_machines_are_let_in_only_by_name(tmp_path, host):
    assert "--allowed-hosts: must name the server" in refused(tmp_path / "server", host)


def test_patterns_of_names(tmp_path, monkeypatch):
    assert "--allowed-hosts: must be exact names, got '10.*'" in refused(tmp_path / "server", allowed=["10.*"])
    monkeypatch.setenv(serve.ORIGINS, "*")
    assert f"{serve.ORIGINS}: must be exact names" in refused(tmp_path / "server")


def test_a_port_that_is_taken(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"--port: must be free on 127.0.0.1, got {port}" in refused(tmp_path / "server", port=port)
