"""Section `tune`: what Optuna searches, and for how long."""

from pydantic import Field, model_validator

from xtcav_ml.config.base import Section


class Range(Section):
    """Values between `low` and `high`, both included; integers if `step` is given or both ends are integers."""

    low: float | int
    high: float | int
    log: bool = False
    step: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if not self.low < self.high:
            raise ValueError(f"low must be less than high, got {self.low} and {self.high}; swap them")
        if self.log and self.low <= 0:
            raise ValueError(f"low must be more than 0 for a logarithmic range, got {self.low}; raise it")
        if self.log and self.step is not None:
            raise ValueError("a logarithmic range takes no step; remove one of the two")
        if self.step is not None and not (isinstance(self.low, int) and isinstance(self.high, int)):
            raise ValueError(f"a range with a step needs integers, got {self.low} and {self.high}; change them")
        return self

    @property
    def ends(self) -> tuple[float | int, ...]:
        """Return the values that stand for all: if they are valid, so is what lies between."""
        return self.low, self.high


class Choices(Section):
    """One of these values; null where the parameter may be null."""

    choices: tuple[bool | float | int | str | None, ...] = Field(min_length=2)

    @property
    def ends(self) -> tuple[bool | float | int | str | None, ...]:
        """Return the values that stand for all, as those of a range do: each of them."""
        return self.choices


class TuneParams(Section):
    """All that tune needs to know."""

    study: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    seed: int = Field(ge=0, lt=2**32)
    trials: int = Field(ge=1)  # in the study, over all calls; the first is params.yaml itself
    minutes: float = Field(gt=0)  # no trial starts after this, and the one that runs is stopped
    epochs: int = Field(ge=1, le=100000)  # of each trial
    startup_trials: int = Field(ge=0)  # drawn at random before TPE models the search; none is pruned before
    warmup_epochs: int = Field(ge=0)  # no trial is pruned before
    memory_gb: float = Field(gt=0)  # a network whose training step needs more is not tried
    space: dict[str, Range | Choices] = Field(min_length=1)  # dotted parameter name -> values
