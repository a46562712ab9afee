"""A server as the world has it: a proxy on loopback before a real one that fails a part of the requests, in four ways."""

import http.client
import random
import socket
import socketserver
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler

FAULTS = ("500", "reset", "stall", "lost reply")


class Proxy(socketserver.ThreadingTCPServer):
    """Hands requests on to 127.0.0.1:`port`, but `rate` of them fail; `seed` says which.

    500: refused before they are handed on. reset: the connection ends before. stall: no answer for `stall` seconds, and then
    none. lost reply: handed on, and done there, but no answer comes back. Every upload is handed on only after `slow` seconds.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int, rate: float, seed: int, stall: float, slow: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port, self.rate, self.stall, self.slow = port, rate, stall, slow
        self.seen: Counter[str] = Counter()  # requests by what became of them
        self._random, self._lock = random.Random(seed), threading.Lock()

    @property
    def url(self) -> str:
        """Return the address to give to a client."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fate(self) -> str:
        """Draw what becomes of a request."""
        with self._lock:
            drawn = self._random.choice(FAULTS) if self._random.random() < self.rate else "passed"
            self.seen[drawn] += 1
            return drawn


class _Handler(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        fate = self.server.fate()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if fate == "500":
            self._answer(500, {}, b"{}")
            return
        if fate == "stall":
            time.sleep(self.server.stall)
        if fate in ("stall", "reset"):
            self._reset()
            return
        if self.command == "PUT":
            time.sleep(self.server.slow)
        try:
            upstream = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
            headers = {name: value for name, value in self.headers.items() if name != "Connection"}
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):  # it is being restarted
            self._reset()
            return
        if fate == "lost reply":
            self._reset()
            return
        self._answer(answer.status, dict(answer.getheaders()), content)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.connection.close()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def finish(self) -> None:
        """End a connection that may have been reset."""
        if self.connection.fileno() >= 0:
            super().finish()
