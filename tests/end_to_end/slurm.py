"""A Slurm of two nodes on loopback, with ports, keys and folders of its own, from the programs that .ci/run installs.

It needs no systemd, no database and no rights: all daemons run as who runs the tests. A Slurm of the machine is left alone:
each command names the configuration of this one. However the tests end, another process then ends all of it
(`python -m tests.end_to_end.slurm FOLDER`).
"""

import contextlib
import os
import pwd
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from tests.servers import free_port

PATH = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/sbin"))
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
MISSING = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
needs_slurm = pytest.mark.skipif(
    bool(MISSING) and not os.environ.get("CI"),  # there it fails, as it would hide a gap
    reason="there is no Slurm to test with: apt-get install slurmctld slurmd slurm-client munge (as .ci/run does)",
)
NODES = ("n1", "n2")
LOW, HIGH = "low", "high"
"""Partitions: a job of the higher one preempts one of the lower one, which is then started again."""

JOBS = {
    "queue": LOW,
    "memory": "2GB",
    "walltime": "01:00:00",
    "interface": "lo",
    "job-extra-directives": ["--requeue"],
}
"""What jobqueue.yaml would say of a job."""

PATIENCE = 300.0
"""Seconds for daemons to do what they are to do, on a loaded machine."""

CONFIGURATION = """
ClusterName=tests
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SchedulerParameters=sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=3
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={first} CPUs=1 RealMemory=8000
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={second} CPUs=1 RealMemory=8000
PartitionName=low Nodes=n1,n2 Default=YES PriorityTier=1 MaxTime=INFINITE State=UP
PartitionName=high Nodes=n1,n2 PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP
"""
"""Credentials expire soon, since a job that was preempted is not started again before those of its first start have."""


class Slurm:
    """A controller and two nodes of one processor, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.configuration = folder, folder / "slurm.conf"
        outside = ("SLURM_", "SBATCH_", "SQUEUE_")  # of a job in which the tests run
        kept = {name: value for name, value in os.environ.items() if not name.startswith(outside)}
        self._environment = {**kept, "SLURM_CONF": str(self.configuration), "PATH": PATH}

    def start(self) -> None:
        """Start all daemons, and wait until both nodes take jobs."""
        assert not MISSING, f"missing programs: {', '.join(MISSING)}"
        ports = {"controller": free_port(), "first": free_port(), "second": free_port()}
        filled = CONFIGURATION.format(folder=self.folder, user=pwd.getpwuid(os.getuid()).pw_name, **ports)
        self.configuration.write_text(filled.lstrip())
        (self.folder / "state").mkdir()
        key = self.folder / "munge.key"
        key.touch(mode=0o400)
        key.chmod(0o600)
        key.write_bytes(secrets.token_bytes(128))
        kept = {"key-file": key, "socket": "munge.socket", "log-file": "munge.log", "pid-file": "munge.pid"}
        options = [f"--{name}={self.folder / value}" for name, value in {**kept, "seed-file": "munge.seed"}.items()]
        self._daemon("munged", "--foreground", "--force", *options)
        self.wait_for(lambda: (self.folder / "munge.socket").exists())
        self._daemon("slurmctld", "-D", "-i")
        for node in NODES:
            self._daemon("slurmd", "-D", "-N", node, log=f"slurmd-{node}")
        self.wait_for(lambda: self.run("sinfo", "-h", "-N", "-t", "idle", "-p", LOW, "-o", "%N").split() == [*NODES])

    def run(self, *command: str, script: str = "") -> str:
        """Run a command of Slurm, and return what it says."""
        done = subprocess.run(command, env=self._environment, input=script, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    def jobs(self, state: str = "RUNNING") -> dict[str, str]:
        """Return the nodes of each job of the lower partition in this state, by its id."""
        said = self.run("squeue", "-h", "-t", state, "-p", LOW, "-o", "%i %N")
        return {job: node for job, _, node in (line.partition(" ") for line in said.splitlines())}

    def preempt(self, node: str) -> None:
        """Let what runs on a node make room for a job of a higher partition, which ends soon."""
        self.run("sbatch", "-p", HIGH, "-w", node, "-o", "/dev/null", script="#!/bin/sh\nsleep 1\n")

    def variables(self) -> dict[str, str]:
        """Return what a program needs in its environment to find this Slurm, and Dask its partition and network."""
        keys = {name.upper().replace("-", "_"): value for name, value in JOBS.items()}
        dask = {f"DASK_JOBQUEUE__SLURM__{name}": str(value) for name, value in keys.items()}
        return {"SLURM_CONF": str(self.configuration), **dask}

    def processes(self) -> list[psutil.Process]:
        """Return daemons, jobs and all that these have started, and what asks this Slurm for jobs."""
        return [process for process in psutil.process_iter(["name"]) if self._is_own(process)]

    def stop(self) -> None:
        """End all processes at once."""
        while own := self.processes():
            for process in own:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(own, timeout=1)

    def _is_own(self, process: psutil.Process) -> bool:
        """Return whether a process belongs to this Slurm: by its folder a daemon, by its variables what a job has started."""
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                variables = process.environ()
                return process.cwd() == str(self.folder) or variables.get("SLURM_CONF") == str(self.configuration)
        return False

    def _daemon(self, *command: str, log: str = "") -> None:
        with (self.folder / f"{log or command[0]}.log").open("w") as output:
            subprocess.Popen(
                command,
                env=self._environment,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                start_new_session=True,
            )

    def wait_for(self, done: Callable[[], object]) -> None:
        """Return once `done` is true. Raises TimeoutError, with the ends of all logs, after PATIENCE."""
        end = time.monotonic() + PATIENCE
        while not done():
            if time.monotonic() > end:
                logs = [f"{path.name}: {path.read_text()[-1000:]}" for path in self.folder.glob("*.log")]
                raise TimeoutError("\n".join(logs))
            time.sleep(0.1)


@contextlib.contextmanager
def running() -> Iterator[Slurm]:
    """Yield a Slurm whose nodes wait for jobs; its folder has a short name, as sockets must."""
    slurm = Slurm(Path(tempfile.mkdtemp(prefix="slurm-")))
    command = [sys.executable, "-m", "tests.end_to_end.slurm", str(slurm.folder)]
    ending = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, start_new_session=True)
    try:
        slurm.start()
        yield slurm
    finally:
        ending.communicate(timeout=PATIENCE)
        assert ending.returncode == 0


def main() -> None:
    """End the Slurm of a folder, and remove that, as soon as the process that has started this one closes the pipe or ends."""
    slurm = Slurm(Path(sys.argv[1]))
    sys.stdin.read()
    slurm.stop()
    shutil.rmtree(slurm.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
