"""serve: a trained model over HTTP, for programs that send raw frames as JSON. It takes nothing that is not what it says."""

import asyncio
from pathlib import Path

import uvicorn

from xtcav_ml.system import listening
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.http_limits import Body, Limited, Receive, Refused, Scope, Send, header
from xtcav_ml.tracking.registry import packaging, request_body, versions
from xtcav_ml.tracking.registry.serving import ShotModel

BODY = 16 * 2**20  # bytes of a request: five full frames of 726 x 568 at least
AT_ONCE = 32  # requests that may be read or wait for their turn
METHODS = {"/invocations": ("POST",), "/ping": ("GET", "HEAD"), "/health": ("GET", "HEAD")}


class Served:
    """A model as an ASGI application. One request after the other is parsed and predicted, so that memory has a bound."""

    def __init__(self, model: ShotModel) -> None:
        self._model, self._turn, self._open = model, asyncio.Lock(), 0
        self._limited = Limited(self._answer, self._admit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        self._open += 1
        try:
            await self._limited(scope, receive, send)
        finally:
            self._open -= 1

    async def _admit(self, scope: Scope) -> Body:
        methods = METHODS.get(scope["path"])
        if methods is None:
            raise Refused(404, f"path: not found (expected one of {', '.join(METHODS)})")
        if scope["method"] not in methods:
            raise Refused(
                405,
                f"method: not for this path (found {scope['method'][:20]!r}, expected {methods[0]})",
                allow=", ".join(methods),
            )
        if scope["method"] != "POST":
            return Body(0)
        given, coding = header(scope, "content-type"), header(scope, "content-encoding")
        kind, _, charset = given.lower().replace(" ", "").partition(";")
        if kind != "application/json" or charset not in ("", "charset=utf-8"):
            raise Refused(415, f"content-type: not taken (found {given[:80]!r}, expected application/json in UTF-8)")
        if coding not in ("", "identity"):
            raise Refused(
                415,
                f"content-encoding: not taken (found {coding[:80]!r}, expected no such header). Fix: send the body as it is",
            )
        if self._open > AT_ONCE:
            message = f"requests: too many at once (found {self._open}, expected at most {AT_ONCE}). Fix: wait a second"
            raise Refused(429, message, **{"retry-after": "1"})
        return Body(BODY, _require_some)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, status = b"\n", 200
        if scope["method"] == "POST":
            body = (await receive())["body"]
            async with self._turn:
                try:
                    body = await asyncio.to_thread(self._predict, body)
                except Refused as refused:
                    body, status = refused.body(), refused.status
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _predict(self, body: bytes) -> bytes:
        table = self._model.predict(request_body.inputs_of(body, self._model.predictor.spec))
        return request_body.answer_of(table)


def _require_some(body: bytes) -> None:
    if not body:
        raise Refused(400, "body: missing (expected JSON)")


def serve(path: Path, name: str, host: str, port: int, threads: int) -> None:
    """Serve the model file `path`, which the user calls `name`, on http://host:port until somebody asks to stop.

    Raises UserError if there is no such file or address, or the port is taken.
    """
    if not path.is_file():
        raise UserError(f"{path}: missing (expected a model). Fix: run `make repro`, or name another")
    with listening.listen(host, port) as sockets:
        model = ShotModel(path, threads=threads, sealed=not name.startswith(versions.SCHEME))
        model.predict(packaging.arrays(model.predictor.spec))  # the first call builds the network
        print(f"{name} on http://{listening.address(host, port)}/invocations (Ctrl-C ends it)", flush=True)
        config = uvicorn.Config(Served(model), log_level="warning", lifespan="off", server_header=False)
        uvicorn.Server(config).run([sockets])
