"""One process for a session with TensorFlow, MLflow and DVC imported; each `xtcav` and `dvc` of a test is a fork of it, and
so is each `python -c` and `python -m dvc` that a fork starts.

Tests put copies of this file, named as the programs, first on the PATH. Such a copy sends its folder, arguments, environment,
limits and standard streams to the warm process over a socket, and ends with the exit code that comes back. A signal that it
gets goes on to the fork; if it is killed, so is the fork. Nothing of TensorFlow has run before the fork, so the weights are the
same bits as those of a process of its own (tests/end_to_end/test_repro_again.py). Child processes of a fork are forks, too.
"""

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import multiprocessing
import os
import resource
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

PROGRAMS = ("xtcav", "dvc", "python")
SOCKET = "XTCAV_TESTS_SOCKET"
"""Environment variable with the path of the socket."""
ALL_FRAMES = "XTCAV_TESTS_ALL_FRAMES"
"""Environment variable, set where pictures are as users get them; otherwise they are small, and show one frame of a class."""

SMALL_PICTURES = {"figure.constrained_layout.use": False, "savefig.dpi": 20}

IMPORTED = (
    "xtcav_ml.learning.backend",
    "xtcav_ml.pipeline.train",
    "xtcav_ml.pipeline.evaluate",
    "xtcav_ml.tracking.tracker",
)
IMPORTED += (
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_store",
    "dvc.cli",
    "dvc.commands.repro",
    "dvc.repo.reproduce",
    "scipy.stats",
    "sklearn.metrics",
    "typer.main",
    "rich.progress",
    "matplotlib.backends.backend_agg",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
)
IMPORTED += (
    "dvc.cli.parser",
    "dvc.data_cloud",
    "dvc.lock",
    "dvc.repo.graph",
    "dvc.repo.metrics.show",
    "dvc.repo.params.show",
    "dvc.repo.plots",
    "dvc.rwlock",
    "dvc.scm",
    "dvc_data.hashfile.db.local",
    "dvc_data.hashfile.status",
    "dulwich.repo",
    "networkx",
    "fsspec.implementations.memory",
    "alembic.command",
    "alembic.config",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "mlflow.tracing.export",
    "mlflow.tracing.processor.base_mlflow",
    "opentelemetry.sdk.metrics",
    "sqlalchemy.dialects.sqlite",
    "xtcav_ml.cli.main",
)
"""The first decides what Keras imports, so it is the first."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
HEAD = f"import _signal; _signal.pthread_sigmask(_signal.SIG_BLOCK, {[*map(int, SIGNALS)]})\n"
"""First line of a program: a signal that comes before it has connected is passed on then."""

Request = tuple[list[str], str, dict[str, str], int, tuple[int, int], list[int], bool]
"""Arguments, folder, environment, umask, limits of a file's size, and open standard streams of a program that is to run; and
whether it leads a session, so that it gets signals together with the programs that it starts."""


def environment(folder: Path) -> dict[str, str]:
    """Return what runs PROGRAMS in the warm process of `folder`, which is started if it does not run."""
    with exclusive(folder / "warm.lock"):
        programs, path = folder / "warm", folder / "warm" / "socket"
        if not programs.exists():
            programs.mkdir()
            for name in PROGRAMS:
                (programs / name).write_text(f"#!{sys.executable} -IS\n{HEAD}{Path(__file__).read_text()}")
                (programs / name).chmod(0o755)
            owner = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
            with (folder / "warm.log").open("w") as log:
                command = [sys.executable, "-m", "tests.warm_process", str(path), str(owner)]
                root = Path(__file__).parent.parent
                process = subprocess.Popen(
                    command, cwd=root, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
            while not path.exists():
                assert process.poll() is None, (folder / "warm.log").read_text()
                time.sleep(0.05)
    return {
        "PATH": f"{programs}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        SOCKET: str(path),
    }


@contextlib.contextmanager
def exclusive(path: Path):
    """Let one process of the session in at a time."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_ours(argv: list[str]) -> bool:
    """Return whether the warm process runs a program; it leaves other programs of Python to Python."""
    return Path(argv[0]).name != "python" or argv[1:2] == ["-c"] or argv[1:3] == ["-m", "dvc"]


def ask(argv: list[str]) -> int:
    """Run a program in the warm process as if it were this one; return its exit code, negative if a signal ended it."""
    os.umask(mask := os.umask(0))
    limits, streams = resource.getrlimit(resource.RLIMIT_FSIZE), [number for number in range(3) if is_open(number)]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ[SOCKET])
        leads = os.getsid(0) == os.getpid()
        body = json.dumps([argv, str(Path.cwd()), dict(os.environ), mask, limits, streams, leads]).encode()
        socket.send_fds(connection, [len(body).to_bytes(4, "big")], streams)
        connection.sendall(body)
        for number in SIGNALS:
            signal.signal(number, lambda number, _: send(connection, number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return int(connection.recv(8) or -signal.SIGKILL)


def send(connection: socket.socket, number: int) -> None:
    """Pass a signal on, unless the program has ended in this moment."""
    with contextlib.suppress(BrokenPipeError):
        connection.send(bytes([number]))


def is_open(descriptor: int) -> bool:
    """Return whether a descriptor is that of an open file."""
    with contextlib.suppress(OSError):
        os.fstat(descriptor)
        return True
    return False


def receive(connection: socket.socket) -> tuple[Request, list[int]]:
    """Return what is asked for, and the standard streams. Raises EOFError if the program is killed before it has asked."""
    head, streams, *_ = socket.recv_fds(connection, 4, 3)
    size, body = int.from_bytes(head, "big"), b""
    while len(body) < size or not size:
        part = connection.recv(size - len(body))  # and not the signal that may follow
        if not part:
            raise EOFError
        body += part
    return json.loads(body), streams


def serve(path: str, owner: int) -> tuple[Request, list[int]]:
    """Fork for each request, and return it in the fork; otherwise end when process `owner` is gone, and all forks with it."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{path}.new")
    listener.listen(16)
    Path(f"{path}.new").rename(path)
    gone, forks = os.pidfd_open(owner), {}
    while True:
        asking = {connection: process for process, connection in forks.values()}
        ready = set(select.select([listener, gone, *forks, *asking], [], [])[0])
        if gone in ready:
            for process, _ in forks.values():
                os.kill(process, signal.SIGKILL)
            os._exit(0)
        for connection in ready & set(asking):  # who asked got a signal, or was killed
            with contextlib.suppress(ConnectionResetError):
                number, process = next(iter(connection.recv(1)), signal.SIGKILL), asking[connection]
                alone = number == signal.SIGKILL or os.getpgid(process) != process
                os.kill(process, number) if alone else os.killpg(process, number)
        for ended in ready & set(forks):
            process, connection = forks.pop(ended)
            code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            with contextlib.suppress(BrokenPipeError), connection:
                connection.sendall(str(code).encode())
            os.close(ended)
        if listener in ready:
            connection, _ = listener.accept()
            try:
                request, streams = receive(connection)
            except (EOFError, ConnectionResetError):
                connection.close()
                continue
            process = os.fork()
            if process == 0:
                for one in (listener, connection, *(pair[1] for pair in forks.values())):
                    one.close()
                for number in (gone, *forks):
                    os.close(number)
                if request[-1]:
                    os.setsid()
                return request, streams
            forks[os.pidfd_open(process)] = process, connection
            for stream in streams:
                os.close(stream)


def forget_sources(sources: str) -> None:
    """Let this process import the package anew, from other `sources` (PYTHONPATH) than those of the warm process.

    What numba compiled of a file is taken for one with the same content, as numba does it for a file in its place.
    """
    compiled = f"{sys.modules['xtcav_ml.learning'].__path__[0]}/__pycache__"
    importlib.import_module("numba.core.caching").InTreeCacheLocator.get_cache_path = lambda _: compiled
    sys.path[:0] = sources.split(os.pathsep)
    for name in [name for name in sys.modules if name.partition(".")[0] == "xtcav_ml"]:
        del sys.modules[name]


def run(program: str) -> int | None:
    """Be one of PROGRAMS, with its arguments in `sys.argv`."""
    if program != "python":
        return importlib.import_module({"dvc": "dvc.cli", "xtcav": "xtcav_ml.cli.main"}[program]).main()
    _, option, code, *arguments = sys.argv
    sys.argv[:] = [option if option == "-c" else code, *arguments]
    sys.path.insert(0, "")
    if option == "-c":
        exec(compile(code, "<string>", "exec"), sys.modules["__main__"].__dict__)
    else:
        runpy.run_module(code, run_name="__main__", alter_sys=True)
    return None


def main(path: str, owner: int) -> None:
    """Import what takes time, serve, and in each fork be the program that was asked for."""
    for name in IMPORTED:
        importlib.import_module(name)
    compiler = importlib.import_module("numba.core.registry").cpu_target
    for context in (compiler.typing_context, compiler.target_context):
        context.refresh()  # a second of each training
    gc.freeze()
    (sys.argv[:], folder, variables, mask, limits, numbers, _), streams = serve(path, owner)
    sys.orig_argv[:] = [sys.executable, *sys.argv]
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the program listens
    for number in range(3):
        os.close(number)
    for number, stream in zip(numbers, streams, strict=True):
        os.dup2(stream, number)
        os.close(stream)
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))  # as in a new interpreter
    forks = multiprocessing.get_context("fork")
    multiprocessing.get_context = lambda method=None: forks
    os.chdir(folder)
    os.umask(mask)
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    sources = variables.get("PYTHONPATH", "")
    if sources != os.environ.get("PYTHONPATH", ""):
        forget_sources(sources)
    os.environ.clear()
    os.environ.update(variables)
    sys.executable = str(Path(variables[SOCKET]).parent / "python")
    program = Path(sys.argv[0]).name
    if program == "xtcav":  # the stage's `dvc` is above the program that asks; this fork ends with that program
        importlib.import_module("xtcav_ml.system.parent_process").end_with_dvc = lambda: None
    if "evaluate" in sys.argv[-1] and ALL_FRAMES not in variables:  # most of the time of the stage
        importlib.import_module("xtcav_ml.pipeline.sheets").FRAMES_PER_CLASS = 1
        importlib.import_module("xtcav_ml.figures.drawing").STYLE.update(SMALL_PICTURES)
    try:
        code = run(program)
    except SystemExit as end:
        code = end.code
    threading._shutdown()  # what an interpreter does at its end, less freeing all memory, which would copy it first
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code if isinstance(code, int) else bool(code))


if __name__ == "__main__":
    if Path(sys.argv[0]).name in PROGRAMS:
        if is_ours(sys.argv):
            sys.exit(ask(sys.argv))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
    main(sys.argv[1], int(sys.argv[2]))
