"""A search as plain data: its trials, ranked as successive halving ranks them, and the front of several objectives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MATTERED = 5
"""Best trials from which importances are estimated, at least: Optuna's advice for PED-ANOVA."""

FEW_TRIALS = 50
"""Trials below which importances are a rough guess."""


@dataclass(frozen=True)
class Trial:
    """A trial that repeats no other; `curve` has epoch and score so far, `values` what it reached in each objective."""

    number: int
    state: str  # running, waits, complete, pruned, infeasible, failed
    epochs: int
    score: float | None
    params: dict[str, Any]
    curve: list[list[float]] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    why: str = ""


@dataclass(frozen=True)
class Search:
    """All that the pictures and the page of a search show."""

    study: str
    scored_by: str
    epochs: int
    stops: list[int]  # epochs after which trials wait
    space: dict[str, dict[str, Any]]  # of each parameter `low`, `high` and `log`, or `choices`
    trials: list[Trial]
    best: int | None  # number of the trial to promote, if one is complete
    baseline: dict[str, Any]  # the parameters of params.yaml
    objectives: list[str] = field(default_factory=list)  # names, where there are several
    maximized: list[bool] = field(default_factory=list)  # of each
    importances: dict[str, float] = field(default_factory=dict)
    repeats: dict[str, list[float]] = field(default_factory=dict)  # mean score on the validation shots by seed, of each
    shot_score: str = ""  # what that is
    summary: dict[str, str] = field(default_factory=dict)  # the search in a few sentences, by their headings


def shortened(names: Sequence[str]) -> dict[str, str]:
    """Return for each dotted name its last parts, as few as tell it from the others; a number of a list stays before them."""
    found = {}
    for name in names:
        parts = name.split(".")
        counts = range(1, len(parts) + 1)
        short = next((".".join(parts[-count:]) for count in counts if _is_alone(parts, count, name, names)), name)
        found[name] = short
    return found


def _is_alone(parts: Sequence[str], count: int, name: str, names: Sequence[str]) -> bool:
    tail = parts[-count:]
    before = parts[-count - 1] if count < len(parts) else ""
    return not before.isdigit() and not any(other != name and other.split(".")[-count:] == tail for other in names)


def scored(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials that have a score, the best first: of those that went further than all others, the highest score."""
    return sorted(
        (trial for trial in trials if trial.score is not None and trial.state != "failed"),
        key=lambda trial: (-trial.epochs, -(trial.score or 0.0), trial.number),
    )


def front(values: Sequence[Sequence[float]], maximized: Sequence[bool]) -> list[int]:
    """Return which of the points (N, objectives) no other one beats: it is as good in each objective, and better in one."""
    better = [[value if up else -value for value, up in zip(point, maximized, strict=True)] for point in values]

    def beaten(point: Sequence[float]) -> bool:
        return any(other != point and all(a >= b for a, b in zip(other, point, strict=True)) for other in better)

    return [i for i, point in enumerate(better) if not beaten(point)]


def pairs(space: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return pairs of parameters for tables of two: the kernel and each kind of pooling of the same block."""
    kernels = [name for name in space if name.endswith(".kernel")]
    return [
        (kernel, name)
        for kernel in kernels
        for name in space
        if name.startswith(f"{kernel.removesuffix('kernel')}pool")
    ]
