"""experiments/NAME.yaml: what an experiment of the 2016 notes was, what they published of it, and what it learns from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from xtcav_ml.config.base import PARAMS_FILE, Section, overridden, read_tree, validate
from xtcav_ml.config.prepare import PrepareParams
from xtcav_ml.config.simulate import SimulateParams
from xtcav_ml.config.train import TrainParams
from xtcav_ml.system.errors import UserError

FOLDER = Path("experiments")
"""The experiments' files; below it their data, trained networks and results."""

INHERITED = ("seed", "threads", "class_weights", "regression_weight")
"""Keys of train that an experiment may leave to params.yaml. Network and optimizer it gives whole: they are the notes'."""


class Signal(Section):
    """Images of a vertical line on noise, or of noise alone, instead of shots."""

    seed: int = Field(ge=0)
    size: int = Field(ge=2, le=4096)  # rows and columns, pixels
    train: int = Field(ge=2)  # images, every other one with a line
    validation: int = Field(ge=2)
    least_pixels: int = Field(ge=1)  # the line's length is uniform from this to `size`
    line_mean: float
    line_sd: float = Field(ge=0)
    noise_sd: float = Field(ge=0)
    unit: float = Field(gt=0)  # a stored 1 means this much

    @model_validator(mode="after")
    def _line_fits(self) -> Self:
        if self.least_pixels > self.size:
            raise ValueError(f"least_pixels must be at most size ({self.size}), got {self.least_pixels}; lower it")
        return self


class Published(Section):
    """What the notes say, in their words; `-` where they say nothing."""

    accuracy: str
    steps: str
    seconds: str  # a step
    memory: str


class Configurations(Section):
    """Many small changes of one network, of which only time and memory of a step are measured."""

    parameters: tuple[str, ...]  # dotted names, as train.model.blocks.0.kernel
    steps: int = Field(ge=2)  # of each; the first, which builds the network, is not timed
    rows: tuple[tuple[int | float, ...], ...]  # a value of each parameter; then what was published, s a step and MB

    @model_validator(mode="after")
    def _whole_rows(self) -> Self:
        for row in self.rows:
            if len(row) != len(self.parameters) + 2:
                raise ValueError(
                    f"rows must have {len(self.parameters)} values, seconds and megabytes, got {list(row)}; mend it"
                )
        return self


class Experiment(Section):
    """One experiment. Its data are `signal`, or shots simulated by `simulate` and `prepare`, or those of another one."""

    title: str
    long: bool  # `make notes` does not run it
    hours: float | None = Field(gt=0, default=None)  # of a long one, estimated for two cores
    published: Published
    differs: str  # why our numbers are not theirs, and what they left open
    data_of: str | None = None
    signal: Signal | None = None
    simulate: dict[str, Any] | None = None
    prepare: dict[str, Any] | None = None
    train: dict[str, Any]
    configurations: Configurations | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = {"data_of": self.data_of, "signal": self.signal, "simulate and prepare": self.simulate}
        given = [name for name, value in sources.items() if value is not None]
        if len(given) != 1 or (self.simulate is None) != (self.prepare is None):
            raise ValueError(f"give one of {', '.join(sources)} as the data, got {given or 'none'}; mend it")
        if self.long != (self.hours is not None):
            raise ValueError(f"hours is for a long experiment, got long: {self.long}, hours: {self.hours}; mend it")
        return self


def experiment_names() -> list[str]:
    """Return the names of all experiments, those that `make notes` runs first."""
    return sorted(_found(), key=lambda name: load_experiment(name).long)


def load_experiment(name: str) -> Experiment:
    """Return experiment `name`. Raises UserError if there is none or its file breaks a rule."""
    if name not in _found():
        raise UserError(
            f"experiment: must be one of {', '.join(_found()) or 'none'}, got {name!r}; choose one of these"
        )
    return validate(read_tree(_path(name)), Experiment, name, _path(name))


def data_folder(name: str) -> Path:
    """Return where the data of experiment `name` are, its own or another's."""
    return FOLDER / "data" / (load_experiment(name).data_of or name)


def data_files(name: str) -> list[Path]:
    """Return the prepared files of experiment `name`. Raises UserError if they have not been made."""
    folder = data_folder(name)
    files = [folder / "train.h5", folder / "validation.h5"]
    for path in files:
        if not path.is_file():
            make = f"make notes NAME={name}" if load_experiment(name).long else "make notes"
            raise UserError(f"{path}: must be there, {name} learns from it; run `{make}`, which makes it")
    return files


def trained_folder(name: str) -> Path:
    """Return where network and history of experiment `name` are."""
    return FOLDER / "trained" / name


def result_file(name: str) -> Path:
    """Return the file of what came out of experiment `name`: the same in every run."""
    return FOLDER / "results" / f"{name}.json"


def usage_file(name: str) -> Path:
    """Return the file of the time and memory that experiment `name` took: other in every run, and no output of DVC."""
    return FOLDER / "results" / f"{name}.usage.json"


def shot_params(name: str) -> tuple[SimulateParams, PrepareParams]:
    """Return how the shots of experiment `name` are made: its changes over params.yaml. Raises UserError as `load`."""
    own, tree = load_experiment(name), read_tree(PARAMS_FILE)
    simulate = validate(merged(tree["simulate"], own.simulate or {}), SimulateParams, "simulate", _path(name))
    return simulate, validate(merged(tree["prepare"], own.prepare or {}), PrepareParams, "prepare", _path(name))


def train_params(name: str) -> TrainParams:
    """Return network and training of experiment `name`, with INHERITED of params.yaml. Raises UserError as `load`."""
    base = read_tree(PARAMS_FILE)["train"]
    return validate(
        {key: base[key] for key in INHERITED} | load_experiment(name).train, TrainParams, "train", _path(name)
    )


def all_params(name: str) -> dict[str, Any]:
    """Return all parameters that decide what experiment `name` gives, by section."""
    source = load_experiment(name).data_of or name
    signal, tree = load_experiment(source).signal, {"train": train_params(name).model_dump(mode="json")}
    if signal is not None:
        return tree | {"signal": signal.model_dump(mode="json")}
    simulate, prepare = shot_params(source)
    return tree | {"simulate": simulate.model_dump(mode="json"), "prepare": prepare.model_dump(mode="json")}


def configuration_params(name: str) -> list[TrainParams]:
    """Return the training of each configuration of experiment `name`; none if it has none. Raises UserError as `load`."""
    own, base = load_experiment(name).configurations, train_params(name)
    if own is None:
        return []
    return [overridden(base, "train", dict(zip(own.parameters, row, strict=False))) for row in own.rows]


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes`: mappings key by key, anything else whole; an empty mapping is nothing."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and value and isinstance(base.get(key), Mapping)
        result[key] = merged(base[key], value) if both else value
    return result


def _found() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem != "dvc")


def _path(name: str) -> Path:
    return FOLDER / f"{name}.yaml"
