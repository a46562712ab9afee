"""What a stage uses, like a batch system's summary: CPU, memory, threads, processes, I/O and GPU of its process tree."""

import contextlib
import resource
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil

from xtcav_ml.config.paths import RESOURCES
from xtcav_ml.system import atomic

"""Timing and memory of each stage, and the last run's address: never a DVC output, since no two runs are alike."""

MEGABYTE = 1e6
INTERVAL = 0.25
"""Seconds between samples; reading the process tree takes about a millisecond."""

WORTH_A_PICTURE = 2.0
"""Seconds that a stage must take for its use over time to be drawn, which takes up to a second and a half itself."""


@dataclass
class Sampler:
    """Watches this process and its children while it is entered; `summary()` then says what they used.

    A sample is taken at the start, at the end and every INTERVAL seconds. What the kernel counts for a process' whole life
    (the largest memory, the CPU time of children that have ended) is asked at the end, so that what lasts less than an
    interval is in the summary too. For that the process should be one that does nothing else.
    """

    samples: list[dict[str, float]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._started, self._done = time.monotonic(), threading.Event()
        self._process = psutil.Process()
        self._cpu_of_ended, self._cpu = 0.0, dict[int, float]()
        self._cpu_at_start = _cpu_seconds(self._process)
        self._cpu_of_tree_at_start = 0.0
        for process in self._tree():
            with contextlib.suppress(psutil.Error):
                self._cpu_of_tree_at_start += _cpu_seconds(process)
        self._ended_at_start = _cpu_of_ended_children()
        self._gpus = _gpus()
        self._sample()
        self._thread = threading.Thread(target=self._watch, name="resources", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._sample()

    def summary(self) -> dict[str, float]:
        """Return run_time_s, cpu_time_s, max/mean_memory_mb, max_threads, max_processes, read/written_mb, and of each
        GPU memory and utilization, where there is one.

        Memory is resident. CPU, memory, threads and processes are those of the whole tree; I/O is that of this process by
        system calls (not what it reads through a memory map), and a GPU's numbers are of all that runs on it.
        """
        if not self.samples:
            return {}
        memory = [sample["memory_mb"] for sample in self.samples]
        last = self.samples[-1]
        result = {
            "run_time_s": last["time_s"],
            "cpu_time_s": max(self._cpu_by_kernel(), *(sample["cpu_time_s"] for sample in self.samples)),
            "max_memory_mb": max(_largest_memory() / MEGABYTE, *memory),
            "mean_memory_mb": sum(memory) / len(memory),
            "max_threads": max(sample["threads"] for sample in self.samples),
            "max_processes": max(sample["processes"] for sample in self.samples),
            "read_mb": last["read_mb"],
            "written_mb": last["written_mb"],
        }
        for name in last:
            if name.startswith("gpu"):
                values = [sample[name] for sample in self.samples if name in sample]
                result |= {f"max_{name}": max(values), f"mean_{name}": sum(values) / len(values)}
        return {name: round(value, 3) for name, value in result.items()}

    def draw(self, path: Path) -> None:
        """Draw memory, busy cores, threads, I/O and GPUs over time."""
        from xtcav_ml import figures  # half a second, which short stages need not wait for

        figures.write_png(path, figures.usage(self.samples))

    def _cpu_by_kernel(self) -> float:
        """Return the CPU seconds of this process and of all children that have ended, since the start."""
        return _cpu_seconds(self._process) - self._cpu_at_start + _cpu_of_ended_children() - self._ended_at_start

    def _watch(self) -> None:
        while not self._done.wait(INTERVAL):
            self._sample()

    def _sample(self) -> None:
        memory = threads = processes = 0.0
        alive: dict[int, float] = {}
        for process in self._tree():
            with contextlib.suppress(psutil.Error), process.oneshot():
                memory += process.memory_info().rss
                threads += process.num_threads()
                processes += 1
                alive[process.pid] = _cpu_seconds(process)
        self._cpu_of_ended += sum(used for pid, used in self._cpu.items() if pid not in alive)
        self._cpu = alive
        io = self._process.io_counters() if hasattr(self._process, "io_counters") else None
        self.samples.append(
            {
                "time_s": time.monotonic() - self._started,
                "cpu_time_s": sum(alive.values()) + self._cpu_of_ended - self._cpu_of_tree_at_start,
                "memory_mb": memory / MEGABYTE,
                "threads": threads,
                "processes": processes,
                "read_mb": io.read_chars / MEGABYTE if io else 0.0,
                "written_mb": io.write_chars / MEGABYTE if io else 0.0,
                **{name: value for gpu in self._gpus for name, value in _gpu_sample(*gpu).items()},
            }
        )

    def _tree(self) -> list[Any]:
        with contextlib.suppress(psutil.Error):
            return [self._process, *self._process.children(recursive=True)]
        return [self._process]


@contextlib.contextmanager
def measured(stage: str) -> Iterator[Sampler]:
    """Watch what a stage uses, and keep it in RESOURCES, with a picture if it took a while."""
    picture = RESOURCES / f"{stage}.png"
    with Sampler() as sampler:
        yield sampler
    summary = sampler.summary()
    atomic.write_json(RESOURCES / f"{stage}.json", summary)
    picture.unlink(missing_ok=True)  # it may be of an earlier, longer run
    if summary["run_time_s"] >= WORTH_A_PICTURE:
        sampler.draw(picture)


def gpus() -> dict[str, str]:
    """Return the names of this machine's GPUs, and their driver's version; nothing where there are none."""
    import pynvml

    found = _gpus()
    try:
        names = [str(pynvml.nvmlDeviceGetName(handle)) for _, handle in found]
        return {"gpu": ", ".join(names), "gpu_driver": str(pynvml.nvmlSystemGetDriverVersion())} if found else {}
    except pynvml.NVMLError:
        return {}


def _cpu_of_ended_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _largest_memory() -> float:
    """Return the most bytes that this process, or any one child that has ended, ever held."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return 1024.0 * max(resource.getrusage(one).ru_maxrss for one in who)


def _cpu_seconds(process: Any) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _gpus() -> list[tuple[int, Any]]:
    """Return (index, NVML handle) of the GPUs of this machine; none where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return [(index, pynvml.nvmlDeviceGetHandleByIndex(index)) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []


def _gpu_sample(index: int, handle: Any) -> dict[str, float]:
    import pynvml

    try:
        used = pynvml.nvmlDeviceGetMemoryInfo(handle).used / MEGABYTE
        busy = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu
    except pynvml.NVMLError:
        return {}
    return {f"gpu{index}_memory_mb": used, f"gpu{index}_utilization_percent": float(busy)}
