import socket
from types import SimpleNamespace

import pytest

from xtcav_ml.system.errors import UserError
from xtcav_ml.tools import serve


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A file, and the list of what is made of it: no model is loaded, and no server stays."""
    made = []

    def shot_model(path, *, threads, sealed):
        made.append((path, sealed))
        return SimpleNamespace(predictor=SimpleNamespace(spec=None), predict=lambda inputs: None)

    monkeypatch.setattr(serve, "ShotModel", shot_model)
    monkeypatch.setattr(serve.packaging, "arrays", lambda spec: None)
    monkeypatch.setattr(serve.uvicorn.Server, "run", lambda self, sockets: made.append(sockets[0].getsockname()))
    (tmp_path / "model.keras").touch()
    return tmp_path / "model.keras", made


@pytest.mark.parametrize(("name", "sealed"), [("models/model.keras", True), ("models:/xtcav@champion", False)])
def test_a_file_is_compared_with_its_checksum_and_a_version_with_its_manifest_before(model, name, sealed):
    path, made = model
    serve.serve(path, name, "127.0.0.1", 0, 1)
    assert made[0] == (path, sealed)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "::1"])
def test_it_listens_on_the_host_that_is_named(model, host, capsys):
    path, made = model
    serve.serve(path, "it", host, 0, 1)
    assert made[1][0] == {"localhost": "127.0.0.1"}.get(host, host)
    assert f"it on http://{f'[{host}]' if ':' in host else host}:" in capsys.readouterr().out


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
def test_a_host_that_is_not_this_machine_is_named(model, host):
    with pytest.raises(UserError, match=rf"^--host: {host} cannot be used"):
        serve.serve(model[0], "it", host, 0, 1)


def test_a_port_that_is_taken_is_named(model):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"^--port: {port} cannot be used"):
            serve.serve(model[0], "it", "127.0.0.1", port, 1)


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.keras: missing"):
        serve.serve(tmp_path / "none.keras", "it", "127.0.0.1", 0, 1)
