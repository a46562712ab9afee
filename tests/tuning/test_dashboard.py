import socket

import pytest

from xtcav_ml.system.errors import UserError
from xtcav_ml.tuning import dashboard, studies


def test_no_search_and_a_port_that_is_taken_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(dashboard._Server, "serve_forever", lambda _: pytest.fail("it serves"))
    path = tmp_path / "study.db"
    with pytest.raises(UserError, match=r"study\.db: missing .* Fix: run `make tune`"):
        dashboard.serve(path, "127.0.0.1", 0)
    path.touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"^--port: {port} cannot be used"):
            dashboard.serve(path, "127.0.0.1", port)


def test_a_search_is_served_until_somebody_asks_to_stop(tmp_path, monkeypatch, capsys):
    def stop(server: dashboard._Server) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dashboard._Server, "serve_forever", stop)
    path = tmp_path / "study.db"
    studies._storage(path).engine.dispose()
    with pytest.raises(KeyboardInterrupt):
        dashboard.serve(path, "127.0.0.1", 0)
    assert capsys.readouterr().out.startswith("Optuna's dashboard on http://127.0.0.1:")
