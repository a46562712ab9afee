"""dashboard: Optuna's pages of this project's searches."""

import socketserver
import wsgiref.simple_server
from pathlib import Path

import optuna_dashboard

from xtcav_ml.system import listening
from xtcav_ml.system.errors import UserError
from xtcav_ml.tuning import studies


class _Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True


class _Handler(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print no line for each request."""


def serve(path: Path, host: str, port: int) -> None:
    """Serve the pages of the searches in file `path` on http://host:port until somebody asks to stop.

    Raises UserError if there is no search, its file is damaged, or the address cannot be used.
    """
    if not path.exists():
        raise UserError(f"{path}: missing (found no search, expected that of `make tune`). Fix: run `make tune`")
    listening.listen(host, port).close()
    with studies.usable(path):
        app = optuna_dashboard.wsgi(f"sqlite:///{path}")
        server = wsgiref.simple_server.make_server(host, port, app, _Server, _Handler)
        print(f"Optuna's dashboard on http://{host}:{port}/dashboard (Ctrl-C ends it)", flush=True)
        server.serve_forever()
