"""The machine, and its limits as measured in this run: arithmetic of matrix products, and copying within memory."""

import os
import platform
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import contenders

SIDE = 1536  # of the matrices
COPIED = 2**28  # bytes
LIBRARIES = ("tensorflow", "keras", "jax", "torch", "numpy", "numba", "h5py")


def cores() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0))


def described() -> str:
    """Return processor, memory and versions in a line."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = set(facts.get("flags", "").split())
    vectors = next((name for flag, name in VECTORS.items() if flag in flags), "no AVX2")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    versions = [f"{name} {version}" for name in LIBRARIES if (version := _version(name))]
    model = facts.get("model name", platform.processor() or platform.machine())
    return f"{model} ({vectors}), {cores()} cores, {memory:.0f} GB; Python {platform.python_version()}, {', '.join(versions)}"


VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2", "asimd": "NEON"}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def product() -> tuple[Callable[[], object], Any]:
    """Return a product of two matrices of float32, by the BLAS of numpy with all cores."""
    rng = np.random.default_rng(0)
    first, second = rng.random((2, SIDE, SIDE), dtype=np.float32)
    out = np.empty_like(first)
    return lambda: np.matmul(first, second, out), None


def copy() -> tuple[Callable[[], object], Any]:
    """Return a copy of COPIED bytes, by all cores: numpy lets other threads go on meanwhile."""
    source = np.ones(COPIED, np.uint8)
    target = np.empty_like(source)
    pool = ThreadPoolExecutor(cores())
    parts = [np.array_split(whole, cores()) for whole in (target, source)]
    return lambda: list(pool.map(np.copyto, *parts)), None


LIMITS = {"matrix product": (product,), "copy": (copy,)}


def rates(times: dict[str, list[float]]) -> dict[str, float]:
    """Return operations a second of a matrix product, and bytes a second that a copy reads and writes."""
    product_s, copy_s = (contenders.median(times[name]) for name in LIMITS)
    return {"matrix product": 2 * SIDE**3 / product_s, "copy": 2 * COPIED / copy_s}
