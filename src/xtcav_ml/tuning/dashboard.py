"""dashboard: Optuna's pages of this project's searches."""

import socket
import socketserver
import wsgiref.simple_server
from pathlib import Path
from wsgiref.types import WSGIApplication

import optuna_dashboard

from xtcav_ml.system import listening
from xtcav_ml.system.errors import UserError
from xtcav_ml.tuning import storage, studies


class _Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True

    def __init__(self, listens: socket.socket, app: WSGIApplication) -> None:
        self.address_family = listens.family
        super().__init__(listens.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listens
        self.server_name, self.server_port = listens.getsockname()[:2]
        self.setup_environ()
        self.set_app(app)


class _Handler(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print no line for each request."""


def serve(path: Path, host: str, port: int) -> None:
    """Serve the pages of the searches on http://host:port until somebody asks to stop.

    The searches are in the file `path`, unless the user put them elsewhere.

    Raises UserError if there is no search, its file is damaged, or the address cannot be used.
    """
    where = storage.place(path)
    if isinstance(where, Path) and not where.exists():
        raise UserError(f"{where}: missing (found no search, expected that of `make tune`). Fix: run `make tune`")
    with listening.listen(host, port) as listens, studies.usable(path):
        server = _Server(listens, optuna_dashboard.wsgi(f"sqlite:///{where}" if isinstance(where, Path) else where))
        study = studies.latest(path)
        page = "dashboard" if study is None else f"dashboard/studies/{study}"
        print(f"Optuna's dashboard on http://{listening.address(host, port)}/{page} (Ctrl-C ends it)", flush=True)
        server.serve_forever()
