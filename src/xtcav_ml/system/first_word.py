"""A word on the terminal within a second of a command, if it says nothing itself until then: libraries take long to import."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

from xtcav_ml.system import streams

SECONDS = 0.5  # after the start of Python, which takes a while itself
SLOW = {"tensorflow": "TensorFlow", "mlflow": "MLflow", "jax": "JAX", "optuna": "Optuna", "matplotlib": "matplotlib"}
"""Modules that take long to import, and their names."""


@contextlib.contextmanager
def within_a_second(command: str) -> Iterator[None]:
    """Tell what a command is at, on a terminal's standard error only, if it has printed nothing after SECONDS."""
    if not sys.stderr.isatty():
        yield
        return
    terminal = os.dup(2)  # which leads nowhere while TensorFlow is imported
    timer = threading.Timer(SECONDS, _say, [command, terminal])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        os.close(terminal)


def _say(command: str, terminal: int) -> None:
    if streams.silent():
        imported = [name for module, name in SLOW.items() if _is_importing(module)]
        doing = f"loads {imported[0]}" if imported else "is at work"
        with contextlib.suppress(OSError):
            os.write(terminal, f"xtcav: {command}: {doing}\n".encode())


def _is_importing(module: str) -> bool:
    """Return whether another thread imports a module at the moment."""
    return bool(getattr(getattr(sys.modules.get(module), "__spec__", None), "_initializing", False))
