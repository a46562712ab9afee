"""Section `tune`: the space that Optuna searches, and the limits of the search."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from xtcav_ml.config.base import Section, parameter

LIMITS = Field(ge=-(2**32), le=2**32)  # wider than those of any parameter, which are checked too
Number = Annotated[float, LIMITS] | Annotated[int, LIMITS]
Value = bool | Number | str | None


def _several(values: Any) -> Any:
    return values if isinstance(values, (tuple, list)) else (values,)


Wanted = Annotated[tuple[Value, ...], Field(min_length=1, max_length=100), BeforeValidator(_several)]
"""A value of another parameter, or several."""

WHEN = parameter(
    "tried only where other parameters have one of these values", "of the parameter", default={}, max_length=100
)


class Range(Section):
    """Values between `low` and `high`, both included; integers if `step` is given or both ends are integers."""

    low: Number = parameter("smallest value", "of the parameter")
    high: Number = parameter("largest value", "of the parameter")
    log: bool = parameter("search on a logarithmic scale", default=False)
    step: int | None = parameter(
        "distance of the values tried; null: any", "of the parameter", default=None, ge=1, le=2**32
    )
    when: dict[str, Wanted] = WHEN

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low is not below high (found {self.low}, expected < {self.high}). Fix: swap them")
        if self.log and self.low <= 0:
            raise ValueError(f"low of a logarithmic range is too small (found {self.low}, expected > 0). Fix: raise it")
        if self.log and self.step is not None:
            raise ValueError(
                f"a logarithmic range has a step (found {self.step}, expected null). Fix: remove log or step"
            )
        if self.step is not None and not (isinstance(self.low, int) and isinstance(self.high, int)):
            raise ValueError(
                f"a step needs integers (found {self.low} to {self.high}, expected whole ends). Fix: round them"
            )
        return self

    @property
    def ends(self) -> tuple[float | int, ...]:
        """Return the values that stand for all: if they are valid, so are those between."""
        return self.low, self.high

    @property
    def size(self) -> int | None:
        """Return the number of values; None of a continuum."""
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        return int(self.high - self.low) // (self.step or 1) + 1 if whole else None

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, (int, float)) or not self.low <= value <= self.high:  # None: the parameter is off
            return False
        return self.step is None or (value - self.low) % self.step == 0


class Choices(Section):
    """One of these values; null where the parameter may be null."""

    choices: tuple[Value, ...] = parameter("values to choose from", "of the parameter", min_length=2, max_length=100)
    when: dict[str, Wanted] = WHEN

    @property
    def ends(self) -> tuple[Value, ...]:
        """Return all values, as each may be invalid."""
        return self.choices

    @property
    def size(self) -> int:
        """Return the number of values."""
        return len(self.choices)

    def __contains__(self, value: object) -> bool:
        return value in self.choices


def _kind(values: Any) -> str:
    """Return which of the two is meant, so that an error names what is wrong with that one alone."""
    return "Choices" if isinstance(values, Choices) or (isinstance(values, dict) and "choices" in values) else "Range"


Dimension = Annotated[
    Annotated[Range, Tag("Range")] | Annotated[Choices, Tag("Choices")],
    Discriminator(_kind),
]
"""A parameter's values in the search space."""


ACCURACY, MILLISECONDS, MEMORY = "accuracy", "milliseconds", "memory"
Objective = Literal["accuracy", "milliseconds", "memory"]
"""What a search improves: the score that chooses the kept epoch, a frame's time, the memory of a training step."""


class TuneParams(Section):
    """Section `tune`."""

    study: str = parameter("name of the study", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    seed: int = parameter("seed of the search", "1", ge=0, lt=2**32)
    objectives: tuple[Objective, ...] = parameter(
        "what is improved: accuracy first, then what each frame or training costs",
        default=(ACCURACY,),
        min_length=1,
        max_length=3,
    )
    sampler: Literal["tpe", "random", "qmc", "cmaes", "nsga2"] = parameter("how parameters are chosen", default="tpe")
    warm_start: bool = parameter("half of the start-up trials follow those of earlier studies, for tpe", default=True)
    trials: int = parameter(
        "trials of the study, over all calls; the first is params.yaml itself", "trials", ge=1, le=100000
    )
    minutes: float = parameter(
        "time limit of the trials; none starts later, and the one that runs is stopped", "min", gt=0, le=525600
    )
    epochs: int = parameter("length of a trial that is not stopped", "epochs", ge=1, le=100000)
    rungs: int = parameter(
        "stops on the way, each at a third of the next; the best third goes on", "stops", default=3, ge=0, le=10
    )
    startup_trials: int = parameter("random trials before the search is modelled", "trials", ge=0, le=100000)
    best: int = parameter("best trials that are repeated with other seeds", "trials", ge=1, le=100, default=3)
    seeds: int = parameter(
        "other seeds with which they and params.yaml are trained at the end", "seeds", default=0, ge=0, le=100
    )
    memory_gb: float = parameter("a network whose training step needs more memory is not tried", "GB", gt=0, le=1e6)
    space: dict[str, Dimension] = parameter(
        "range or choices by parameter", "of the parameter", min_length=1, max_length=100
    )

    @model_validator(mode="after")
    def _objectives_once(self) -> Self:
        names = ", ".join(self.objectives)
        if self.objectives[0] != ACCURACY or len(set(self.objectives)) != len(self.objectives):
            raise ValueError(
                f"objectives: not accuracy and then others, each once (found {names}, expected {ACCURACY} first). Fix: correct "
                "them"
            )
        return self

    @model_validator(mode="after")
    def _fits_its_objectives(self) -> Self:
        names = ", ".join(self.objectives)
        if len(self.objectives) > 1 and self.rungs:
            raise ValueError(
                f"rungs: the best third is of one objective (found {self.rungs} rungs and the objectives {names}, expected 0 "
                f"with several). Fix: set rungs to 0, or objectives to [{ACCURACY}]"
            )
        if len(self.objectives) > 1 and self.sampler == "cmaes":
            raise ValueError(
                f"sampler: CMA-ES has one objective (found cmaes and the objectives {names}, expected tpe, nsga2, qmc or "
                f"random). Fix: set sampler to tpe, or objectives to [{ACCURACY}]"
            )
        if self.sampler == "nsga2" and self.rungs:
            raise ValueError(
                f"rungs: NSGA-II breeds from trials that were trained to the end (found {self.rungs} rungs, expected 0 with "
                "nsga2). Fix: set rungs to 0, or sampler to tpe"
            )
        return self
