"""A word on the terminal within a second of a command, if it says nothing itself until then: libraries take long to import."""

import contextlib
import sys
import threading
from collections.abc import Iterator

from xtcav_ml.system import streams
from xtcav_ml.system.errors import warn

SECONDS = 0.6
SLOW = {"tensorflow": "TensorFlow", "mlflow": "MLflow", "jax": "JAX", "optuna": "Optuna", "matplotlib": "matplotlib"}
"""Modules that take long to import, and their names."""


@contextlib.contextmanager
def within_a_second(command: str) -> Iterator[None]:
    """Tell what a command is at, on a terminal's standard error only, if it has printed nothing after SECONDS."""
    timer = threading.Timer(SECONDS, _say, [command])
    timer.daemon = True
    if sys.stderr.isatty():
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _say(command: str) -> None:
    if streams.silent():
        imported = [name for module, name in SLOW.items() if _is_importing(module)]
        warn(f"{command}: {f'loads {imported[0]}' if imported else 'is at work'}")


def _is_importing(module: str) -> bool:
    """Return whether another thread imports a module at the moment."""
    return bool(getattr(getattr(sys.modules.get(module), "__spec__", None), "_initializing", False))
