"""A request of another shape than MLflow expects is answered with 400, where MLflow itself would say that it is broken."""

import contextlib
from collections.abc import Iterator
from typing import Any

from flask import Flask
from graphql import GraphQLError
from mlflow.exceptions import MlflowException
from sqlalchemy import Connection, Engine, event

OF_REQUESTS = (AttributeError, KeyError, IndexError, TypeError, ValueError, RecursionError)
"""What Python raises for a value of another type or size than the code expects. UnicodeError is a ValueError."""

JSON = {"content-type": "application/json"}


def answer(app: Flask) -> None:
    """Let `app` answer with 400 if a handler raises one of OF_REQUESTS."""
    for kind in (*OF_REQUESTS, GraphQLError):
        app.register_error_handler(
            kind, lambda error: (wrong(error).serialize_as_json(), 400, {"content-type": "application/json"})
        )


def blame(store: Any) -> None:
    """Let the sessions of one of MLflow's stores raise the error for 400 if one of OF_REQUESTS ends them."""
    sessions = store.ManagedSessionMaker

    @contextlib.contextmanager
    def blaming(*arguments: Any, **options: Any) -> Iterator[Any]:
        try:
            with sessions(*arguments, **options) as session:
                yield session
        except MlflowException as error:
            if isinstance(error.__cause__, OF_REQUESTS):
                raise wrong(error.__cause__) from error
            raise

    store.ManagedSessionMaker = blaming


def wrong(error: Exception) -> MlflowException:
    """Return what says that the request was of another shape than MLflow expects."""
    return MlflowException.invalid_parameter_value(
        f"request: a value of another type or size (found {str(error)[:120]!r}, expected those of MLflow's documentation)"
    )


def hide_accounts() -> None:
    """Let errors of databases show no values: in the log they would name accounts when PostgreSQL has gone."""

    def hide(connection: Connection) -> None:
        connection.engine.hide_parameters = True

    event.listen(Engine, "engine_connect", hide)
