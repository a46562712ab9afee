"""Section `prepare`: which shots, which label, what is done to an image, how the set is split."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from xtcav_ml.params.base import Section


class SubtractDark(Section):
    """Subtract the mean frame of the dark run."""

    step: Literal["subtract_dark"]


class BlockMean(Section):
    """Mean over blocks of `size` x `size` pixels; rows and columns left over at the far edges are dropped."""

    step: Literal["block_mean"]
    size: int = Field(ge=1, le=64)  # pixels


class Log(Section):
    """log(1 + max(0, x)), the notes' transform."""

    step: Literal["log"]


Step = Annotated[SubtractDark | BlockMean | Log, Field(discriminator="step")]


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
    dark_run: int | None  # run whose mean frame is subtracted; null where there is none
    images: tuple[Step, ...] = Field(min_length=1)
    dtype: Literal["float16", "float32"]  # of a stored pixel; float16 keeps 11 bits, enough after a log
    balance: Balance
    split: Split

    @model_validator(mode="after")
    def _dark_run_is_named(self) -> "PrepareParams":
        if self.dark_run is None and any(step.step == "subtract_dark" for step in self.images):
            raise ValueError(
                "images has a subtract_dark step, so dark_run must be a run number, got null; name the run"
            )
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes must be different names, got {self.classes}; rename one")
        return self
