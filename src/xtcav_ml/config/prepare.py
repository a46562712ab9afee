"""Section `prepare`: which shots, which label, what is done to an image, how the set is split."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from xtcav_ml.config.base import Section
from xtcav_ml.config.schema import IMAGE

Pixel = Annotated[int, Field(ge=0, le=100_000)]
PixelValue = Annotated[float, Field(ge=-1e6, le=1e6)]
SplitName = Literal["train", "validation", "test"]


class SubtractDark(Section):
    """Subtract the mean frame of the dark run."""

    step: Literal["subtract_dark"]


class MendHotPixels(Section):
    """Give each hot pixel the mean of the good pixels around it.

    Hot is a pixel whose level or noise in the dark run lies more than `threshold` robust standard deviations off the
    median pixel's.
    """

    step: Literal["mend_hot_pixels"]
    threshold: float = Field(ge=2, le=1000)


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
    low: PixelValue  # in the unit of this step
    high: PixelValue

    @model_validator(mode="after")
    def _ascending(self) -> "Clip":
        if self.low >= self.high:
            raise ValueError(f"low must be less than high, got {self.low} and {self.high}; swap them")
        return self


class Contrast(Section):
    """Each frame less its own mean, over its own standard deviation, or over `floor` where that is more."""

    step: Literal["contrast"]
    floor: float = Field(ge=1e-6, le=1e6)  # in the unit of this step; keeps a frame without beam from becoming noise


class Log(Section):
    """log(1 + max(0, x)), the notes' transform."""

    step: Literal["log"]


Step = Annotated[
    SubtractDark | MendHotPixels | RegionOfInterest | BlockMean | Clip | Log | Contrast, Field(discriminator="step")
]
DARK_STEPS = ("subtract_dark", "mend_hot_pixels")
"""Steps that use the dark run. They come first: what they use has the shape of a raw frame."""


class Pixels(Section):
    """How a pixel is stored."""

    dtype: Literal["int16", "float16", "float32"]
    quantum: float | None = Field(
        ge=1e-6, le=1e6
    )  # of int16: a stored 1 means this much, in the unit after the last step

    @model_validator(mode="after")
    def _quantum_of_integers(self) -> "Pixels":
        if (self.dtype == "int16") != (self.quantum is not None):
            wanted = "a number for int16" if self.dtype == "int16" else f"null for {self.dtype}"
            raise ValueError(f"quantum must be {wanted}, got {self.quantum}; change it or dtype")
        return self


class Watch(Section):
    """Which frames are counted as suspicious. They are counted, shot by shot in the prepared file, not left out."""

    saturation: int = Field(ge=1, le=32767)  # ADU; a frame is saturated where more than `saturated_pixels` reach it
    saturated_pixels: int = Field(ge=0)
    empty_signal: float  # ADU; a frame is empty if its mean pixel is less than this above that of the dark run


class Balance(Section):
    """The largest class keeps at most `ratio` times the shots of the smallest; null keeps all."""

    ratio: float | None = Field(ge=1, le=1e6)
    splits: tuple[SplitName, ...]
    most: dict[SplitName, Annotated[int, Field(ge=1)]] = Field(
        default={}
    )  # of each class in these splits, shots at most


class Split(Section):
    """Groups of shots, each dealt to one split by its name alone."""

    by: Literal["block", "run", "file"]  # a group is a block of consecutive shots, a run, or a file
    seed: int = Field(ge=0)
    block: int = Field(ge=1, lt=2**31)  # consecutive shots in a group
    gap: int = Field(ge=0, lt=2**31)  # shots dropped at the end of a block or file that another split may follow
    train: float = Field(gt=0, lt=1)  # fractions of the groups
    validation: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)
    min_per_class: int = Field(ge=1)  # shots of every class, and of every value, in every split, after balancing

    @model_validator(mode="after")
    def _add_up(self) -> "Split":
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train + validation + test must be 1, got {total:g}; change one of them")
        if self.by == "block" and self.gap >= self.block:
            raise ValueError(f"gap must be less than block ({self.block}), got {self.gap}; lower it")
        return self


class PrepareParams(Section):
    """All that prepare needs to know."""

    label: str | None = Field(min_length=1)  # a dataset of integers in the raw files, learned as classes; null: none
    classes: tuple[str, ...]  # names of the values 0, 1, ... of the label
    regression: tuple[str, ...]  # datasets of one number a shot, learned as numbers; NaN where there is none
    features: tuple[str, ...]  # datasets of one number a shot, given to the network beside the image
    include: dict[str, int]  # a shot is kept where each dataset has this value
    exclude: dict[str, int]  # and left out where any dataset has this one
    dark_run: int | None  # run without beam, for the dark frame; null where there is none
    images: tuple[Step, ...] = Field(min_length=1)
    pixels: Pixels
    watch: Watch
    balance: Balance
    split: Split

    @model_validator(mode="after")
    def _something_to_learn(self) -> "PrepareParams":
        if self.label is None and not self.regression:
            raise ValueError("label or regression must name what to learn, got null and []; name a dataset")
        if self.label is None and (self.classes or self.balance.ratio is not None or self.balance.most):
            raise ValueError(
                "label is null, so classes must be [], balance.ratio null and balance.most {}, got "
                f"{list(self.classes)}, {self.balance.ratio} and {self.balance.most}; change them, or name a label"
            )
        if self.label is not None and len(self.classes) < 2:
            raise ValueError(
                f"classes must name the values 0, 1, ... of the label, got {list(self.classes)}; name them"
            )
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes must be different names, got {self.classes}; rename one")
        return self

    @model_validator(mode="after")
    def _no_frame(self) -> "PrepareParams":
        if IMAGE in (*self.learned, *self.include, *self.exclude):
            raise ValueError(
                f"label, regression, features, include and exclude must name datasets of one value a shot, got {IMAGE!r}, the "
                "frames; remove it"
            )
        return self

    @model_validator(mode="after")
    def _named_once(self) -> "PrepareParams":
        named = [*([self.label] if self.label else []), *self.regression, *self.features]
        twice = sorted({name for name in named if named.count(name) > 1})
        if twice:
            raise ValueError(
                f"label, regression and features must be different datasets, got {twice[0]!r} twice; a network that is given "
                "what it shall learn learns nothing: remove one"
            )
        return self

    @model_validator(mode="after")
    def _dark_steps(self) -> "PrepareParams":
        names = [step.step for step in self.images]
        used = [name for name in names if name in DARK_STEPS]
        if names[: len(used)] != used:
            raise ValueError(
                f"images: {' and '.join(DARK_STEPS)} must be the first steps, since the dark frame is a raw one; "
                "move them up"
            )
        if len(set(used)) != len(used):
            raise ValueError(f"images: {used[0]} must stand there once, got it twice; remove one")
        if self.dark_run is None and used:
            raise ValueError(f"images has a {used[0]} step, so dark_run must be a run number, got null; name the run")
        return self

    @property
    def learned(self) -> tuple[str, ...]:
        """Return the datasets that a shot's row holds beside its keys: label, numbers to learn, features."""
        return (*([self.label] if self.label else []), *self.regression, *self.features)
