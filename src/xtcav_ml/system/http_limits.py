"""What an HTTP server takes: an ASGI application around another one, which bounds size, time and rate of requests.

It needs no library, so that it runs within any server.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS = 16_384  # bytes of all headers
CODES = {401: "UNAUTHENTICATED", 404: "ENDPOINT_NOT_FOUND", 408: "DEADLINE_EXCEEDED", 429: "REQUEST_LIMIT_EXCEEDED"}
CODES |= {503: "TEMPORARILY_UNAVAILABLE"}
"""Names of statuses, by which MLflow's clients know them."""
ANSWER = 300  # characters of a refusal at most
PAUSE = 20.0  # seconds that a client may take to send the next part of a body
WHOLE = 60.0  # and all of a body that is read before it is used
DROPPING = 0.7  # seconds for which a refused body is read and dropped: who still sends would not see the answer
DEPTH = 20  # lists and objects within each other in JSON
INTEGERS = range(-(2**63), 2**64)  # what databases and protocols have a type for
KEYS = 10_000  # clients whose rate is remembered


class Refused(Exception):
    """A request that is not taken, with the status and one line for its answer."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers

    def body(self) -> bytes:
        """Return the answer: JSON of at most ANSWER characters, in the form of MLflow's errors."""
        text = str(self).encode("ascii", "backslashreplace").decode()
        code = CODES.get(self.status, "INVALID_PARAMETER_VALUE")
        while len(answer := json.dumps({"error_code": code, "message": text})) > ANSWER:
            text = text[: -len(answer) + ANSWER - 3].rstrip(".") + "..."
        return answer.encode()


@dataclass(frozen=True)
class Body:
    """What a request may send: bytes, and a check of all of them, without which they are passed on as they come."""

    limit: int
    check: Callable[[bytes], object] | None = None


class Rate:
    """Tokens of each key: `burst` at first, `per_second` new ones."""

    def __init__(self, per_second: float, burst: int) -> None:
        self.per_second, self.burst = per_second, burst
        self._left: dict[str, tuple[float, float]] = {}  # tokens, and when there were so many

    def take(self, key: str) -> None:
        """Take a token. Raises Refused, status 429, if none is left."""
        now = time.monotonic()
        left, before = self._left.pop(key, (float(self.burst), now))
        left = min(left + (now - before) * self.per_second, self.burst)
        self._left[key] = (max(left - 1, left % 1), now)  # the last in the dict is the latest
        if len(self._left) > KEYS:
            del self._left[next(iter(self._left))]
        if left < 1:
            wait = str(int((1 - left) / self.per_second) + 1)
            raise Refused(
                429,
                f"rate: too high (found one more, expected {self.per_second:g} a second). Fix: wait {wait} s",
                **{"retry-after": wait},
            )

    def give_back(self, key: str) -> None:
        """Return a token that was taken."""
        left, before = self._left.get(key, (float(self.burst), time.monotonic()))
        self._left[key] = (min(left + 1, self.burst), before)


class Limited:
    """`app` behind `admit`, which returns what the body of a request may be, or raises Refused before any of it is read."""

    def __init__(self, app: App, admit: Callable[[Scope], Awaitable[Body]]) -> None:
        self.app, self.admit = app, admit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; those that are no HTTP are closed."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        incoming = _Incoming(receive)
        try:
            size = sum(len(name) + len(value) for name, value in scope["headers"])
            if size > HEADERS:
                raise Refused(431, f"headers: too long (found {size:,} bytes, expected at most {HEADERS:,})")
            body = await self.admit(scope)
            incoming.limit = body.limit
            if declared(scope) > body.limit:
                raise too_large(declared(scope), body.limit)
            if body.check:
                body.check(await incoming.whole())
        except Refused as refused:
            await incoming.drop()
            await answer(send, refused)
            return

        async def unless_refused(message: Message) -> None:
            if incoming.refused is None:
                await send(message)

        await self.app(scope, incoming.next, unless_refused)
        if incoming.refused is not None:
            await incoming.drop()
            await answer(send, incoming.refused)


class _Incoming:
    """The parts of a body, counted."""

    def __init__(self, receive: Receive) -> None:
        self.limit = 0
        self.refused: Refused | None = None
        self._receive, self._read, self._more = receive, 0, True
        self._kept: bytes | None = None

    async def whole(self) -> bytes:
        """Return all of the body, which `next` then gives once more. Raises Refused."""
        parts = []
        try:
            async with asyncio.timeout(WHOLE):
                while self._more:
                    parts.append((await self._part()).get("body", b""))
        except TimeoutError:
            raise Refused(408, f"body: not sent in time (found part of it, expected all within {WHOLE:g} s)") from None
        self._kept = b"".join(parts)
        return self._kept

    async def next(self) -> Message:
        """Return what the application receives: after a refusal, that the client has gone."""
        if self._kept is not None:
            kept, self._kept = self._kept, None
            return {"type": "http.request", "body": kept, "more_body": False}
        if not self._more:
            return await self._receive()  # which returns when the client has gone
        try:
            return await self._part()
        except Refused as refused:
            self.refused = refused
            return {"type": "http.disconnect"}

    async def _part(self) -> Message:
        try:
            message = await asyncio.wait_for(self._receive(), PAUSE)
        except TimeoutError:
            raise Refused(408, f"body: not sent in time (found a pause, expected {PAUSE:g} s at most)") from None
        if message["type"] == "http.disconnect":
            raise Refused(400, "body: cut short (found its beginning, expected all of it)")
        self._read += len(message.get("body", b""))
        self._more = message.get("more_body", False)
        if self._read > self.limit:
            raise too_large(self._read, self.limit)
        return message

    async def drop(self) -> None:
        """Read what is left of the body, for a moment, and keep none of it."""
        try:
            async with asyncio.timeout(DROPPING):
                while self._more:
                    self._more = (await self._receive()).get("more_body", False)
        except TimeoutError:
            pass


async def answer(send: Send, refused: Refused) -> None:
    """Send the answer of a refusal."""
    body = refused.body()
    headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    pairs = [(name.encode(), value.encode()) for name, value in (headers | refused.headers).items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


def header(scope: Scope, name: str) -> str:
    """Return the value of a header, named in small letters, or an empty text. Raises Refused if it comes twice."""
    values = [value.decode("latin-1") for key, value in scope["headers"] if key == name.encode()]
    if len(values) > 1:
        raise Refused(400, f"{name}: not clear (found {len(values)} such headers, expected one)")
    return values[0] if values else ""


def declared(scope: Scope) -> int:
    """Return the size of the body that the request declares, or 0. Raises Refused if it is no number."""
    text = header(scope, "content-length") or "0"
    if not (text.isascii() and text.isdigit()):
        raise Refused(400, f"content-length: no number (found {text[:40]!r}, expected digits)")
    return int(text)


def too_large(size: int, limit: int) -> Refused:
    """Return the refusal of a body above the limit."""
    return Refused(
        413, f"body: too large (found {size:,} bytes or more, expected at most {limit:,}). Fix: send less at once"
    )


def plain_json(body: bytes) -> Any:
    """Return the value of JSON that every reader takes for the same.

    Raises Refused for broken JSON, deep nesting, NaN, integers that nothing has a type for, and text with control
    characters or halves of surrogate pairs.
    """
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"body: not JSON (found {str(error)[:120]!r}, expected UTF-8 without NaN)") from None
    level = [value]
    for _ in range(DEPTH):
        level = [child for item in level for child in _children(item)]
        if not level:
            return value
    raise Refused(400, f"body: nested too deep (found more than {DEPTH} levels, expected fewer)")


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, str):
        if not sound(value):
            raise Refused(
                400,
                f"body: a text that cannot be stored (found {value[:40]!r}, expected no NUL and no half characters)",
            )
    elif isinstance(value, int) and value not in INTEGERS:
        raise Refused(400, f"body: an integer out of range (found {value.bit_length()} bits, expected 64)")
    elif isinstance(value, dict):
        yield from value
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def sound(text: str) -> bool:
    """Return whether a text has neither NUL nor halves of surrogate pairs."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
