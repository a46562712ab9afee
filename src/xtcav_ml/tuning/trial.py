"""One training of the tuner, in a process of its own: what it leaks or breaks ends with it."""

import contextlib
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from xtcav_ml.config.train import TrainParams
from xtcav_ml.system.child_process import end_with_parent
from xtcav_ml.system.errors import UserError

GO, STOP = "go", "stop"


@dataclass(frozen=True)
class Epoch:
    """What a trial says after each epoch."""

    number: int  # from 1
    values: dict[str, float]


class Trial:
    """A training in a child process. Iterate over its epochs; set `stop` to end it after the present one.

    Iterating raises UserError, with the reason, if the training fails or its process dies.
    """

    def __init__(self, params: TrainParams, data: Path) -> None:
        context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_train, args=(theirs, params, data), daemon=True)
        self._process.start()
        theirs.close()  # so that the child's end is the last: its death is then an end of file here
        self.stop = False

    def __iter__(self) -> Iterator[Epoch]:
        try:
            while True:
                message = self._receive()
                if message is None:
                    return
                if isinstance(message, str):
                    raise UserError(message)
                yield message
                with contextlib.suppress(BrokenPipeError):  # it died; the next receive says how
                    if not self.stop:
                        self._pipe.send(GO)
                if self.stop:
                    return
        finally:
            self.close()

    def close(self) -> None:
        """End the process, if it still runs."""
        with contextlib.suppress(OSError):  # it may wait to hear whether to go on
            self._pipe.send(STOP)
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()
        self._pipe.close()

    def _receive(self) -> Epoch | str | None:
        try:
            message: Epoch | str | None = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            code = self._process.exitcode
            reason = " (killed, perhaps for lack of memory: lower tune.memory_gb)" if code == -9 else ""
            return f"the trial's process died with exit code {code}{reason}"
        return message


def _train(pipe: Connection, params: TrainParams, data: Path) -> None:
    """What the child does: sends an Epoch after each, None at the end, or a string that says what went wrong."""
    end_with_parent()
    from xtcav_ml.data.prepared import PreparedFile
    from xtcav_ml.learning import backend, fit

    class Pipe:
        def on_step(self, step: int, steps: int) -> None:
            pass

        def on_resume(self, epochs: int, remarks: Sequence[str]) -> None:
            pass

        def on_epoch(self, epoch: int, values: dict[str, float], seconds: Mapping[str, float]) -> None:
            pipe.send(Epoch(epoch, values))
            if pipe.recv() == STOP:
                raise fit.StopTraining

    try:
        backend.configure(params.seed, params.threads)
        with PreparedFile(data / "train.h5") as train, PreparedFile(data / "validation.h5") as validation:
            fit.fit(train, validation, params, [Pipe()])
        pipe.send(None)
    except fit.StopTraining:
        pass
    except Exception as error:  # whatever it is, the study goes on and shows it
        pipe.send(f"{type(error).__name__}: {error}" if not isinstance(error, UserError) else str(error))
