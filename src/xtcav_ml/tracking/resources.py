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
WORTH_A_PICTURE = 2.0  # seconds from which a stage's usage is drawn, which takes up to a second and a half itself


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
        """Return the numbers of the whole time, by name and unit, and of each GPU memory and utilization.

        Memory is resident. CPU, memory, threads and processes are those of the whole tree; I/O is that of this process by
        system calls, and a GPU's numbers are of all that runs on it.
        """
        last = self.samples[-1]
        result = {name: last[name] for name in ("cpu_time_s", "read_mb", "written_mb")}
        for name in last.keys() - {"time_s", *result}:
            values = [sample[name] for sample in self.samples if name in sample]
            result[f"max_{name}"] = max(values)
            if name.endswith(("memory_mb", "percent")):
                result[f"mean_{name}"] = fmean(values)
        result["run_time_s"] = last["time_s"]
        held = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        result["max_memory_mb"] = max(result["max_memory_mb"], *(1024 * kibibytes / MEGABYTE for kibibytes in held))
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
        sample = {
            "time_s": time.monotonic() - self._started,
            "cpu_time_s": self._cpu - self._cpu_at_start,
            "memory_mb": memory / MEGABYTE,
            "threads": threads,
            "processes": processes,
            "read_mb": io.read_chars / MEGABYTE if io else 0.0,
            "written_mb": io.write_chars / MEGABYTE if io else 0.0,
        }
        for index, gpu in enumerate(self._gpus):
            with contextlib.suppress(pynvml.NVMLError):
                used, busy = pynvml.nvmlDeviceGetMemoryInfo(gpu).used, pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu
                sample |= {f"gpu{index}_memory_mb": used / MEGABYTE, f"gpu{index}_utilization_percent": float(busy)}
        self.samples.append(sample)


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
        from xtcav_ml.figures import drawing, training  # half a second, which short stages need not wait for

        drawing.write_png(picture, training.usage(sampler.samples))


def gpus() -> dict[str, str]:
    """Return the names of this machine's GPUs, and their driver's version; nothing where there are none."""
    with contextlib.suppress(pynvml.NVMLError):
        if names := [str(pynvml.nvmlDeviceGetName(handle)) for handle in _gpu_handles()]:
            return {"gpu": ", ".join(names), "gpu_driver": str(pynvml.nvmlSystemGetDriverVersion())}
    return {}


def _gpu_handles() -> list[Any]:
    """Return the NVML handles of this machine's GPUs; none where there is no driver."""
    try:
        pynvml.nvmlInit()
        return [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []
