"""The libraries and the machine that a process runs on."""

import contextlib
import importlib.metadata
import os
import platform
from collections.abc import Iterable
from pathlib import Path

from xtcav_ml.system import variables

RECORDED_LIBRARIES = (
    *("dvc", "h5py", "jax", "jaxlib", "keras", "mlflow", "numba", "numpy", "optuna", "tensorflow"),
    *("jax-cuda13-plugin", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13"),
)


def environment(libraries: Iterable[str] = RECORDED_LIBRARIES) -> dict[str, str]:
    """Return Python, platform, processor, cores, backend, versions of installed `libraries`, and variables that count."""
    machine = {"python": platform.python_version(), "platform": platform.platform(), "cores": str(os.cpu_count())}
    return {**machine, **deciding(libraries), **variables.counted()}


def deciding(libraries: Iterable[str]) -> dict[str, str]:
    """Return all that can change the bits of a result: processor, backend, and the installed versions of `libraries`.

    The number of cores counts for JAX alone, which uses all: TensorFlow has the threads of train.threads, and what numpy
    computes in training (`optimizers.dot`) is one thread's.
    """
    cores = {"cores": str(os.cpu_count())} if backend() == "jax" else {}
    return {"cpu": _cpu(), **cores, "backend": backend(), **versions(libraries)}


def backend() -> str:
    """Return the backend that KERAS_BACKEND names, TensorFlow by default."""
    return os.environ.get("KERAS_BACKEND") or "tensorflow"


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
    return names[0] if names else platform.machine()
