"""Where artifacts lie: in the server's own folder. No user names a location, and none that the database has is followed."""

import os
from pathlib import Path
from typing import Any, NoReturn

from mlflow.exceptions import MlflowException
from mlflow.server import ARTIFACTS_DESTINATION_ENV_VAR, handlers
from mlflow.store.artifact import artifact_repository_registry
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as RegistryStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as TrackingStore
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import get_uri_scheme

from server import mistakes

DATABASE = "postgresql"
WITHIN = ("models", "runs", "mlflow-artifacts")
"""Beginnings of addresses that lead to something in this server. MLflow itself refuses those that name a host."""


class Experiments(TrackingStore):  # type: ignore[misc]
    """MLflow's store of experiments, whose artifacts lie where the server puts them."""

    def __init__(self, store_uri: str, artifact_uri: str) -> None:
        super().__init__(store_uri, artifact_uri)
        mistakes.blame(self)

    def create_experiment(self, name: str, artifact_location: str | None = None, tags: Any = None) -> str:
        """Create an experiment. Raises MlflowException if a location is given."""
        if artifact_location:
            refuse(f"artifact_location: not for clients to choose (found {artifact_location[:80]!r}, expected none)")
        return str(super().create_experiment(name, None, tags))


class Models(RegistryStore):  # type: ignore[misc]
    """MLflow's registry, whose versions are models of this server."""

    def __init__(self, store_uri: str) -> None:
        super().__init__(store_uri)
        mistakes.blame(self)

    def create_model_version(self, name: str, source: str, *arguments: Any, **options: Any) -> Any:
        """Create a version. Raises MlflowException if its source is elsewhere."""
        if get_uri_scheme(source) not in WITHIN:
            refuse(
                f"source: not in this server (found {source[:80]!r}, expected models:/, runs:/ or mlflow-artifacts:/)"
            )
        return super().create_model_version(name, source, *arguments, **options)


def confine() -> None:
    """Let this process, MLflow's server, read and write artifacts in its own folder alone, whatever a location says."""
    registered = artifact_repository_registry.get_registered_artifact_repositories()
    for scheme in set(registered) - set(WITHIN):
        registered[scheme] = _own_folder
    handlers._tracking_store_registry.register(
        DATABASE, lambda store_uri, artifact_uri: Experiments(store_uri, artifact_uri)
    )
    handlers._model_registry_store_registry.register(DATABASE, lambda store_uri: Models(store_uri))


def _own_folder(uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> LocalArtifactRepository:
    folder = Path(os.environ[ARTIFACTS_DESTINATION_ENV_VAR]).resolve()
    local = get_uri_scheme(uri) in ("", "file")
    if not (local and Path(local_file_uri_to_path(uri)).resolve().is_relative_to(folder)):
        refuse("artifact location: not in this server's folder")
    return LocalArtifactRepository(uri)


def refuse(message: str) -> NoReturn:
    """Raise the error that clients get with status 400."""
    raise MlflowException.invalid_parameter_value(message)
