"""experiments/NAME.yaml: an experiment of the 2016 notes, the results that they published, and its data."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from xtcav_ml.config.base import Section, merged, overridden, parameter, read_tree, validate_section
from xtcav_ml.config.paths import PARAMS_FILE
from xtcav_ml.config.prepare import PrepareParams
from xtcav_ml.config.simulate import SimulateParams
from xtcav_ml.config.train import TrainParams
from xtcav_ml.config.tune import Number
from xtcav_ml.system.errors import UserError

EXPERIMENTS = Path("experiments")  # the experiments' files; below it their data, trained networks and results

INHERITED = ("seed", "threads", "class_weights", "regression_weight")
"""Keys of train that an experiment may leave to params.yaml. Its network and optimizer are complete: they are the notes'."""


class Signal(Section):
    """Images of a vertical line on noise, or of noise alone, instead of shots."""

    seed: int = parameter("seed of the images", "1", ge=0, lt=2**32)
    size: int = parameter("rows and columns", "pixels", ge=2, le=4096)
    train: int = parameter("training set, every other image with a line", "images", ge=2, lt=2**31)
    validation: int = parameter("validation set", "images", ge=2, lt=2**31)
    least_pixels: int = parameter("least length of a line; it is uniform up to `size`", "pixels", ge=1, le=4096)
    line_mean: float = parameter("mean of the line", "1", ge=-1e6, le=1e6)
    line_sd: float = parameter("s.d. of the line", "1", ge=0, le=1e6)
    noise_sd: float = parameter("s.d. of the noise", "1", ge=0, le=1e6)
    unit: float = parameter("value of a stored 1", "1", ge=1e-9, le=1e6)

    @model_validator(mode="after")
    def _line_fits(self) -> Self:
        if self.least_pixels > self.size:
            raise ValueError(
                f"least_pixels: too large (found {self.least_pixels}, expected at most size, {self.size}). Fix: lower it"
            )
        return self


class Published(Section):
    """Results of the notes, in their words; `-` where they report none."""

    accuracy: str = parameter("accuracy on validation shots")
    steps: str = parameter("steps until then")
    seconds: str = parameter("time of a step")
    memory: str = parameter("memory of the process")


class Configurations(Section):
    """Many small changes of one network, of which only time and memory of a step are measured."""

    parameters: tuple[str, ...] = parameter("dotted names, as train.model.blocks.0.kernel")
    steps: int = parameter("of each; the first builds the network, and is not timed", "minibatches", ge=2, le=100000)
    rows: tuple[tuple[Number, ...], ...] = parameter(
        "a value of each parameter; then the published time of a step and memory", "of the parameter; s; MB"
    )

    @model_validator(mode="after")
    def _whole_rows(self) -> Self:
        for row in self.rows:
            if len(row) != len(self.parameters) + 2:
                expected = f"{len(self.parameters)} values, seconds and megabytes"
                raise ValueError(f"rows: incomplete (found {list(row)}, expected {expected}). Fix: correct the row")
        return self


class Experiment(Section):
    """One experiment. Its data are `signal`, shots by `simulate` or of `raw` files, by `prepare`, or those of another one."""

    title: str = parameter("what it shows")
    long: bool = parameter("`make notes` does not run it")
    hours: float | None = parameter("of a long one, estimated for two cores", "h", gt=0, le=8760, default=None)
    published: Published
    differs: str = parameter("why our numbers are not theirs, and gaps in the notes")
    data_of: str | None = parameter("experiment whose data it uses", default=None)
    signal: Signal | None = None
    simulate: dict[str, Any] | None = parameter("changes of section simulate", default=None)
    raw: str | None = parameter("folder of raw files without frames, as `xtcav import` writes it", default=None)
    prepare: dict[str, Any] | None = parameter("changes of section prepare", default=None)
    train: dict[str, Any] = parameter("section train, but for the keys of INHERITED")
    configurations: Configurations | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = {"data_of": self.data_of, "signal": self.signal, "simulate and prepare": self.simulate}
        sources["raw and prepare"] = self.raw
        present = [name for name, value in sources.items() if value is not None]
        if len(present) != 1 or present[0].endswith("prepare") != (self.prepare is not None):
            raise ValueError(
                f"no single source of data (found {present}, expected one of {', '.join(sources)}). Fix: keep one"
            )
        if self.long != (self.hours is not None):
            raise ValueError(
                f"hours is for long: true (found {self.hours}, expected a number if long, else null). Fix: change it"
            )
        return self


def experiment_names() -> list[str]:
    """Return the names of all experiments, those that `make notes` runs first."""
    return sorted(_files(), key=lambda name: load_experiment(name).long)


def load_experiment(name: str) -> Experiment:
    """Return experiment `name`. Raises UserError if it does not exist or its file breaks a rule."""
    files = _files()
    if name not in files:
        raise UserError(
            f"NAME: no such experiment (found {name!r}, expected one of {', '.join(files)}). Fix: choose one of these"
        )
    return validate_section(read_tree(files[name]), Experiment, name, files[name])


def data_folder(name: str, seed: int | None = None) -> Path:
    """Return the folder of the data of experiment `name`, its own or another's; of real shots, that of a `seed`."""
    return EXPERIMENTS / "data" / (load_experiment(name).data_of or name) / ("" if seed is None else f"seed-{seed}")


def data_files(name: str, seed: int | None = None) -> list[Path]:
    """Return the prepared files of experiment `name`, or of a seed. Raises UserError if they are missing."""
    paths = [data_folder(name, seed) / "train.h5", data_folder(name, seed) / "validation.h5"]
    for path in paths:
        if not path.is_file():
            make = f"make notes NAME={name}" if load_experiment(name).long else "make notes"
            raise UserError(f"{path}: missing (expected the data of {name}). Fix: run `{make}`")
    return paths


def require_raw(name: str) -> None:
    """Raise UserError if experiment `name` is of raw files that are not there."""
    raw = load_experiment(name).raw
    if raw is not None and not Path(raw).is_dir():
        raise UserError(
            f"{raw}: missing (expected the raw files of {name}). Fix: run `xtcav import lcls2017 FOLDER`, where FOLDER has the "
            "arrays that docs/real-data.md names"
        )


def trained_folder(name: str, seed: int | None = None) -> Path:
    """Return the folder of network and history of experiment `name`, or of its member of a group of seeds."""
    return EXPERIMENTS / "trained" / name / ("" if seed is None else f"seed-{seed}")


def are_trained(name: str, seeds: Iterable[int]) -> bool:
    """Return whether the data of an experiment, and the networks and histories of its members with these seeds, are here."""
    files = [data_folder(name) / "train.h5", data_folder(name) / "validation.h5"]
    files += [trained_folder(name, seed) / file for seed in seeds for file in ("model.keras", "history.jsonl")]
    return all(path.is_file() for path in files)


def result_file(name: str, seed: int | None = None) -> Path:
    """Return the file of the results of experiment `name`, or of its member with a seed: the same in every run."""
    return EXPERIMENTS / "results" / f"{name}{'' if seed is None else f'.seed-{seed}'}.json"


def usage_file(name: str) -> Path:
    """Return the file of the time and memory that experiment `name` took: other in every run, and no output of DVC."""
    return EXPERIMENTS / "results" / f"{name}.usage.json"


def shot_params(name: str) -> tuple[SimulateParams, PrepareParams]:
    """Return how the shots of experiment `name` are made: its changes over params.yaml. Raises UserError as above."""
    own, tree, path = load_experiment(name), read_tree(PARAMS_FILE), _files()[name]
    simulate = validate_section(merged(tree["simulate"], own.simulate or {}), SimulateParams, "simulate", path)
    return simulate, validate_section(merged(tree["prepare"], own.prepare or {}), PrepareParams, "prepare", path)


def train_params(name: str) -> TrainParams:
    """Return network and training of experiment `name`, with INHERITED of params.yaml. Raises UserError as above."""
    base, own = read_tree(PARAMS_FILE)["train"], load_experiment(name).train
    return validate_section({key: base[key] for key in INHERITED} | own, TrainParams, "train", _files()[name])


def all_params(name: str) -> dict[str, Any]:
    """Return all parameters that decide the result of experiment `name`, by section."""
    source = load_experiment(name).data_of or name
    sections: dict[str, Section | None] = {"train": train_params(name), "signal": load_experiment(source).signal}
    if sections["signal"] is None:
        simulated, sections["prepare"] = shot_params(source)
        sections["simulate"] = simulated if load_experiment(source).raw is None else None
    return {key: section.model_dump(mode="json") for key, section in sections.items() if section is not None}


def configuration_params(name: str) -> list[TrainParams]:
    """Return the training of each configuration of experiment `name`, if it has some. Raises UserError as above."""
    own, base = load_experiment(name).configurations, train_params(name)
    if own is None:
        return []
    return [overridden(base, "train", dict(zip(own.parameters, row, strict=False))) for row in own.rows]


def _files() -> dict[str, Path]:
    """Return the files of the experiments by name."""
    paths = sorted(EXPERIMENTS.glob("*.yaml"), key=lambda path: path.stem)
    return {path.stem: path for path in paths if path.stem != "dvc"}
