"""What stands in front of MLflow in each of its processes: which routes there are, for whom, and what a request may be.

`python -m server.gate server ...` is `mlflow server ...` with it. It needs MLflow and two modules
of the package, which is all that compose.yaml gives it.
"""

import asyncio
import base64
import hashlib
import re
import secrets
import time
import urllib.parse
from collections.abc import Callable

import anyio.to_thread

from xtcav_ml.system import mlflow_page
from xtcav_ml.system.http_limits import Body, Limited, Rate, Refused, Scope, header, plain_json, sound

REQUEST = 4 * 2**20  # bytes of a request in JSON; MLflow takes batches of 1 MB
ARTIFACT = 2 * 2**30  # bytes of one artifact
QUERY = 8192  # characters after the question mark
REQUESTS, REQUEST_BURST = 200.0, 2000  # a second, of one address
ATTEMPTS, ATTEMPT_BURST = 1.0, 100  # passwords that were not known to be right, of one address and for one account
THREADS = 20  # requests that MLflow answers at once; the others wait for their turn
REMEMBERED, ACCOUNTS = 60.0, 10_000  # seconds for which a password is known to have been right, and how many

SERVED = "trackers or MLflow's pages of runs and models"
HEALTH = "/health"
ARTIFACTS = re.compile(r"/(ajax-)?api/2\.0/mlflow-artifacts/artifacts(/.*)?")
SUBJECTS = "experiments|runs|metrics|registered-models|model-versions|logged-models|users|roles"
ROUTES = re.compile(
    rf"/|/static-files/.*|/graphql|/(model-versions/)?get-artifact|{ARTIFACTS.pattern}"
    rf"|/(ajax-)?api/[23]\.0/mlflow/(({SUBJECTS})(/.*)?|artifacts/list|server-info)"
)
"""All that trackers and MLflow's pages of runs and models need. Assistant, gateway, jobs, prompts, scorers, traces, webhooks,
metrics of the server and the sign-up form are none of it."""
CLOSED = re.compile(r".*/(runs/create-promptlab-run|users/create-ui)")
HEADERS = set(
    b"accept accept-encoding authorization connection content-length content-type expect host if-modified-since "
    b"if-none-match origin range sec-fetch-site sec-fetch-mode sec-fetch-dest transfer-encoding user-agent "
    b"access-control-request-method access-control-request-headers".split()
)
"""Headers that MLflow sees."""
RETRY = {"retry-after": "2"}
REALM = 'Basic realm="mlflow"'


class Gate:
    """Admits requests to MLflow: only to ROUTES, only of those with an account, only what MLflow can take.

    `authenticate(name, password)` returns what is true if the password is right; it may take its time.
    """

    def __init__(self, authenticate: Callable[[str, str], object]) -> None:
        self._authenticate = authenticate
        self._requests, self._attempts = Rate(REQUESTS, REQUEST_BURST), Rate(ATTEMPTS, ATTEMPT_BURST)
        self._known: dict[bytes, float] = {}  # hashes of what was right, oldest first, and when
        self._key = secrets.token_bytes(32)

    async def admit(self, scope: Scope) -> Body:
        """Return what the body may be. Raises Refused for a request that is not for MLflow."""
        path = sound_path(scope)
        if path == HEALTH:
            return Body(0)
        self._requests.take(scope["client"][0])
        await self._require_account(scope)
        if not ROUTES.fullmatch(path) or CLOSED.fullmatch(path):
            raise Refused(404, f"path: not found (expected a route of {SERVED}). Fix: see server/README.md")
        require_sound_query(scope["query_string"])
        scope["headers"] = [(name, value) for name, value in scope["headers"] if name in HEADERS]
        if not all(value.isascii() for _, value in scope["headers"]):
            raise Refused(400, "headers: not plain (found other characters, expected ASCII)")
        if scope["method"] == "PUT" and ARTIFACTS.fullmatch(path):
            return Body(ARTIFACT)
        return Body(REQUEST, _require_object)

    async def _require_account(self, scope: Scope) -> None:
        """Raise Refused if the password is wrong, or if too many were."""
        name, password = credentials(header(scope, "authorization"))
        entry = hashlib.blake2b(f"{name}:{password}".encode(), key=self._key).digest()
        now = time.monotonic()
        if now - self._known.get(entry, -REMEMBERED) < REMEMBERED:
            return
        keys = (f"address {scope['client'][0]}", f"account {name}")
        for key in keys:
            self._attempts.take(key)
        refusal = await self._check(name, password)
        if refusal is None or refusal.status != 401:
            for key in keys:
                self._attempts.give_back(key)
        if refusal is not None:
            raise refusal
        self._known.pop(entry, None)
        self._known[entry] = now
        if len(self._known) > ACCOUNTS:
            del self._known[next(iter(self._known))]

    async def _check(self, name: str, password: str) -> Refused | None:
        """Return why this password does not let in: it is wrong, or the database does not answer."""
        try:
            right = await asyncio.to_thread(self._authenticate, name, password)
        except Exception:  # whatever it is, MLflow's clients try again
            return Refused(
                503,
                "accounts: not known (found a database that does not answer, expected one that does). Fix: try again",
                **RETRY,
            )
        return (
            None
            if right
            else Refused(
                401, "account: not found (expected an existing name with its password)", **{"www-authenticate": REALM}
            )
        )


def _require_object(body: bytes) -> None:
    if body and not isinstance(plain_json(body), dict):
        raise Refused(400, "body: no JSON object (found another value, expected {...})")


def credentials(authorization: str) -> tuple[str, str]:
    """Return name and password of a header. Raises Refused, status 401, if it has none."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise ValueError
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
    except ValueError:
        name = colon = password = ""
    if not (name and colon and sound(name + password)):
        raise Refused(401, "account: missing (expected a name and a password)", **{"www-authenticate": REALM})
    return name, password


def sound_path(scope: Scope) -> str:
    """Return the path. Raises Refused if it, or what it is if it is decoded again and again, leads up or elsewhere."""
    text = scope["raw_path"].partition(b"?")[0].decode("latin-1")
    plain = text.isascii() and len(text) <= QUERY
    before = ""
    while plain and text != before:
        before, text = text, urllib.parse.unquote(text, errors="surrogateescape")
        first, *parts = text.split("/")
        plain = (
            not first
            and _printable(text)
            and "\\" not in text
            and not {".", ".."} & set(parts)
            and "" not in parts[:-1]
        )
    if not plain:
        raise Refused(
            400, f"path: not plain (found {text[:60]!r}, expected no dots, no empty part, and only what can be stored)"
        )
    return str(scope["path"])


def require_sound_query(query: bytes) -> None:
    """Raise Refused for a query of which MLflow could not store or find a value."""
    try:
        values = urllib.parse.parse_qsl(query.decode("ascii"), True, errors="strict", max_num_fields=1000)
    except ValueError:
        values = [("", "\0")]
    if len(query) > QUERY or not all(sound(text) for pair in values for text in pair):
        raise Refused(
            400, f"query: not plain (found {query[:60]!r}, expected at most {QUERY} characters, in UTF-8 with %XX)"
        )


def _printable(text: str) -> bool:
    return sound(text) and not any(ord(character) < 32 or ord(character) == 127 for character in text)


def create_app() -> Limited:
    """Return what uvicorn serves: MLflow with accounts, behind the gate.

    A request that logs holds one connection to the database while it asks for a second one. Were there as many requests as
    connections (settings.env), all could wait for each other until SQLAlchemy gives up, for 30 s.
    """
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    from mlflow.server import app, auth

    from server import locations, mistakes

    mistakes.hide_accounts()
    locations.confine()
    mistakes.answer(app)
    mlflow_page.change_page(app)
    served = auth.create_app(app)
    mistakes.blame(auth.store)
    return Limited(served, Gate(auth._authenticate_cached).admit)


def main() -> None:
    """Run MLflow's command line, whose `server` then serves `create_app`."""
    import mlflow.cli
    import mlflow.server

    mlflow.server._find_app = lambda name: "server.gate:create_app"
    mlflow.cli.cli()


if __name__ == "__main__":
    main()
