import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from server import mistakes


def test_errors_of_a_database_name_no_account():
    mistakes.hide_accounts()
    with (
        create_engine("sqlite://").connect() as connection,
        pytest.raises(OperationalError, match="no such table: accounts") as error,
    ):
        connection.execute(text("SELECT * FROM accounts WHERE name = :name"), {"name": "a member"})
    assert "a member" not in str(error.value)
