"""Section `prepare`: selection of shots, labels, steps of preprocessing, split."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from xtcav_ml.config.base import Section, parameter
from xtcav_ml.config.schema import IMAGE, LARGEST_SIDE

Pixel = Annotated[int, Field(ge=0, le=100_000)]
PixelValue = Annotated[float, Field(ge=-1e6, le=1e6)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]
ShotCount = Annotated[int, Field(ge=1, lt=2**31)]
Integer = Annotated[int, Field(ge=-(2**63), lt=2**63)]  # a dataset's value
End = Annotated[float, Field(ge=-1e308, le=1e308)]
LONGEST_NAME = 100  # characters


def _one_line(name: str) -> str:
    """Return a name that looks the same in a table, a page, a terminal and a list of values."""
    if not (name.isprintable() and name == name.strip() and 0 < len(name) <= LONGEST_NAME):
        raise ValueError(
            f"a name that cannot be shown (found {name[:LONGEST_NAME]!r}, expected 1 to {LONGEST_NAME} printable characters "
            "without spaces at the ends). Fix: rename it"
        )
    return name


def _ascending(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] >= ends[1]:
        raise ValueError(f"low is not below high (found {list(ends)}, expected < {ends[1]:g} first). Fix: swap them")
    return ends


Name = Annotated[str, AfterValidator(_one_line)]
Ends = Annotated[tuple[End, End], AfterValidator(_ascending)]
SplitName = Literal["train", "validation", "test"]


class SubtractDark(Section):
    """Subtract the mean frame of the dark run."""

    step: Literal["subtract_dark"] = parameter("subtract the mean frame of the dark run")


class MendHotPixels(Section):
    """Give each pixel whose level or noise in the dark run is far off the median the mean of the good ones around it."""

    step: Literal["mend_hot_pixels"] = parameter("replace hot pixels by the mean of their neighbours")
    threshold: float = parameter("least deviation of a hot pixel from the median one", "robust s.d.", ge=2, le=1000)


class RegionOfInterest(Section):
    """Keep rows and columns `first` to `last` - 1 of the frame as it is at this step."""

    step: Literal["roi"] = parameter("cut out a region of interest")
    rows: tuple[Pixel, Pixel] = parameter("first row that is kept, and the first one after the last", "pixels")
    columns: tuple[Pixel, Pixel] = parameter("first column that is kept, and the first one after the last", "pixels")

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        for name, (first, last) in (("rows", self.rows), ("columns", self.columns)):
            if first >= last:
                raise ValueError(f"{name}: first is not below last (found {first}, expected < {last}). Fix: swap them")
        return self


class BlockMean(Section):
    """Mean over blocks of `size` x `size` pixels; rows and columns left over at the far edges are dropped."""

    step: Literal["block_mean"] = parameter("average square blocks of pixels")
    size: int = parameter("side of a block", "pixels", ge=1, le=64)


class Clip(Section):
    """Values below `low` become `low`, those above `high` become `high`."""

    step: Literal["clip"] = parameter("limit the values")
    low: PixelValue = parameter("smallest value", "of this step")
    high: PixelValue = parameter("largest value", "of this step")

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low is not below high (found {self.low}, expected < {self.high}). Fix: swap them")
        return self


class Contrast(Section):
    """Each frame minus its own mean, over its own standard deviation, or over `floor` where that is more."""

    step: Literal["contrast"] = parameter("standardize each frame by itself")
    floor: float = parameter("least s.d.; keeps an empty frame from becoming noise", "of this step", ge=1e-6, le=1e6)


class Log(Section):
    """log(1 + max(0, x)), the notes' transform."""

    step: Literal["log"] = parameter("log(1 + max(0, x))")


Step = Annotated[
    SubtractDark | MendHotPixels | RegionOfInterest | BlockMean | Clip | Log | Contrast, Field(discriminator="step")
]
DARK_STEPS = ("subtract_dark", "mend_hot_pixels")  # use the dark run; first, since it has the shape of a raw frame


class Pixels(Section):
    """How a pixel is stored."""

    dtype: Literal["int16", "float16", "float32"] = parameter("type of a stored pixel")
    quantum: float | None = parameter("value of a stored 1, for int16; else null", "of the last step", ge=1e-6, le=1e6)

    @model_validator(mode="after")
    def _quantum_of_integers(self) -> Self:
        if (self.dtype == "int16") != (self.quantum is not None):
            values = f"found {self.quantum}, expected {'a number' if self.dtype == 'int16' else 'null'}"
            raise ValueError(f"quantum does not fit dtype {self.dtype} ({values}). Fix: change one of them")
        return self


class Watch(Section):
    """Frames that are counted as suspicious, shot by shot in the prepared file, but not left out."""

    saturation: int = parameter("value of a saturated pixel in a raw file", "ADU", ge=1, le=32767)
    saturated_pixels: int = parameter(
        "a frame with more saturated pixels counts as saturated", "pixels", ge=0, le=LARGEST_SIDE**2
    )
    empty_signal: float = parameter(
        "a frame of a lower mean, less the dark run's if there is one, counts as empty",
        "ADU",
        ge=-32768,
        le=32767,
    )


class Balance(Section):
    """The largest class keeps at most `ratio` times the shots of the smallest; null keeps all."""

    ratio: float | None = parameter("most shots of a class per shot of the rarest; null: all", "1", ge=1, le=1e6)
    splits: tuple[SplitName, ...] = parameter("sets that are balanced; the others keep the experiment's mix")
    most: dict[SplitName, ShotCount] = parameter("most shots of a class in it", "shots", default={})


class Split(Section):
    """Groups of shots, each dealt to one split by its name alone."""

    by: Literal["block", "run", "file"] = parameter("unit that is never split between sets")
    seed: int = parameter("seed of the split", "1", ge=0, lt=2**32)
    block: int = parameter("length of a block", "shots", ge=1, lt=2**31)
    gap: int = parameter("dropped at the end of a block or file that another set may follow", "shots", ge=0, lt=2**31)
    train: OpenFraction = parameter("share of the training set", "fraction of the groups")
    validation: OpenFraction = parameter("share of the validation set", "fraction of the groups")
    test: OpenFraction = parameter("share of the test set", "fraction of the groups")
    fold: int = parameter(
        "turns all shares by as many test shares: folds 0, 1, ... together hold each group out once",
        "1",
        ge=0,
        lt=1000,
        default=0,
    )
    min_per_class: ShotCount = parameter("least shots of a class, or with a number to learn, in a set", "shots")

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train + validation + test is not 1 (found {total:g}, expected 1). Fix: change one")
        if self.by == "block" and self.gap >= self.block:
            raise ValueError(f"gap is not below block (found {self.gap}, expected < {self.block}). Fix: lower it")
        return self


class PrepareParams(Section):
    """Section `prepare`."""

    label: Name | None = parameter("dataset of integers to learn as classes, -1 for no label; or null")
    classes: tuple[Name, ...] = parameter("names of the label's values 0, 1, ...")
    regression: tuple[Name, ...] = parameter("datasets to learn as numbers; NaN where a shot has none")
    features: tuple[Name, ...] = parameter("datasets that are inputs of the network with the frame")
    include: dict[Name, Integer] = parameter("only shots where each dataset has this value", "of the dataset")
    exclude: dict[Name, Integer] = parameter("no shots where any dataset has this value", "of the dataset")
    within: dict[Name, Ends] = parameter(
        "only shots where each dataset lies between these ends, both included", "of the dataset", default={}
    )
    dark_run: Integer | None = parameter("run without beam, whose mean frame is subtracted; null: none", "run number")
    images: tuple[Step, ...] = parameter("steps in order; docs/data.md lists all")
    pixels: Pixels
    watch: Watch
    balance: Balance
    split: Split

    @model_validator(mode="after")
    def _datasets(self) -> Self:
        if self.label is None and not self.regression:
            raise ValueError("label, regression: both are empty (found null and [], expected a dataset). Fix: name one")
        if self.label is None and (self.classes or self.balance.ratio is not None or self.balance.most):
            raise ValueError(
                f"classes, balance.ratio and balance.most need a label, which is null (found {list(self.classes)}, "
                f"{self.balance.ratio} and {self.balance.most}, expected [], null and {{}}). Fix: name a label, or empty them"
            )
        if self.label is not None and len(self.classes) < 2:
            raise ValueError(
                f"classes: too few names (found {list(self.classes)}, expected one for each value of the label). Fix: add them"
            )
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(
                f"classes: names are not unique (found {list(self.classes)}, expected each once). Fix: rename one"
            )
        if IMAGE in (*self.learned, *self.chosen_by):
            raise ValueError(
                f"label, regression, features, include, exclude and within name the frames (found {IMAGE!r}, expected datasets "
                "of one value a shot). Fix: remove it"
            )
        twice = sorted({name for name in self.learned if self.learned.count(name) > 1})
        if twice:
            raise ValueError(
                f"label, regression and features share a dataset (found {twice[0]!r} twice, expected once). Fix: remove one; a "
                "network that is given its target learns nothing"
            )
        return self

    @model_validator(mode="after")
    def _dark_steps(self) -> Self:
        names = [step.step for step in self.images]
        used = [name for name in names if name in DARK_STEPS]
        if names[: len(used)] != used:
            raise ValueError(
                f"images: {' and '.join(DARK_STEPS)} need the raw frame (found {', '.join(names)}, expected {', '.join(used)} "
                "first). Fix: move them up"
            )
        if len(set(used)) != len(used):
            raise ValueError(
                f"images: a step is repeated (found {', '.join(used)}, expected each once). Fix: remove one"
            )
        if self.dark_run is None and used:
            raise ValueError(
                f"images: {used[0]} needs dark_run (found null, expected a run number). Fix: set it, or remove the step"
            )
        return self

    @property
    def chosen_by(self) -> tuple[str, ...]:
        """Return the datasets that decide whether a shot is used."""
        return (*self.include, *self.exclude, *self.within)

    @property
    def learned(self) -> tuple[str, ...]:
        """Return the datasets of a shot other than its keys and frame: label, numbers to learn, features."""
        return (*([self.label] if self.label else []), *self.regression, *self.features)
