"""validate: find mistakes in params.yaml before anything is simulated.

DVC removes a stage's outputs before it runs the stage. So a user's mistakes are found in two stages ahead of the others, this
one and `check`: when these fail, the others' outputs are still there.
"""

from operator import itemgetter
from pathlib import Path
from typing import Any

from xtcav_ml.config import space
from xtcav_ml.config.params_file import Params
from xtcav_ml.config.paths import SIMULATED
from xtcav_ml.config.tune import Choices
from xtcav_ml.learning import rules
from xtcav_ml.learning.layer_plan import Ends
from xtcav_ml.lineage import git
from xtcav_ml.science import images
from xtcav_ml.science.spec import LearningSpec, require_inputs
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError, warn

VALID = "params.yaml is valid\n"
"""Output of `validate`: always the same, so that no stage runs again only because another section changed."""


def validate_params(params: Params, out: Path) -> None:
    """Check that the user's environment can be used and the sections of params.yaml fit together, and write `out`.

    Raw files must exist, except simulated ones, which a later stage writes. What is wrong with git is a warning.
    """
    rules.require_environment()
    require_valid(params)
    if Path(params.data.raw) != SIMULATED:
        from xtcav_ml.data.listing import list_files  # imports HDF5, for which a `make repro` need not wait

        list_files(Path(params.data.raw))
    if problem := git.problem():
        warn(problem)
    if not out.is_file() or out.read_bytes() != VALID.encode():  # else the report is still that of these results
        with atomic.replacing(out) as temporary:
            temporary.write_text(VALID)


def require_valid(params: Params) -> None:
    """Raise UserError if no pixel of a frame is left, or the network cannot be trained on the pixels left."""
    require_inputs(params.prepare, params.data.raw_shape)
    shape = images.output_shape(params.data.raw_shape, params.prepare.images)
    if params.data.frame_shape is not None and min(shape) < 1:
        rows, columns = params.data.frame_shape
        raise UserError(
            f"prepare.images: no pixel is left of a frame (found {shape[0]} x {shape[1]} after all steps on data.frame_shape "
            f"{rows} x {columns}, expected at least 1 x 1). Fix: lower the size of block_mean"
        )
    require_trainable(params)


def require_trainable(params: Params, shots: int | None = None) -> None:
    """Raise UserError if train would refuse params.yaml, or tune every trial, with `shots` training shots."""
    spec = LearningSpec.of(params.prepare, params.data.raw_shape, dark=None)
    rules.require_trainable(params.train, spec, shots)
    _require_search(params, spec, shots)


def _require_search(params: Params, spec: LearningSpec, shots: int | None) -> None:
    """Raise UserError if the tuner may set a value with which params.yaml cannot be trained, or if no trial fits the memory.

    Of a range one end must give a network: others may need other values of other parameters, and their trials are pruned.
    """
    ends, smallest = Ends.of(spec), {}
    for name, values in params.tune.space.items():
        sizes, refused = [], []
        for value in values.ends:
            try:
                train = space.applied(params.train, space.beside(params.tune.space, name, value))
                rules.require_data(train, spec, shots)
            except UserError as error:
                raise UserError(f"tune.space: {error}") from None
            try:
                sizes.append((rules.planned_memory(train, ends), value))
            except UserError as error:
                refused.append(f"tune.space.{name}: no network with {value!r}, all else as in section train: {error}")
        if refused and (isinstance(values, Choices) or not sizes):
            raise UserError(refused[0])
        smallest[name] = min(sizes, key=itemgetter(0))[1]
    tried = dict[str, Any]()
    for name in space.in_order(params.tune.space):
        if space.is_tried(params.tune.space, name, tried):
            tried[name] = smallest[name]
    try:
        train = space.applied(params.train, tried)
        rules.planned_memory(train, ends)
    except UserError:  # these values exclude one another: their trials are pruned, others are not
        return
    rules.require_network(train, ends, 1e9 * params.tune.memory_gb, "tune.memory_gb")
