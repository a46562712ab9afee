"""The libraries and the machine that a process runs on."""

import contextlib
import importlib.metadata
import os
import platform
from collections.abc import Iterable
from pathlib import Path

LIBRARIES = ("dvc", "h5py", "jax", "jaxlib", "keras", "mlflow", "numba", "numpy", "optuna", "tensorflow")
JAX = ("jax", "jaxlib")


def environment(libraries: Iterable[str] = LIBRARIES) -> dict[str, str]:
    """Return Python, platform, processor, backend, and the versions of those libraries that are installed."""
    return {"python": platform.python_version(), "platform": platform.platform(), **deciding(libraries)}


def deciding(libraries: Iterable[str]) -> dict[str, str]:
    """Return all that can change the bits of a result: processor, backend, and the installed versions of `libraries`."""
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    names = [*libraries, *JAX] if backend == "jax" else libraries
    return {"cpu": _cpu(), "backend": backend, **versions(names)}


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """Return the versions of those libraries that are installed."""
    installed = {}
    for name in libraries:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return installed


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"
