import socket

import pytest

from xtcav_ml.system import listening
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


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_a_search_is_served_on_the_socket_that_listens_until_somebody_asks_to_stop(
    tmp_path, monkeypatch, capsys, host, shown
):
    listen, sockets = listening.listen, []
    monkeypatch.setattr(listening, "listen", lambda *where: sockets.append(listen(*where)) or sockets[-1])

    def serve_one(server: dashboard._Server) -> None:
        with socket.create_connection(sockets[0].getsockname()[:2], timeout=60) as client:
            client.sendall(b"GET /dashboard HTTP/1.0\r\n\r\n")
            server.handle_request()
            assert b" 200 OK" in client.recv(100)
        raise KeyboardInterrupt

    monkeypatch.setattr(dashboard._Server, "serve_forever", serve_one)
    path = tmp_path / "study.db"
    studies._storage(path).engine.dispose()
    with pytest.raises(KeyboardInterrupt):
        dashboard.serve(path, host, 0)
    assert capsys.readouterr().out.startswith(f"Optuna's dashboard on http://{shown}:0/dashboard ")
