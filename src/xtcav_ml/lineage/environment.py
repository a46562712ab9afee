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


CLASS = "class of processor"
INSTRUCTIONS = {"AVX-512": "avx512bw", "AVX2": "avx2"}  # by the flag that the system lists


def environment(libraries: Iterable[str] = RECORDED_LIBRARIES) -> dict[str, str]:
    """Return what a run records of the machine and the libraries, by name.

    These are Python, platform, cores, class of processor, processor, backend, versions of installed `libraries`, and
    variables that count.
    """
    machine = {"python": platform.python_version(), "platform": platform.platform(), "cores": str(os.cpu_count())}
    machine[CLASS] = processor_class()
    return {**machine, **deciding(libraries), **variables.counted()}


def deciding(libraries: Iterable[str]) -> dict[str, str]:
    """Return all that can change the bits of a result: processor, backend, and the installed versions of `libraries`.

    The number of cores counts for JAX alone, which uses all: TensorFlow has the threads of train.threads, and what numpy
    computes in training (`optimizers.dot`) is one thread's.
    """
    cores = {"cores": str(os.cpu_count())} if backend() == "jax" else {}
    return {"cpu": _cpu(), **cores, "backend": backend(), **versions(libraries)}


def processor_class() -> str:
    """Return the class of processor: AVX-512, AVX2, or the kind of machine where it has neither.

    These are its widest vector instructions, by which oneDNN chooses how a CPU adds if ONEDNN_MAX_CPU_ISA lets it
    (docs/training.md).
    """
    flags = _of_cpu("flags").split()
    return next((name for name, flag in INSTRUCTIONS.items() if flag in flags), platform.machine())


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
    return _of_cpu("model name") or platform.processor() or platform.machine()


def _of_cpu(name: str) -> str:
    """Return what the system says of its first processor, as text; nothing where it says nothing."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(name):
                return line.partition(":")[2].strip()
    return ""
