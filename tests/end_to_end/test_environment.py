"""The shell and the home folder of a user: the same bytes and the same `lineage.key`, or another key, or one line."""

import hashlib
import shlex
import shutil
import sys

import pytest

from tests.end_to_end.conftest import Project

STAGES = ("fingerprint", "validate", "check", "prepare", "train", "evaluate")
OUTPUTS = ("code", "data/prepared", "models", "results")
NOT_OUTPUTS = ("resources", "checkpoints")  # usage of processor and memory; states of a training

PROGRAM = """
import sys
from xtcav_ml.cli.main import main
for stage in sys.argv[1:]:
    sys.argv[1:] = [stage]
    if stage == "evaluate":  # the stages before it have read the variables
        import xtcav_ml.pipeline.sheets
        xtcav_ml.pipeline.sheets.FRAMES_PER_CLASS = 1
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""
"""Runs all stages in a process of its own, which imports TensorFlow once."""

KERAS = """{"floatx": "float64", "epsilon": 0.1, "image_data_format": "channels_first", "backend": "jax"}"""
MATPLOTLIB = "font.size: 30\nsavefig.dpi: 30\nlines.linewidth: 9\n"

CHANGES_NOTHING = {
    "CDPATH": "/",
    "COLUMNS": "20",
    "DVC_GLOBAL_CONFIG_DIR": "{home}/.config/dvc",
    "DVC_NO_ANALYTICS": "1",
    "DVC_SITE_CACHE_DIR": "{home}/site",
    "DVC_STAGE": "other",
    "GIT_DIR": "/elsewhere",
    "GIT_INDEX_FILE": "/elsewhere",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_WORK_TREE": "/elsewhere",
    "GOTO_NUM_THREADS": "7",
    "HDF5_DRIVER": "core",
    "HDF5_USE_FILE_LOCKING": "FALSE",
    "HDF5_VOL_CONNECTOR": "none",
    "HOME": "{home}",
    "KERAS_HOME": "{home}/.keras",
    "KERAS_MAX_EPOCHS": "1",
    "KERAS_MAX_STEPS_PER_EPOCH": "1",
    "KERAS_NNX_ENABLED": "true",
    "LANG": "tr_TR.ISO-8859-9",
    "LC_ALL": "C",
    "MATPLOTLIBRC": "{home}/.config/matplotlib/matplotlibrc",
    "MKL_CBWR": "COMPATIBLE",
    "MKL_NUM_THREADS": "7",
    "MLFLOW_BACKEND_STORE_URI": "sqlite:///{home}/other.db",
    "MLFLOW_ENABLE_WORKSPACES": "true",
    "MLFLOW_EXPERIMENT_ID": "77",
    "MLFLOW_EXPERIMENT_NAME": "other",
    "MLFLOW_REGISTRY_URI": "sqlite:///{home}/other.db",
    "MLFLOW_REGISTRY_STORE_URI": "sqlite:///{home}/other.db",
    "MLFLOW_RUN_ID": "0123456789abcdef0123456789abcdef",
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "none",
    "MPLBACKEND": "none",
    "NUMBA_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "7",
    "OPTUNA_STORAGE": "sqlite:///{home}/other.db",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONHASHSEED": "1",
    "PYTHONIOENCODING": "ascii",
    "PYTHONOPTIMIZE": "2",
    "PYTHONUTF8": "0",
    "PYTHONWARNINGS": "error",
    "TF_CLI_CONFIG_FILE": "{home}/.terraformrc",
    "TF_CPP_MIN_LOG_LEVEL": "0",
    "TF_DETERMINISTIC_OPS": "0",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF_GPU_ALLOCATOR": "cuda_malloc_async",
    "TF_NUM_INTEROP_THREADS": "7",
    "TF_NUM_INTRAOP_THREADS": "7",
    "TZ": "Asia/Tokyo",
    "XDG_CONFIG_HOME": "{home}/.config",
}
"""Variables with values that would change, or stop, a training by itself; `home` has configuration files."""

OTHER_KEY = {
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4",
    "NUMBA_CPU_NAME": "generic",
    "NUMBA_DISABLE_JIT": "1",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "Prescott",
    "TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit",
    "XLA_FLAGS": "--xla_cpu_enable_fast_math=true",
}

REFUSED = {
    "DVC_ROOT": "/elsewhere",
    "KERAS_BACKEND": "torch",
    "PYTHONPATH": "{home}/lib",
    "TF_XLA_FLAGS": "--no_such_flag",
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A project whose stages have run in a clean shell."""
    project = Project.with_small_frames(tmp_path_factory.mktemp("plain"), real=True, **{"train.epochs": 1})
    project.run(sys.executable, "-c", PROGRAM, *STAGES)
    return project


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home folder with configuration files, and with another numpy."""
    folder = tmp_path_factory.mktemp("home")
    for name, text in (
        (".keras/keras.json", KERAS),
        (".config/matplotlib/matplotlibrc", MATPLOTLIB),
        ("lib/numpy.py", ""),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def outputs(project):
    """Return the hash of every file that the stages wrote, and the keys of the runs in the project's store."""
    paths = [path for name in OUTPUTS for path in (project.folder / name).rglob("*") if path.is_file()]
    names = {path: path.relative_to(project.folder) for path in paths}
    hashes = {
        str(name): hashlib.md5(path.read_bytes()).hexdigest()
        for path, name in names.items()
        if not set(NOT_OUTPUTS) & set(name.parts)
    }
    return hashes, [run.data.tags["lineage.key"] for run in project.runs()]


def culprits(plain, folder, variables):
    """Return the variables that change an output: all in one shell, and halves of them only if something differs."""
    shutil.rmtree(folder, ignore_errors=True)
    project = Project.with_small_frames(folder, real=True, **{"train.epochs": 1})
    shell = f"umask 0377; exec {shlex.join([sys.executable, '-c', PROGRAM, *STAGES])}"
    project.run("sh", "-c", shell, check=False, **variables)
    if outputs(project) == outputs(plain):
        return []
    names = list(variables)
    halves = [names] if len(names) == 1 else [names[: len(names) // 2], names[len(names) // 2 :]]
    if len(halves) == 1:
        return names
    found = [one for half in halves for one in culprits(plain, folder, {name: variables[name] for name in half})]
    return found or [" with ".join(names)]


def test_what_is_pinned_or_neutral_changes_no_byte_and_no_key(plain, home, tmp_path):
    assert len(outputs(plain)[0]) > 20
    assert len(outputs(plain)[1]) == 1
    variables = {name: value.format(home=home) for name, value in CHANGES_NOTHING.items()}
    assert culprits(plain, tmp_path / "project", variables) == []
    assert [path.name for path in (home / ".keras").iterdir()] == ["keras.json"]
    assert not (home / "other.db").exists()


@pytest.mark.parametrize("name", OTHER_KEY)
def test_what_counts_is_another_code_of_the_stages_that_it_changes(plain, tmp_path, name):
    shutil.copytree(plain.folder, tmp_path, dirs_exist_ok=True)
    project = Project(tmp_path)
    done = project.run("xtcav", "fingerprint", **{name: OTHER_KEY[name]})
    assert {"train", "evaluate"} <= set(
        done.stdout.removeprefix("fingerprint: ").replace(" changed", "").strip().split(", ")
    )
    assert project.json("code/train.json")["libraries"][name] == OTHER_KEY[name]
    assert "no program" not in project.run("xtcav", "fingerprint").stdout
    assert project.json("code/train.json") == plain.json("code/train.json")


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_one_line_before_anything_is_removed(plain, home, name):
    before = outputs(plain)
    value = REFUSED[name].format(home=home)
    done = plain.run("xtcav", "record" if name == "DVC_ROOT" else "validate", check=False, **{name: value})
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"xtcav: {name}: ")
    assert "Fix: " in line
    assert outputs(plain) == before


def test_the_settings_of_numba_in_the_project_are_refused(plain):
    path = plain.folder / ".numba_config.yaml"
    path.write_text("fastmath: 1\n")
    done = plain.run("xtcav", "validate", check=False)
    path.unlink()
    assert done.returncode == 1
    assert "xtcav: .numba_config.yaml: " in done.stderr


DVC_CONFIG = """[core]
    autostage = true
    hardlink_lock = true
    remote = elsewhere
[cache]
    dir = {home}/cache
    type = symlink
[remote "elsewhere"]
    url = {home}/remote
"""
GIT_CONFIG = """[core]
    fileMode = false
    autocrlf = true
    hooksPath = {home}/hooks
[commit]
    gpgsign = true
[status]
    showUntrackedFiles = no
[diff]
    external = /bin/false
"""


def test_the_settings_of_dvc_and_git_in_the_home_folder_decide_nothing(plain, tmp_path):
    home, project = tmp_path / "home", Project(tmp_path / "project")
    shutil.copytree(plain.folder, project.folder)
    for name, text in ((".config/dvc/config", DVC_CONFIG), (".gitconfig", GIT_CONFIG)):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text.format(home=home))
    staged = project.run("git", "diff", "--cached").stdout
    shutil.rmtree(project.folder / "models/checkpoints")  # by which a training that has ended is not made again
    project.run("dvc", "repro", "train", HOME=str(home))
    assert outputs(project) == (outputs(plain)[0], outputs(plain)[1] * 2)
    assert not any(path.is_symlink() for name in OUTPUTS for path in (project.folder / name).rglob("*"))
    assert project.run("git", "diff", "--cached").stdout == staged
