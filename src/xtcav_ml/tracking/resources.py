"""What a stage uses, like a batch system's summary: CPU, memory, threads, processes, I/O and GPU of its process tree."""

import contextlib
import resource
import threading
import time
from collections.abc import Iterator
from statistics import fmean
from typing import Any, Self

import psutil
import pynvml

from xtcav_ml.config.paths import RESOURCES
from xtcav_ml.system import atomic

MEGABYTE = 1e6
SAMPLE_SECONDS = 0.25  # between samples; reading the process tree takes a few milliseconds

WORTH_A_PICTURE = 2.0
"""Seconds that a stage must take for its use over time to be drawn, which takes up to a second and a half itself."""


class Sampler:
    """Samples this process and its children while it is entered: at the start, at the end, and every SAMPLE_SECONDS.

    The kernel's largest memory and the CPU time of ended children cover what lasts less than an interval. The former is of a
    process's whole life, so the process should be one that does nothing else.
    """

    def __init__(self) -> None:
        self.samples: list[dict[str, float]] = []

    def __enter__(self) -> Self:
        self._started, self._done = time.monotonic(), threading.Event()
        self._process, self._gpus = psutil.Process(), _gpu_handles()
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
        columns = {name: [sample[name] for sample in self.samples if name in sample] for name in self.samples[-1]}
        held = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        result = {
            "run_time_s": columns["time_s"][-1],
            "cpu_time_s": max(columns["cpu_time_s"]),
            "max_memory_mb": max(*columns["memory_mb"], *(1024 * kibibytes / MEGABYTE for kibibytes in held)),
            "mean_memory_mb": fmean(columns["memory_mb"]),
            "max_threads": max(columns["threads"]),
            "max_processes": max(columns["processes"]),
            "read_mb": columns["read_mb"][-1],
            "written_mb": columns["written_mb"][-1],
        }
        for name, values in columns.items():
            if name.startswith("gpu"):
                result |= {f"max_{name}": max(values), f"mean_{name}": fmean(values)}
        return {name: round(value, 3) for name, value in result.items()}

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            self._sample()

    def _sample(self) -> None:
        cpu = memory = threads = processes = 0.0
        for process in (self._process, *self._process.children(recursive=True)):
            with contextlib.suppress(psutil.Error), process.oneshot():
                cpu += sum(process.cpu_times()[:4])  # user, system, and both of its children that have ended
                memory += process.memory_info().rss
                threads += process.num_threads()
                processes += 1
        if not self.samples:
            self._cpu = self._cpu_at_start = cpu
        self._cpu = max(self._cpu, cpu)  # less is of a child that ended between the two readings
        io = self._process.io_counters() if hasattr(self._process, "io_counters") else None
        self.samples.append(
            {
                "time_s": time.monotonic() - self._started,
                "cpu_time_s": self._cpu - self._cpu_at_start,
                "memory_mb": memory / MEGABYTE,
                "threads": threads,
                "processes": processes,
                "read_mb": io.read_chars / MEGABYTE if io else 0.0,
                "written_mb": io.write_chars / MEGABYTE if io else 0.0,
                **{name: value for gpu in self._gpus for name, value in _gpu_sample(*gpu).items()},
            }
        )


@contextlib.contextmanager
def measured(stage: str) -> Iterator[Sampler]:
    """Sample what a stage uses, and write it to RESOURCES, with a picture if the stage took a while."""
    picture = RESOURCES / f"{stage}.png"
    with Sampler() as sampler:
        yield sampler
    summary = sampler.summary()
    atomic.write_json(RESOURCES / f"{stage}.json", summary)
    picture.unlink(missing_ok=True)  # it may be of an earlier, longer run
    if summary["run_time_s"] >= WORTH_A_PICTURE:
        from xtcav_ml import figures  # half a second, which short stages need not wait for

        figures.write_png(picture, figures.usage(sampler.samples))


def gpus() -> dict[str, str]:
    """Return the names of this machine's GPUs, and their driver's version; nothing where there are none."""
    try:
        names = [str(pynvml.nvmlDeviceGetName(handle)) for _, handle in _gpu_handles()]
        return {"gpu": ", ".join(names), "gpu_driver": str(pynvml.nvmlSystemGetDriverVersion())} if names else {}
    except pynvml.NVMLError:
        return {}


def _gpu_handles() -> list[tuple[int, Any]]:
    """Return (index, NVML handle) of the GPUs of this machine; none where there is no driver."""
    try:
        pynvml.nvmlInit()
        return [(index, pynvml.nvmlDeviceGetHandleByIndex(index)) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []


def _gpu_sample(index: int, handle: Any) -> dict[str, float]:
    try:
        used = pynvml.nvmlDeviceGetMemoryInfo(handle).used / MEGABYTE
        busy = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu
    except pynvml.NVMLError:
        return {}
    return {f"gpu{index}_memory_mb": used, f"gpu{index}_utilization_percent": float(busy)}
