"""Environment variables that could decide a result unseen: this package sets or removes them, or they count as code.

`COUNTED` are part of the fingerprint of each stage that uses the library, as versions are: another value is another
`lineage.key`, and `dvc repro` runs the stage again. So does CUDA_VISIBLE_DEVICES where it hides all GPUs of a machine. A
variable in no table changes no byte: nothing here computes with OpenMP or MKL (OMP_*, MKL_*); no order of a set, local time,
width of a terminal or language is written (PYTHONHASHSEED, TZ, COLUMNS, LANG). MLFLOW_TRACKING_URI and KERAS_BACKEND are meant.
"""

import fnmatch
import importlib.machinery
import itertools
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from xtcav_ml.system.errors import UserError

SET = {
    "KERAS_HOME": os.devnull,  # a keras.json in the home folder has the type, axis order and epsilon of every network
    "TF_ENABLE_ONEDNN_OPTS": "1",  # without oneDNN, other last bits
    "OPENBLAS_NUM_THREADS": "1",  # sums that threads share have other last bits, and some machines more cores
}

DEFAULT = {
    # the instructions of oneDNN, by which it chooses how to add: a training has the same bits with AVX2 and with AVX-512
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}
"""Set where the user has not; another value counts."""

FIRST = {
    # on a GPU else sums in the order in which threads arrive, and the convolution that was the fastest in a trial
    "XLA_FLAGS": "--xla_gpu_deterministic_ops=true",
}
"""Put before the user's own value, which may say otherwise, and alone counts."""

REMOVED = (
    # train.threads is the number of threads, and TensorFlow is made deterministic
    "TF_NUM_INTRAOP_THREADS TF_NUM_INTEROP_THREADS TF_OVERRIDE_GLOBAL_THREADPOOL TF_DETERMINISTIC_OPS TF_CUDNN_DETERMINISTIC "
    # limits of epochs and steps, flax, several machines: params.yaml decides
    "KERAS_[!B]* "
    # other drivers, and other places of files
    "HDF5_* "
    # styles: figures has its own
    "MATPLOTLIBRC MPLBACKEND "
    # the run, its experiment, its store and when it is written are given with each request
    "MLFLOW_RUN_ID MLFLOW_EXPERIMENT_* MLFLOW_REGISTRY_URI MLFLOW_ENABLE_ASYNC_LOGGING MLFLOW_ACTIVE_MODEL_ID "
    # of a server: `make ui` serves what it is told, and a client is none
    "MLFLOW_*STORE_URI MLFLOW_*ARTIFACT_ROOT MLFLOW_*ARTIFACTS_DESTINATION MLFLOW_ARTIFACTS_ONLY MLFLOW_SERVE_ARTIFACTS "
    "MLFLOW_STATIC_PREFIX MLFLOW_*ICORN_OPTS MLFLOW_EXPOSE_PROMETHEUS MLFLOW_ENABLE_WORKSPACES MLFLOW_SQLALCHEMYSTORE_* "
    "MLFLOW_SERVER_ENABLE_* MLFLOW_SERVER_DISABLE_* MLFLOW_TRACE_ARCHIVAL_CONFIG "
    # another repository than the folder's, as a hook of git has it, and another meaning of paths
    "GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_COMMON_DIR GIT_OBJECT_DIRECTORY GIT_NAMESPACE GIT_PREFIX GIT_*_PATHSPECS "
    "GIT_EXTERNAL_DIFF GIT_DIFF_OPTS GIT_TRACE* "
    # warnings as errors, no assertions, other encodings, a prompt at the end, and slow checks
    "PYTHONWARNINGS PYTHONOPTIMIZE PYTHONUTF8 PYTHONIOENCODING PYTHONCOERCECLOCALE PYTHONLEGACY* PYTHONINSPECT PYTHONDEVMODE "
    "PYTHONMALLOC PYTHONTRACEMALLOC PYTHONDEBUG PYTHONVERBOSE PYTHONINTMAXSTRDIGITS"
)

NEUTRAL = (
    # locks of files, plugins for filters
    "HDF5_USE_FILE_LOCKING HDF5_PLUGIN_PATH HDF5_DISABLE_VERSION_CHECK "
    # Terraform's
    "TF_ACC TF_CLI_* TF_DATA_DIR TF_IGNORE TF_INPUT TF_IN_AUTOMATION TF_LOG* TF_PLUGIN_* TF_REATTACH_* TF_REGISTRY_* "
    "TF_STATE_* TF_TOKEN_* TF_VAR_* TF_WORKSPACE "
    # messages, memory, several machines, files that are shown
    "TF_CPP_* TF_FORCE_GPU_ALLOW_GROWTH TF_GPU_ALLOCATOR TF_GPU_HOST_MEM_LIMIT_IN_MB TF_CONFIG TF_DUMP_* TF_SQLITE_* "
    "TF_USE_LEGACY_KERAS *NDNN_VERBOSE* DNNL_VERBOSE* *_JIT_PROFILE* OPENBLAS_VERBOSE NUMPY_MADVISE_HUGEPAGE "
    "NUMPY_WARN_IF_NO_MEM_POLICY NUMBA_CACHE_* NUMBA_NUM_THREADS NUMBA_THREADING_LAYER* NUMBA_DUMP_* NUMBA_DEBUG_* "
    "NUMBA_WARNINGS NUMBA_DISABLE_PERFORMANCE_WARNINGS NUMBA_COLOR_SCHEME JAX_COMPILATION_CACHE_* JAX_PERSISTENT_* JAX_LOG* "
    "JAX_TRACEBACK_* XLA_PYTHON_CLIENT_* XLA_CLIENT_MEM_FRACTION "
    # messages of a GPU's libraries, and their folders
    "CUBLAS*LOG* CUDNN_*LOG* CUDNN_HOME CUDNN_PATH CUDNN_ROOT* CUDNN_DIR CUDNN_INC* CUDNN_LIB*"
)
"""Exceptions from REMOVED and COUNTED: they cannot change a byte."""

COUNTED = {
    "numpy": "NPY_* NUMPY_* OPENBLAS_CORETYPE GLIBC_TUNABLES",
    "numba": "NUMBA_*",
    "tensorflow": "TF_* XLA_* ONEDNN_* DNNL_* AUTOGRAPH_* NVIDIA_TF32_OVERRIDE CUBLAS* CUDNN_*",
    "jax": "JAX_* TF_* XLA_* NVIDIA_TF32_OVERRIDE CUBLAS* CUDNN_*",  # XLA was TensorFlow's
}
"""By the library that reads them; all others that it reads are among them, also those of its future versions."""

VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"

LIBRARIES = (*COUNTED, "h5py", "keras", "scipy", "sklearn", "matplotlib", "mlflow", "optuna", "typer")
"""Of which another version, before the locked one on the path, would compute or store something else."""


def pin() -> list[str]:
    """Set and remove variables of this process, before it imports what reads them; returns the removed ones."""
    removed = [name for name in os.environ if _matches(name, REMOVED) and not _matches(name, NEUTRAL, *SET)]
    for name in removed:
        del os.environ[name]
    os.environ.update(SET)
    for name, value in DEFAULT.items():
        os.environ[name] = os.environ.get(name) or value
    for name, first in FIRST.items():
        os.environ[name] = f"{first} {_own(name, os.environ)}".rstrip()
    return removed


def pin_process() -> None:
    """Pin variables, and start Python again if it has read one of them already, or if texts and names are not UTF-8.

    New files can be read by who writes them, whatever the umask. Raises UserError if PYTHONPATH has another library.
    """
    os.umask(os.umask(0) & 0o077)
    removed = pin()
    utf8 = sys.getfilesystemencoding() == "utf-8"
    if not utf8:
        os.environ["PYTHONUTF8"] = "1"
    if not utf8 or any(name.startswith("PYTHON") for name in removed):
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    for folder, name in itertools.product(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), LIBRARIES):
        other = importlib.machinery.PathFinder.find_spec(name, [folder])
        if other is not None and other.origin:
            raise UserError(
                f"PYTHONPATH: another {name} than the locked one (found {other.origin!r}, expected none there). Fix: unset "
                "PYTHONPATH"
            )


def counted(libraries: Iterable[str] = COUNTED, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables of an environment that may change what `libraries` compute; an empty one is not set."""
    own = {name: _own(name, environment) for name in environment if counts(name, libraries)}
    if {"tensorflow", "jax"} & {*libraries} and hides_gpus(environment):
        own[VISIBLE_GPUS] = "-1"  # which of several equal ones a batch system gave does not count
    return {name: value for name, value in sorted(own.items()) if value}


def _own(name: str, environment: Mapping[str, str]) -> str:
    """Return the user's own value of a variable."""
    value = environment.get(name, "").removeprefix(FIRST.get(name, "")).strip()
    return "" if value == DEFAULT.get(name) else value


def counts(name: str, libraries: Iterable[str] = COUNTED) -> bool:
    """Return whether a variable may change what `libraries` compute."""
    patterns = [COUNTED.get(library, "") for library in libraries]
    return _matches(name, *patterns) and not _matches(name, REMOVED, NEUTRAL, *SET)


def has_gpu(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether this machine has an NVIDIA GPU that libraries may use."""
    return bool(_gpus()) and not hides_gpus(environment)


def hides_gpus(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether a variable hides all NVIDIA GPUs of this machine: its CPU, with other last bits, then trains."""
    shown, gpus = environment.get(VISIBLE_GPUS, "0").split(",")[0].strip(), _gpus()
    missing = shown.lstrip("-").isdigit() and int(shown) not in range(gpus)
    return gpus > 0 and (missing or shown in ("", "NoDevFiles"))


def visible_gpus(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the NVIDIA GPUs of this machine that libraries may use, by the names that CUDA_VISIBLE_DEVICES has for them."""
    named = [name.strip() for name in environment.get(VISIBLE_GPUS, "").split(",") if name.strip()]
    return (named or [str(number) for number in range(_gpus())]) if has_gpu(environment) else []


def _gpus() -> int:
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def _matches(name: str, *tables: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for table in tables for pattern in table.split())
