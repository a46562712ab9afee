import subprocess
from pathlib import Path

import psycopg
import pytest

from server import postgres
from xtcav_ml.system.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which a PostgreSQL has run, and ended."""
    folder = tmp_path_factory.mktemp("server")
    with postgres.embedded(folder) as database, connected(database) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    return folder


def connected(database, name="mlflow"):
    return psycopg.connect(dbname=name, autocommit=True, **database.keywords)


def test_what_was_written_is_there_again(folder):
    with postgres.embedded(folder) as database, connected(database) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_it_listens_to_this_user_alone(folder):
    with postgres.embedded(folder) as database, connected(database) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        rules = connection.execute("SELECT DISTINCT type, auth_method FROM pg_hba_file_rules").fetchall()
        assert ("local", "peer") in rules
        assert not {method for _, method in rules} & {"trust", "password"}
        assert Path(database.keywords["host"]).stat().st_mode & 0o077 == 0
        with pytest.raises(psycopg.OperationalError, match=r"Peer authentication failed"):
            psycopg.connect(host=database.keywords["host"], dbname="mlflow", user="another")


def test_a_second_one_on_the_same_folder_is_refused(folder):
    with (
        postgres.embedded(folder),
        pytest.raises(UserError, match=r'postgres\.log: .*lock file "postmaster\.pid"'),
        postgres.embedded(folder),
    ):
        pass


def test_a_folder_that_cannot_hold_it_is_one_line(tmp_path):
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres/notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"postgres\.log: PostgreSQL did not start"), postgres.embedded(tmp_path):
        pass
    assert (tmp_path / "postgres/notes.txt").read_text() == "mine"


def test_a_given_database_is_reached_by_the_environment_alone(folder):
    with postgres.embedded(folder) as own:
        with connected(own, "postgres") as connection:
            connection.execute("CREATE DATABASE team")
        host, user = own.keywords["host"], own.keywords["user"]
        database = postgres.named(f"postgresql://{user}:p%40ss@/team?host={host}&connect_timeout=7")
        assert database.environment() == {
            "PGHOST": host,
            "PGUSER": user,
            "PGPASSWORD": "p@ss",
            "PGCONNECT_TIMEOUT": "7",
        }
        assert "p@ss" not in repr(database)
        shown = subprocess.run(
            [postgres.programs() / "psql", "--no-password", "-Atc", "SELECT current_database()", "team_users"],
            env=database.environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout == "team_users\n"  # made beside the one that was named


def test_one_who_may_not_make_the_database_for_users_is_told_so(folder):
    with postgres.embedded(folder) as own:
        with connected(own) as connection:
            connection.execute("CREATE ROLE plain LOGIN PASSWORD 'hidden-word'")
            connection.execute("CREATE DATABASE alone")
        rules = folder / "postgres/pg_hba.conf"
        rules.write_text(f"local all plain scram-sha-256\n{rules.read_text()}")
        with connected(own) as connection:
            connection.execute("SELECT pg_reload_conf()")
        with pytest.raises(UserError, match=r"^XTCAV_DATABASE: .*database alone_users"):
            postgres.named(f"postgresql://plain:hidden-word@/alone?host={own.keywords['host']}")
        with pytest.raises(UserError, match=r'password authentication failed for user "\*\*\*"'):
            postgres.named(f"postgresql://plain:wrong-word@/alone?host={own.keywords['host']}")


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://name-x:word/x@127.0.0.1:1/runs",  # a / not written as %2F: libpq takes the password for a port
        "postgresql://name-x:1/word@127.0.0.1:1/runs",
        "postgresql://name-x:x@word@127.0.0.1:1/runs",
        "postgresql://name-x:word-x@127.0.0.1:1",
        "sqlite:///word-x.db",
        "postgresql+psycopg2://name-x:word-x@127.0.0.1:1/runs",
        "postgresql://name-x:word-x@127.0.0.1:1/runs",
    ],
)
def test_an_address_that_does_not_work_is_one_line_without_name_and_password(address):
    with pytest.raises(UserError, match=r"^XTCAV_DATABASE: ") as error:
        postgres.named(address)
    assert "word" not in str(error.value).lower().replace("password", "")
    assert "name-x" not in str(error.value)
    assert "\n" not in str(error.value)
