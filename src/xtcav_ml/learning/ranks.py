"""One training in several processes of this machine, of which each computes its share of every minibatch, with Keras on JAX.

The processes, ranks from 0, run `fit.fit` on the same data and agree on every step through `keras.distribution`. They share
the processors, and have a GPU each where there are GPUs. This process alone has the listeners, and so writes the history and
MLflow's run; rank 0 writes the checkpoints. If one of them ends, all do.
"""

import contextlib
import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from xtcav_ml.config.train import TrainParams
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import backend, rules
from xtcav_ml.learning.checkpoint import Checkpoints
from xtcav_ml.system import variables
from xtcav_ml.system.child_process import ChildProcess

LOCAL = "127.0.0.1"
CURE = "free memory, then train again: it resumes after the last epoch. Or set train.processes: 1"

Result = tuple[list[Any], list[dict[str, float]]]
"""Weights of the best epoch, and the history."""


def fit_together(
    fit: Callable[..., Any],
    train: Path,
    validation: Path,
    params: TrainParams,
    listeners: Sequence[Any],
    checkpoints: Checkpoints | None,
) -> Result:
    """Run `fit`, that of `fit.py`, in `params.processes` processes; return the weights of the best epoch and the history.

    Raises as `fit`, and UserError if a process dies or this one may start none.
    """
    if multiprocessing.current_process().daemon:
        rules.require_one_process(params.processes)
    with _port() as port, contextlib.ExitStack() as ending:
        ranks: list[ChildProcess] = []
        for rank in range(params.processes):
            subject = f"train: process {rank + 1} of {params.processes}"
            arguments = (fit, rank, port, train, validation, params, checkpoints)
            ranks.append(ChildProcess(_fit_rank, *arguments, subject=subject, cure=CURE))
            ending.callback(ranks[-1].kill)
        for called, given in ranks[0].beside(ranks[1:]):
            for listener in listeners:
                getattr(listener, called)(*given)
    result: Result = ranks[0].result
    return result


@contextlib.contextmanager
def _port() -> Iterator[int]:
    """Return a free port of this machine, which no one else gets until the end: rank 0 listens there beside this socket."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((LOCAL, 0))
        yield held.getsockname()[1]


def _fit_rank(
    send: Callable[[Any], bool],
    fit: Callable[..., Any],
    rank: int,
    port: int,
    train: Path,
    validation: Path,
    params: TrainParams,
    checkpoints: Checkpoints | None,
) -> Result | None:
    """Train in a process of its own; rank 0 sends each call of a listener, and returns the result."""
    _confine(rank, params.processes, port)
    _silence()
    distribution = backend.join(f"{LOCAL}:{port}", params.processes, rank)
    backend.configure(params.seed, params.threads)
    with distribution.scope(), PreparedFile(train) as shots, PreparedFile(validation) as others:
        fitted = fit(shots, others, params, [_Sender(send)] if rank == 0 else [], checkpoints)
    return (fitted.model.get_weights(), fitted.history) if rank == 0 else None


def _confine(rank: int, ranks: int, port: int) -> None:
    """Give this process its share of the processors, its GPU, and no way to other machines."""
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) >= ranks:
        os.sched_setaffinity(0, processors[rank::ranks])
    if gpus := variables.visible_gpus():
        os.environ[variables.VISIBLE_GPUS] = gpus[rank]
    os.environ["JAX_LOCAL_DEVICE_IDS"] = "0"  # else JAX asks the batch system that it finds
    os.environ["JAX_COORDINATOR_BIND_ADDRESS"] = f"{LOCAL}:{port}"  # else all networks, without a password
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]


def _silence() -> None:
    """Discard what libraries print here: the process that started this one prints what there is to say."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)


class _Sender:
    """Sends each call of a listener to the process that has the listeners."""

    def __init__(self, send: Callable[[Any], bool]) -> None:
        self.send = send

    def __getattr__(self, name: str) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            self.send((name, arguments))

        return call
