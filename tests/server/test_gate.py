import asyncio
import base64

import pytest

from server import gate
from tests.server import attacks
from tests.system.test_http_limits import call, echo
from xtcav_ml.system.http_limits import Body, Limited, Refused

SESSION = "/api/2.0/mlflow/runs/search"


def account(text="ann:right"):
    return ("authorization", "Basic " + base64.b64encode(text.encode()).decode())


@pytest.fixture
def app():
    """MLflow's place has an echo; ann's password is right, and the number of times that it was checked is counted."""
    checked = []

    def authenticate(name, password):
        checked.append(name)
        if name == "nobody answers":
            raise OSError
        return password == "right"

    limited = Limited(echo, gate.Gate(authenticate).admit)
    limited.checked = checked
    return limited


def status(app, path, *headers, **request):
    return call(app, path=path, headers=headers or [account()], **request)[0]


@pytest.mark.parametrize("path", ["/", "/static-files/a.js", SESSION, "/graphql", "/api/3.0/mlflow/server-info"])
def test_what_mlflow_is_for_is_there_with_an_account_alone(app, path):
    assert status(app, path, parts=[b"{}"]) == 200
    for headers in (
        [("x", "y")],
        [account("ann:wrong")],
        [account("ann")],
        [account(":")],
        [("authorization", "Basic =")],
    ):
        assert status(app, path, *headers) == 401


@pytest.mark.parametrize("path", [path.partition("?")[0] for path in attacks.CLOSED])
def test_the_rest_is_closed(app, path):
    assert status(app, path) == 404


def test_a_name_with_nul_is_none_and_two_accounts_are_not_clear(app):
    assert status(app, SESSION, account("a\0n:right")) == 401
    assert app.checked == []
    assert status(app, SESSION, account(), account()) == 400


def test_health_needs_no_account(app):
    assert status(app, "/health", ("x", "y"), method="GET") == 200
    assert status(app, "/health", ("x", "y"), parts=[b"x"]) == 413


@pytest.mark.parametrize(
    "part",
    ["..%2fx", "%252e%252e/x", "..\\x", "/x", "%2fx", "x%00", "./x", "%ff", "%e2%82", "x/../y", "x%0a", "x" * 9000],
)
def test_a_path_that_leads_up_or_elsewhere(part):
    scope = {"raw_path": f"/a/{part}/b".encode(), "path": ""}
    with pytest.raises(Refused, match=r"^path: "):
        gate.sound_path(scope)


@pytest.mark.parametrize("part", ["a%20b", "%C3%A9t%C3%A9", "100%25", "a..b", "...", "a%2Fb", "x%2By"])
def test_a_path_of_a_file_s_own_name(part):
    gate.sound_path({"raw_path": f"/a/{part}".encode(), "path": ""})


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'{"a": NaN}', b'{"a": "\\u0000"}', b"x" * 5_000_000])
def test_a_body_that_is_no_plain_object(app, body):
    assert status(app, SESSION, parts=[body]) in (400, 413)


def test_an_artifact_is_passed_on_as_it_comes(app):
    path = "/api/2.0/mlflow-artifacts/artifacts/1/file"
    assert call(app, [b"[" * 10, b"\0"], "PUT", path, [account(), ("content-length", "11")])[2] == "[" * 10 + "\0"
    assert call(app, [b"x"], "PUT", path, [account(), ("content-length", str(2**40))])[0] == 413


def test_headers_that_mlflow_does_not_need_do_not_reach_it(app):
    seen = []

    async def show(scope, receive, send):
        seen.extend(name for name, _ in scope["headers"])
        await echo(scope, receive, send)

    app.app = show
    assert status(app, SESSION, account(), ("x-mlflow-workspace", "other"), ("cookie", "a=b"), ("host", "x")) == 200
    assert seen == [b"authorization", b"host"]
    assert status(app, SESSION, account(), ("user-agent", "\u00e9")) == 400


def test_guesses_are_slowed_down_but_not_those_who_are_in(app):
    assert status(app, SESSION) == 200
    answers = [status(app, SESSION, account(f"ann:{n}")) for n in range(gate.ATTEMPT_BURST + 5)]
    assert set(answers) == {401, 429}
    assert answers.count(401) < gate.ATTEMPT_BURST + 5  # some come back meanwhile
    assert status(app, SESSION) == 200
    assert app.checked.count("ann") == len([one for one in answers if one == 401]) + 1


def test_a_database_that_does_not_answer_is_to_be_tried_again(app):
    for _ in range(gate.ATTEMPT_BURST + 1):  # which is nobody's guess
        status_, headers, _, _ = call(app, path=SESSION, headers=[account("nobody answers:x")])
        assert (status_, headers[b"retry-after"]) == (503, b"2")


@pytest.mark.parametrize("query", [b"a=%ff", b"a=%00", b"a=\xff", b"a=" + b"x" * 10_000, b"a=%ed%a0%80", b"a&" * 2000])
def test_a_query_that_nothing_can_store(query):
    with pytest.raises(Refused, match=r"^query: "):
        gate.require_sound_query(query)


def test_a_query():
    gate.require_sound_query(b"filter=name%20%3D%20%27%C3%A9%27&max_results=5&empty=")


def admitted(query=b"", method="GET", path=SESSION, **names):
    """Return what a gate that knows everybody lets the body be; a name in `names` is that of the account."""
    header = account(f"{names.get('name', 'ann')}:right")
    scope = {
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "method": method,
        "client": ("127.0.0.1", 1),
    }
    scope["headers"] = [tuple(text.encode() for text in header)]
    return asyncio.run((names.get("gate") or gate.Gate(lambda *_: True)).admit(scope))


def test_every_query_is_looked_at():
    assert admitted(b"a=b").limit == gate.REQUEST
    with pytest.raises(Refused, match=r"^query: "):
        admitted(b"a=%00")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_only_what_is_put_is_an_artifact(method):
    path = "/api/2.0/mlflow-artifacts/artifacts/1/file"
    assert admitted(method="PUT", path=path) == Body(gate.ARTIFACT)
    assert admitted(method=method, path=path).limit == gate.REQUEST


def test_requests_of_one_address_have_a_rate(monkeypatch):
    monkeypatch.setattr(gate, "REQUESTS", 1e-9)
    monkeypatch.setattr(gate, "REQUEST_BURST", 2)
    busy = gate.Gate(lambda *_: True)
    assert [admitted(gate=busy).limit for _ in range(2)] == [gate.REQUEST] * 2
    with pytest.raises(Refused) as refused:
        admitted(gate=busy)
    assert refused.value.status == 429
    assert admitted(gate=busy, path="/health") == Body(0)


def test_the_oldest_passwords_are_forgotten(monkeypatch):
    monkeypatch.setattr(gate, "ACCOUNTS", 2)
    checked = []
    small = gate.Gate(lambda name, _: checked.append(name) or True)
    for name in ("a", "b", "c", "c", "b", "a"):
        admitted(gate=small, name=name)
    assert checked == ["a", "b", "c", "a"]


@pytest.mark.parametrize("scheme", ["Bearer", "Digest", "", "Basic\t"])
def test_another_scheme_is_no_account(app, scheme):
    encoded = account()[1].removeprefix("Basic ")
    assert status(app, SESSION, ("authorization", f"{scheme} {encoded}")) == 401


def test_a_websocket_is_closed(app):
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(app({"type": "websocket"}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]
