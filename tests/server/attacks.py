"""Requests to a team's server that must lead to nothing: tables for tests/end_to_end/test_server.py."""

import base64
import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Attack:
    """One request, exactly as it is sent; no client's library tidies its path."""

    method: str
    path: str
    body: Any = None  # bytes, or what becomes JSON
    headers: dict[str, str] = field(default_factory=dict)

    def send(self, port: int, account: tuple[str, str] | None) -> tuple[int, str]:
        """Return status and text of the answer."""
        headers = {"Content-Type": "application/json", **self.headers}
        if account and "Authorization" not in headers:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(account).encode()).decode()
        body = self.body if isinstance(self.body, bytes | None) else json.dumps(self.body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.putrequest(self.method, self.path, skip_host="Host" in headers, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value.encode("latin-1"))
            if body is not None and "Content-Length" not in headers:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            with contextlib.suppress(ConnectionResetError):  # the server does not read the rest of what it refuses
                return answer.status, answer.read().decode("latin-1")
            return answer.status, ""
        finally:
            connection.close()


def post(call: str, **body: Any) -> Attack:
    return Attack("POST", f"/api/2.0/mlflow/{call}", body)


def locations(folder: str) -> list[str]:
    """Return places that only the server may name: the absolute path of a folder written in all ways, and others."""
    return [
        f"file://{folder}",
        f"FILE://{folder}",
        f"file://localhost{folder}",
        f"file:{folder}",
        folder,
        "./elsewhere",
        "../elsewhere",
        "C:/elsewhere",
        "mlflow-artifacts:/../../elsewhere",
        "mlflow-artifacts:/%2e%2e/%2e%2e/elsewhere",
        "mlflow-artifacts://127.0.0.1:1/elsewhere",
        "mlflow-artifacts:/elsewhere",
        "s3://bucket/elsewhere",
        "http://127.0.0.1:1/elsewhere",
        "ftp://127.0.0.1:1/elsewhere",
        "dbfs:/elsewhere",
        "runs:/0/elsewhere",
        "elsewhere\u2024\u2024/x",
    ]


CLOSED = [
    "/ajax-api/3.0/mlflow/assistant/config",
    "/ajax-api/3.0/mlflow/assistant/message",
    "/ajax-api/3.0/mlflow/assistant/providers/claude_code/health",
    "/gateway/mlflow/v1/chat/completions",
    "/gateway/any/mlflow/invocations",
    "/api/2.0/mlflow/gateway-proxy",
    "/ajax-api/2.0/mlflow/gateway-proxy",
    "/ajax-api/3.0/mlflow/gateway/secrets/list",
    "/api/3.0/mlflow/gateway/endpoints/list",
    "/api/2.0/mlflow/webhooks",
    "/api/2.0/mlflow/webhooks/1/test",
    "/ajax-api/3.0/jobs",
    "/ajax-api/3.0/jobs/search",
    "/v1/traces",
    "/api/3.0/mlflow/traces/search",
    "/ajax-api/2.0/mlflow/get-trace-artifact?request_id=1",
    "/api/3.0/mlflow/scorers/list",
    "/api/3.0/mlflow/prompt-optimization/jobs",
    "/ajax-api/3.0/mlflow/mcp-servers",
    "/api/3.0/mlflow/issues/search",
    "/api/3.0/mlflow/datasets/search",
    "/ajax-api/2.0/mlflow/upload-artifact?run_uuid=1&path=x",
    "/ajax-api/2.0/mlflow/runs/create-promptlab-run",
    "/ajax-api/3.0/mlflow/ui-telemetry",
    "/api/2.0/mlflow-artifacts/mpu/create/x",
    "/api/2.0/mlflow-artifacts/presigned/x",
    "/api/2.0/mlflow/artifacts/presigned-upload-url",
    "/signup",
    "/api/2.0/mlflow/users/create-ui",
    "/metrics",
    "/version",
    "/docs",
    "/openapi.json",
    "/api/3.0/mlflow/workspaces",
    "/api/3.0/mlflow/traces",
    "/api/2.0/mlflow/traces/delete-traces",
    "/v1/logs",
    "/api/2.0/mlflow/prompts/create",
    "/api/3.0/mlflow/scorers/register",
    "/api/3.0/mlflow/assessments",
    "/ajax-api/3.0/mlflow/secrets/list",
    "/ajax-api/3.0/mlflow/demo/generate",
    "/api/2.0/preview/mlflow/runs/search",
    "/API/2.0/mlflow/runs/search",
    "/redoc",
]

UP = [
    "../../users.ini",
    "..%2f..%2fusers.ini",
    "%2e%2e/%2e%2e/users.ini",
    "%252e%252e/users.ini",
    "%25252e%25252e%25252fusers.ini",
    "..\\..\\users.ini",
    "..%5c..%5cusers.ini",
    "//etc/passwd",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "%2Fetc/passwd",
    "file:///etc/passwd",
    "file%3a%2f%2f%2fetc%2fpasswd",
    "%c0%ae%c0%ae/users.ini",
    "%ef%bc%8e%ef%bc%8e/users.ini",
    "a/../../users.ini",
    "./users.ini",
    "x%00.txt",
    "%ff%fe",
    "~/x",
]


def of_nobody() -> Iterator[Attack]:
    """Yield requests that need an account: everything."""
    paths = ["/", "/static-files/static/js/main.js", "/graphql", "/version", "/api/3.0/mlflow/server-info", *CLOSED]
    paths += [
        f"/api/2.0/mlflow/{call}" for call in ("experiments/search", "runs/search", "users/list", "logged-models")
    ]
    paths += ["/api/2.0/mlflow-artifacts/artifacts/x", "/get-artifact?path=x&run_uuid=1", "/health/x", "/health/../x"]
    yield from (Attack(method, path, {} if method == "POST" else None) for path in paths for method in ("GET", "POST"))


def of_guest(experiment: str, run: str, model: str, logged: str, folder: str) -> Iterator[Attack]:
    """Yield requests of somebody with an account to what is another's, or nobody's but the server's, as a `folder` is."""
    for n, location in enumerate(locations(folder)):
        yield post("experiments/create", name=f"elsewhere {n}", artifact_location=location)
        yield post("model-versions/create", name="guest", source=location)
        yield post("model-versions/create", name="guest", source=location, model_id=logged, run_id=run)
    yield post("experiments/create", name="elsewhere", artifactLocation=f"file://{folder}")
    wanted = {"name": "e", "artifact_location": f"file://{folder}"}
    yield Attack("POST", "/ajax-api/2.0/mlflow/experiments/create", wanted)
    body = json.dumps(wanted)
    yield Attack("POST", "/api/2.0/mlflow/experiments/create", body.encode("utf-16"))
    yield Attack("POST", "/api/2.0/mlflow/experiments/create", body.encode(), {"Content-Type": "text/plain"})
    for path in CLOSED:
        yield Attack("GET", path)
        yield Attack("POST", path, {})
    for top in (
        f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/",
        "/api/2.0/mlflow-artifacts/artifacts/",
    ):
        yield from (Attack("PUT", top + path, b"x") for path in UP)
        yield from (Attack("GET", top + path) for path in UP)
    for path in UP:
        yield Attack("GET", f"/get-artifact?run_uuid={run}&path={path}")
        yield Attack("GET", f"/model-versions/get-artifact?name={model}&version=1&path={path}")
        yield Attack("GET", f"/static-files/{path}")
        yield Attack("GET", f"/ajax-api/2.0/mlflow/logged-models/{logged}/artifacts/files?artifact_file_path={path}")
    own = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/x"
    yield from (Attack(method, own, b"x") for method in ("PUT", "DELETE"))
    for path in (f"models/{logged}/artifacts/MLmodel", f"{run}/artifacts/", "x"):
        own = f"/ajax-api/2.0/mlflow-artifacts/artifacts/{experiment}/{path}"
        yield from (Attack(method, own, b"x") for method in ("PUT", "DELETE"))
    for attack in (*_writes(experiment, run, model, logged), *_accounts(), *_permissions(experiment, model)):
        yield attack
        yield replace(attack, path=attack.path.replace("/api", "/ajax-api", 1))


def _writes(experiment: str, run: str, model: str, logged: str) -> Iterator[Attack]:
    value = {"key": "k", "value": "1"}
    of_run = {"run_id": run, "run_uuid": run}
    yield post("runs/create", experiment_id=experiment)
    yield post("runs/update", **of_run, status="FAILED")
    yield post("runs/delete", run_id=run)
    yield post("runs/restore", run_id=run)
    yield post("runs/log-metric", **of_run, key="k", value=1, timestamp=1)
    yield post("runs/log-parameter", **of_run, **value)
    yield post("runs/set-tag", **of_run, **value)
    yield post("runs/delete-tag", run_id=run, key="stage")
    yield post("runs/log-batch", run_id=run, metrics=[{"key": "k", "value": 1, "timestamp": 1}])
    yield post("runs/log-batch", runId=run, tags=[value])
    yield post("runs/log-model", run_id=run, model_json="{}")
    yield post("runs/log-inputs", run_id=run, datasets=[])
    yield post("runs/outputs", run_id=run, models=[])
    yield post("experiments/update", experiment_id=experiment, new_name="mine")
    yield post("experiments/delete", experiment_id=experiment)
    yield post("experiments/set-experiment-tag", experiment_id=experiment, **value)
    yield post("registered-models/create", name=model)
    yield post("registered-models/rename", name=model, new_name="mine")
    yield post("registered-models/set-tag", name=model, **value)
    yield post("registered-models/alias", name=model, alias="champion", version="1")
    yield post("model-versions/create", name=model, source=f"models:/{logged}", run_id=run, model_id=logged)
    yield post("model-versions/set-tag", name=model, version="1", **value)
    yield post("model-versions/transition-stage", name=model, version="1", stage="Production")
    yield post("logged-models", experiment_id=experiment, name="x")
    for method, call, body in [
        ("PATCH", "registered-models/update", {"name": model, "description": "mine"}),
        ("DELETE", "registered-models/delete", {"name": model}),
        ("DELETE", "registered-models/alias", {"name": model, "alias": "candidate"}),
        ("PATCH", "model-versions/update", {"name": model, "version": "1", "description": "mine"}),
        ("DELETE", "model-versions/delete", {"name": model, "version": "1"}),
        ("DELETE", "model-versions/delete-tag", {"name": model, "version": "1", "key": "stage"}),
        ("PATCH", f"logged-models/{logged}", {"status": "LOGGED_MODEL_UPLOAD_FAILED"}),
        ("PATCH", f"logged-models/{logged}/tags", {"tags": [value]}),
        ("DELETE", f"logged-models/{logged}", {}),
        ("DELETE", f"logged-models/{logged}/tags/manifest.sha256", {}),
    ]:
        yield Attack(method, f"/api/2.0/mlflow/{call}", body)


def _accounts() -> Iterator[Attack]:
    yield post("users/create", username="mine", password="long-enough-password")
    for method, call, body in [
        ("PATCH", "users/update-password", {"username": "admin", "password": "long-enough-password"}),
        ("PATCH", "users/update-admin", {"username": "guest", "is_admin": True}),
        ("DELETE", "users/delete", {"username": "admin"}),
    ]:
        yield Attack(method, f"/api/2.0/mlflow/{call}", body)
    yield Attack("GET", "/api/2.0/mlflow/users/get?username=admin")
    for call in ("create", "permissions/add", "assign", "delete", "update"):
        yield Attack("POST", f"/api/3.0/mlflow/roles/{call}", {"workspace": "default", "name": "mine", "role_id": 1})


def _permissions(experiment: str, model: str) -> Iterator[Attack]:
    for kind, key, value in (("experiments", "experiment_id", experiment), ("registered-models", "name", model)):
        wanted = {key: value, "username": "guest", "permission": "MANAGE"}
        for method, call in (("POST", "create"), ("PATCH", "update"), ("DELETE", "delete")):
            yield Attack(method, f"/api/2.0/mlflow/{kind}/permissions/{call}", wanted)
        yield Attack("GET", f"/api/2.0/mlflow/{kind}/permissions/get?{key}={value}&username=admin")
    wanted = {"username": "guest", "resource_type": "experiment", "resource_id": experiment, "permission": "MANAGE"}
    yield from (Attack("POST", f"/api/3.0/mlflow/users/permissions/{call}", wanted) for call in ("grant", "revoke"))


ODD_TEXTS = ["a\0b", "\ud800", "x" * 100_000, "\u202e", "'; DROP TABLE runs; --", "%s%n", "\U0001f600" * 500, ""]
ODD_VALUES: list[Any] = [*ODD_TEXTS, 2**63, -(2**70), 10**400, 1e308, True, None, [], {}, [[[]]], {"a": {"b": 1}}, -1]
CALLS = [
    ("POST", "experiments/create", ["name", "tags"]),
    ("POST", "experiments/search", ["max_results", "filter", "order_by", "page_token", "view_type"]),
    ("POST", "runs/search", ["experiment_ids", "filter", "max_results", "order_by", "page_token", "run_view_type"]),
    ("POST", "runs/create", ["experiment_id", "start_time", "tags", "run_name"]),
    ("POST", "runs/log-metric", ["run_id", "key", "value", "timestamp", "step"]),
    ("POST", "runs/log-batch", ["run_id", "metrics", "params", "tags"]),
    ("POST", "runs/set-tag", ["run_id", "key", "value"]),
    ("POST", "registered-models/create", ["name", "tags", "description"]),
    ("POST", "model-versions/create", ["name", "source", "run_id", "tags", "model_id"]),
    ("POST", "logged-models/search", ["experiment_ids", "filter", "max_results", "order_by", "page_token", "datasets"]),
    ("POST", "logged-models", ["experiment_id", "name", "source_run_id", "params", "tags"]),
]
QUERIES = [
    "experiments/get?experiment_id=",
    "experiments/get-by-name?experiment_name=",
    "runs/get?run_id=",
    "metrics/get-history?metric_key=a&run_id=",
    "metrics/get-history?run_id=0&metric_key=a&max_results=",
    "metrics/get-history-bulk-interval?metric_key=a&run_ids=",
    "metrics/get-history-bulk-interval?run_ids=0&metric_key=a&start_step=0&end_step=1&max_results=",
    "artifacts/list?run_id=0&path=",
    "registered-models/search?filter=",
    "registered-models/search?max_results=",
    "registered-models/search?page_token=",
    "registered-models/get?name=",
    "model-versions/search?filter=",
    "model-versions/search?max_results=",
    "model-versions/get?name=a&version=",
    "registered-models/alias?name=a&alias=",
    "logged-models/0?x=",
    "users/get?username=",
]
ODD_PARTS = [
    "%00",
    "%ff",
    "%ed%a0%80",
    "9" * 30,
    "-1",
    "1.5",
    "x" * 5000,
    "'",
    "%22",
    "[]",
    "true",
    "a%20LIKE%20b",
    "\u2024",
]
HEADERS = [
    {"Content-Type": ""},
    {"Content-Type": "multipart/form-data"},
    {"Content-Type": "application/json; charset=utf-32"},
    {"Content-Type": "application/json; charset=no-such"},
    {"Content-Type": "a" * 5000},
    {"Content-Encoding": "gzip"},
    {"Transfer-Encoding": "gzip, chunked"},
    {"Content-Length": "-1"},
    {"Content-Length": "9" * 30},
    {"Content-Length": "x"},
    {"Accept": "\xff\xfe"},
    {"User-Agent": "\xff"},
    {"Cookie": "session=eyJ\xff; =;;"},
    {"X-MLFLOW-WORKSPACE": "../other"},
    {"X-HTTP-Method-Override": "DELETE"},
    {"X-Forwarded-For": "not an address"},
    {"X-Forwarded-Prefix": "/../"},
    {"X-Forwarded-Proto": "javascript"},
    {"Range": "bytes=99999999999-1"},
    {"If-Modified-Since": "not a date"},
    {"If-None-Match": '"' * 100},
    {"Upgrade": "websocket", "Connection": "Upgrade"},
    {"Expect": "200-maybe"},
    {"Origin": "null"},
    {"Origin": "http://[::1"},
    {"Host": ""},
    {"Host": "[::"},
    {"Authorization": "Basic"},
    {"Authorization": "Basic ====="},
    {"Authorization": "Basic /////w=="},
    {"Authorization": "Basic AAA6AAA="},
    {"Authorization": "Bearer x"},
    {"Authorization": 'Digest username="admin"'},
    {"Authorization": "Basic " + "A" * 20_000},
]
BODIES = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"1",
    b'"x"',
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b'{"tags": ' + b"[" * 50 + b"]" * 50 + b"}",
    b'{"value": NaN}',
    b'{"value": ' + b"9" * 5000 + b"}",
    b'{"name": "\\ud800"}',
    b'{"name": "a", "name": "b"}',
    b"{}" * 10,
    b"\0" * 100,
    b" " * 5_000_000,
]
GRAPHQL = [
    {"query": "{" + "a{" * 2000},
    {"query": "query { mlflowGetRun(input: {runId: 1}) { run { info { runId } } } }"},
    {"query": "{ __schema { types { name } } }", "variables": [1]},
    {"query": 5},
    {"operationName": "x" * 1000},
    {"query": "{ " + "a: __typename " * 3000 + "}"},
]


SEARCH = b"POST /api/2.0/mlflow/experiments/search HTTP/1.1\r\ncontent-type: application/json\r\n"
BODY = b'{"max_results": 1}'
CHUNKED = SEARCH + b"transfer-encoding: chunked\r\nHEAD\r\n"
GET = b"GET /get-artifact?path=x HTTP/1.1\r\nHEAD\r\n"
RAW = {
    "two lengths": SEARCH + b"content-length: 18\r\ncontent-length: 2\r\nHEAD\r\n" + BODY,
    "signed length": SEARCH + b"content-length: +18\r\nHEAD\r\n" + BODY,
    "hexadecimal length": SEARCH + b"content-length: 0x12\r\nHEAD\r\n" + BODY,
    "large length": SEARCH + b"content-length: 99999999999999999999\r\nHEAD\r\n" + BODY,
    "length and chunks": SEARCH + b"content-length: 18\r\ntransfer-encoding: chunked\r\nHEAD\r\n0\r\n\r\n",
    "request behind the last chunk": CHUNKED + b"0\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n",
    "chunk with more than it says": CHUNKED + b"2\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk of negative size": CHUNKED + b"-1\r\n" + BODY,
    "chunk of no size": CHUNKED + b"zz\r\n" + BODY,
    "chunk with a long extension": CHUNKED + b"12;" + b"x" * 100_000 + b"\r\n" + BODY + b"\r\n0\r\n\r\n",
    "unknown coding": SEARCH + b"transfer-encoding: xchunked\r\nHEAD\r\n" + BODY,
    "coding twice": SEARCH + b"transfer-encoding: chunked, chunked\r\nHEAD\r\n0\r\n\r\n",
    "NUL in a header": GET.replace(b"HEAD", b"x: a\0b\r\nHEAD"),
    "two hosts": GET.replace(b"HEAD", b"host: x\r\nHEAD"),
    "two accounts": GET.replace(b"HEAD", b"authorization: Basic eDp5\r\nHEAD"),
    "long header": GET.replace(b"HEAD", b"x: " + b"x" * 100_000 + b"\r\nHEAD"),
    "address of another": GET.replace(b"/get", b"http://example.org/get"),
    "address with a host": GET.replace(b"/get", b"http://127.0.0.1/get"),
    "path without a slash": GET.replace(b"/get", b"get"),
    "bytes in the path": GET.replace(b"/get", b"/\xff\xfe"),
    "bytes in the query": GET.replace(b"=x", b"=\xff"),
    "control character": GET.replace(b"/get", b"/\x01"),
    "long path": GET.replace(b"/get", b"/" + b"x" * 100_000),
    "no version": b"GET /\r\n\r\n",
    "version 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no text": bytes(range(256)) * 20,
}
"""Requests as bytes, in which HEAD stands for the headers of host and account."""


def send_raw(port: int, account: tuple[str, str], request: bytes) -> int:
    """Return the status of the answer to bytes."""
    encoded = base64.b64encode(":".join(account).encode()).decode()
    head = f"host: 127.0.0.1:{port}\r\nauthorization: Basic {encoded}\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request.replace(b"HEAD", head.encode()))
        return int(connection.recv(100).split()[1])


def odd() -> Iterator[Attack]:
    """Yield requests of anybody that are no attack on others, but odd: none may end in a 5xx."""
    for method, call, names in CALLS:
        good: dict[str, Any] = {
            "name": "odd",
            "run_id": "0" * 32,
            "experiment_id": "0",
            "source": "models:/a/1",
            "key": "k",
        }
        for name in names:
            yield from (Attack(method, f"/api/2.0/mlflow/{call}", good | {name: value}) for value in ODD_VALUES)
        yield from (Attack(method, f"/api/2.0/mlflow/{call}", body) for body in BODIES)
    for query in QUERIES:
        yield from (Attack("GET", f"/api/2.0/mlflow/{query}{part}") for part in ODD_PARTS if part.isascii())
    for headers in HEADERS:
        yield Attack("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", None, headers)
        yield Attack("GET", "/", None, headers)
        yield Attack("POST", "/api/2.0/mlflow/experiments/search", {"max_results": 1}, headers)
    yield from (Attack("POST", "/graphql", body) for body in GRAPHQL)
    for method in ("TRACE", "CONNECT", "PROPFIND", "FOO", "OPTIONS", "HEAD", "PUT", "PATCH", "DELETE"):
        yield from (Attack(method, path) for path in ("/", "/graphql", "/api/2.0/mlflow/runs/get", "/health"))
