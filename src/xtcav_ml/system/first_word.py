"""A word on the terminal within a second of a command, if it says nothing itself until then: libraries take long to import."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator

from xtcav_ml.system import streams

SECONDS = 0.7  # after the start of Python, which takes a while itself
LOOK_SECONDS = 0.1  # between looks at what is imported
SLOW = {"tensorflow": "TensorFlow", "mlflow": "MLflow", "jax": "JAX", "optuna": "Optuna", "matplotlib": "matplotlib"}
"""Modules that take long to import, and their names."""


@contextlib.contextmanager
def within_a_second(command: str) -> Iterator[None]:
    """Tell on a terminal's standard error what a command loads, or that it is at work, while it has printed nothing.

    Of a stage `dvc` has said already that it is at work.
    """
    if not sys.stderr.isatty():
        yield
        return
    terminal, done = os.dup(2), threading.Event()  # descriptor 2 leads nowhere while TensorFlow is imported
    watch = threading.Thread(target=_watch, args=(command, terminal, done), name="first word", daemon=True)
    watch.start()
    try:
        yield
    finally:
        done.set()
        watch.join()
        os.close(terminal)


def _watch(command: str, terminal: int, done: threading.Event) -> None:
    started, silent = time.monotonic(), "DVC_STAGE" not in os.environ
    while not done.wait(LOOK_SECONDS) and streams.silent():
        loaded = next((name for module, name in SLOW.items() if _is_importing(module)), None)
        if loaded or (silent and time.monotonic() - started > SECONDS):
            silent = False
            with contextlib.suppress(OSError):
                os.write(terminal, f"xtcav: {command}: {f'loads {loaded}' if loaded else 'is at work'}\n".encode())
        if loaded:
            return


def _is_importing(module: str) -> bool:
    """Return whether another thread imports a module at the moment."""
    return bool(getattr(getattr(sys.modules.get(module), "__spec__", None), "_initializing", False))
