"""Section `prepare`: which shots, which label, what is done to an image, how the set is split."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from xtcav_ml.params.base import Section

Pixel = Annotated[int, Field(ge=0, le=100_000)]


class SubtractDark(Section):
    """Subtract the mean frame of the dark run."""

    step: Literal["subtract_dark"]


class RegionOfInterest(Section):
    """Keep rows and columns `first` to `last` - 1 of the frame as it is at this step."""

    step: Literal["roi"]
    rows: tuple[Pixel, Pixel]  # first and last
    columns: tuple[Pixel, Pixel]

    @model_validator(mode="after")
    def _ascending(self) -> "RegionOfInterest":
        for name, (first, last) in (("rows", self.rows), ("columns", self.columns)):
            if first >= last:
                raise ValueError(f"{name} must be [first, last] with first < last, got [{first}, {last}]; swap them")
        return self


class BlockMean(Section):
    """Mean over blocks of `size` x `size` pixels; rows and columns left over at the far edges are dropped."""

    step: Literal["block_mean"]
    size: int = Field(ge=1, le=64)  # pixels


class Clip(Section):
    """Values below `low` become `low`, those above `high` become `high`."""

    step: Literal["clip"]
    low: float  # in the unit of this step
    high: float

    @model_validator(mode="after")
    def _ascending(self) -> "Clip":
        if self.low >= self.high:
            raise ValueError(f"low must be less than high, got {self.low} and {self.high}; swap them")
        return self


class Contrast(Section):
    """Each frame less its own mean, over its own standard deviation, or over `floor` where that is more."""

    step: Literal["contrast"]
    floor: float = Field(gt=0)  # in the unit of this step; keeps a frame without beam from becoming noise


class Log(Section):
    """log(1 + max(0, x)), the notes' transform."""

    step: Literal["log"]


Step = Annotated[SubtractDark | RegionOfInterest | BlockMean | Clip | Log | Contrast, Field(discriminator="step")]


class Balance(Section):
    """The largest class keeps at most `ratio` times the shots of the smallest; null keeps all."""

    ratio: float | None = Field(ge=1)
    splits: tuple[Literal["train", "validation", "test"], ...]


class Split(Section):
    """Groups of consecutive shots, each dealt to one split by its name alone."""

    seed: int = Field(ge=0)
    block: int = Field(ge=1)  # consecutive shots in a group
    gap: int = Field(ge=0)  # shots dropped at the end of a group whose successor is in another split
    train: float = Field(gt=0, lt=1)  # fractions of the groups
    validation: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)
    min_per_class: int = Field(ge=1)  # shots of every class in every split, after balancing

    @model_validator(mode="after")
    def _add_up(self) -> "Split":
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train + validation + test must be 1, got {total:g}; change one of them")
        if self.gap >= self.block:
            raise ValueError(f"gap must be less than block ({self.block}), got {self.gap}; lower it")
        return self


class PrepareParams(Section):
    """All that prepare needs to know."""

    label: str = Field(min_length=1)  # a dataset of integers in the raw files
    classes: tuple[str, ...] = Field(min_length=2)  # names of the values 0, 1, ... of the label
    include: dict[str, int]  # a shot is kept where each dataset has this value
    exclude: dict[str, int]  # and left out where any dataset has this one
    dark_run: int | None  # run whose mean frame is subtracted; null where there is none
    images: tuple[Step, ...] = Field(min_length=1)
    dtype: Literal["float16", "float32"]  # of a stored pixel; float16 keeps 11 bits, enough after a log
    balance: Balance
    split: Split

    @model_validator(mode="after")
    def _dark_is_subtracted_first(self) -> "PrepareParams":
        if any(step.step == "subtract_dark" for step in self.images[1:]):
            raise ValueError(
                "images: subtract_dark must be the first step, since the dark frame is a raw one; move it up"
            )
        return self

    @model_validator(mode="after")
    def _dark_run_is_named(self) -> "PrepareParams":
        if self.dark_run is None and any(step.step == "subtract_dark" for step in self.images):
            raise ValueError(
                "images has a subtract_dark step, so dark_run must be a run number, got null; name the run"
            )
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes must be different names, got {self.classes}; rename one")
        return self
