import asyncio
import json

import pytest
from mlflow.exceptions import RestException

from xtcav_ml.system import http_limits
from xtcav_ml.system.http_limits import Body, Limited, Rate, Refused, plain_json


def call(app, parts=(b"",), method="POST", path="/", headers=(), pause=0.0):
    """Return status, headers and text of the answer to a request whose body comes in `parts`."""
    waiting = list(parts)
    sent = []

    async def receive():
        await asyncio.sleep(pause)
        if not waiting or waiting[0] is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {"headers": [(name.encode(), value.encode()) for name, value in headers], "client": ("127.0.0.1", 1)}
    asyncio.run(app(scope, receive, send))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"].decode(), waiting


async def echo(scope, receive, send):
    """Answer with what was received."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def limited(body=None, refusal=None):
    async def admit(scope):
        if refusal:
            raise refusal
        return body

    return Limited(echo, admit)


@pytest.mark.parametrize("check", [None, lambda body: None])
@pytest.mark.parametrize("parts", [[b""], [b"12345"], [b"12", b"345", b""]])
def test_a_body_within_its_limit_comes_through(check, parts):
    status, _, text, _ = call(limited(Body(5, check)), parts)
    assert (status, text) == (200, b"".join(parts).decode())


@pytest.mark.parametrize("check", [None, lambda body: None])
@pytest.mark.parametrize("headers", [[], [("content-length", "6")]])
def test_a_larger_one_is_refused_and_read_to_its_end(check, headers):
    status, _, text, left = call(limited(Body(5, check)), [b"123", b"456", b"x" * 1000], headers=headers)
    assert status == 413
    assert "at most 5" in json.loads(text)["message"]
    assert not left


@pytest.mark.parametrize("check", [None, lambda body: None])
def test_one_whose_client_leaves_is_not_taken_for_whole(check):
    assert call(limited(Body(9, check)), [b"123", None])[0] == 400


def test_one_that_does_not_come_is_refused(monkeypatch):
    monkeypatch.setattr(http_limits, "PAUSE", 0.01)
    assert call(limited(Body(5, lambda body: None)), pause=0.2)[0] == 408
    assert call(limited(Body(5)), pause=0.2)[0] == 408


@pytest.mark.parametrize("length", ["-1", "x", "", "1e3", "\u0662".encode().decode("latin-1")])
def test_a_length_that_is_no_number(length):
    assert call(limited(Body(5)), headers=[("content-length", length or " ")])[0] == 400


def test_long_headers():
    assert call(limited(Body(5)), headers=[("x", "y" * 17_000)])[0] == 431


def test_a_refusal_is_short_whatever_it_quotes():
    status, headers, text, _ = call(limited(refusal=Refused(404, 'path: \ud800\n"' * 1000, allow="GET")))
    assert (status, headers[b"allow"]) == (404, b"GET")
    assert len(text) <= http_limits.ANSWER
    assert json.loads(text)["message"].endswith("...")


def test_a_rate_has_a_burst_and_comes_back(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(http_limits.time, "monotonic", lambda: now[0])
    rate = Rate(per_second=2, burst=3)
    for _ in range(3):
        rate.take("a")
    with pytest.raises(Refused, match=r"^rate: ") as refused:
        rate.take("a")
    assert (refused.value.status, refused.value.headers) == (429, {"retry-after": "1"})
    rate.take("b")
    now[0] += 0.5
    rate.take("a")
    rate.give_back("a")
    rate.take("a")
    with pytest.raises(Refused):
        rate.take("a")


def test_a_long_pause_gives_no_more_than_the_burst(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(http_limits.time, "monotonic", lambda: now[0])
    rate = Rate(1, 2)
    rate.take("a")
    now[0] = 1e6
    rate.give_back("a")
    rate.give_back("a")
    for _ in range(2):
        rate.take("a")
    with pytest.raises(Refused):
        rate.take("a")


def test_a_rate_forgets_the_oldest(monkeypatch):
    monkeypatch.setattr(http_limits, "KEYS", 2)
    rate = Rate(per_second=1e-9, burst=1)
    for key in "abc":
        rate.take(key)
    rate.take("a")
    with pytest.raises(Refused):
        rate.take("c")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"NaN",
        b'{"a": Infinity}',
        b'"\xff"',
        '{"a": 1}'.encode("utf-16"),
        b"[" * 100_000,
        b"[" * 30 + b"]" * 30,
        b"9" * 5000,
        b"99999999999999999999",
        b'"\\u0000"',
        b'{"\\ud800": 1}',
    ],
)
def test_json_that_readers_take_differently_is_refused(body):
    with pytest.raises(Refused) as refused:
        plain_json(body)
    assert refused.value.status == 400


def test_plain_json():
    value = {"name": "\u00e9\U0001f600", "list": [1, 1.5, None, True, {"deep": [[2**63]]}]}
    assert plain_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize("status", [401, 404, 408, 429, 503])
def test_mlflow_s_clients_know_a_refusal_that_may_change(status):
    assert RestException(json.loads(Refused(status, "x").body())).get_http_status_code() in (
        status,
        504,
    )
