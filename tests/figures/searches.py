"""A search made up for tests of its pictures: 30 trials that stop at rungs, some of which cannot be trained or have failed."""

from dataclasses import replace
from typing import Any

import numpy as np

from xtcav_ml.science.search import Search, Trial

RATE, MOMENTUM = "train.optimizer.learning_rate", "train.optimizer.momentum"
KERNEL, SECOND = "train.model.blocks.0.kernel", "train.model.blocks.1.kernel"
WINDOW, POOL = "train.model.blocks.0.pool_window", "train.model.blocks.0.pool"
SPACE: dict[str, dict[str, Any]] = {
    RATE: {"low": 0.003, "high": 0.1, "log": True, "step": None},
    MOMENTUM: {"low": 0.5, "high": 0.98, "log": False, "step": None},
    KERNEL: {"choices": [4, 6, 8, 12]},
    SECOND: {"choices": [3, 6, 8]},
    WINDOW: {"low": 3, "high": 11, "log": False, "step": 4},
    POOL: {"choices": ["max", "average"]},
}
BASELINE = {RATE: 0.01, MOMENTUM: 0.85, KERNEL: 8, SECOND: 6, WINDOW: 7, POOL: "max"}
STOPS = [2, 5, 14]
TOO_LARGE = "train.model.blocks.0.kernel: larger than its map (found 12, expected at most 9). Fix: lower it"


def made_up(count: int = 30, stops: list[int] = STOPS) -> Search:
    """Return a search of which a third of the trials goes on at each rung; every tenth is infeasible, one has failed."""
    rng = np.random.default_rng(7)
    trials = [_trial(number, rng, stops) for number in range(count)]
    complete = [trial for trial in trials if trial.state == "complete"]
    best = max(complete, key=lambda trial: trial.score or 0.0)
    repeats = {
        name: [round(score + 0.01 * i, 4) for i in range(3)]
        for name, score in (("params.yaml", 0.84), ("trial 3", 0.86))
    }
    return Search(
        study="peaks-0123abcd",
        scored_by="minus mean val_cross_entropy of 5 epochs",
        epochs=40,
        stops=stops,
        space=SPACE,
        trials=trials,
        best=best.number,
        baseline=BASELINE,
        importances={RATE: 0.55, KERNEL: 0.25, MOMENTUM: 0.1, POOL: 0.06, WINDOW: 0.04},
        repeats=repeats,
        shot_score="accuracy",
        summary={"Sure": "Better than params.yaml? Not shown."},
    )


def _trial(number: int, rng: np.random.Generator, stops: list[int]) -> Trial:
    params = BASELINE if number == 0 else _params(rng)
    if number % 10 == 9:
        return Trial(number, "infeasible", 0, None, params, why=TOO_LARGE)
    ends = [*stops, 40]
    epochs = (
        int(rng.choice(ends, p=np.array([9, 4, 2, 1])[-len(ends) :] / sum([9, 4, 2, 1][-len(ends) :])))
        if number
        else 40
    )
    level = 0.3 + 0.2 * abs(np.log(params[RATE] / 0.02)) + 0.1 * rng.random()
    curve = [[epoch, float(-level - 0.8 / epoch)] for epoch in range(1, epochs + 1)]
    state = "complete" if epochs == 40 else "failed" if number == 11 else "pruned"
    why = "" if state == "complete" else f"not among the best third after epoch {epochs}"
    return Trial(number, state, epochs, None if state == "failed" else curve[-1][1], params, curve, [curve[-1][1]], why)


def _params(rng: np.random.Generator) -> dict[str, Any]:
    tried = {
        name: values["choices"][rng.integers(len(values["choices"]))]
        for name, values in SPACE.items()
        if "choices" in values
    }
    tried |= {RATE: float(np.exp(rng.uniform(np.log(0.003), np.log(0.1)))), MOMENTUM: float(rng.uniform(0.5, 0.98))}
    return {name: {**tried, WINDOW: int(rng.choice([3, 7, 11]))}[name] for name in SPACE}


def with_objectives(found: Search) -> Search:
    """Return it with a second objective: milliseconds a frame."""
    trials = [
        replace(trial, values=[*trial.values, 0.3 + trial.params[KERNEL] ** 2 / 40]) if trial.values else trial
        for trial in found.trials
    ]
    return replace(found, trials=trials, objectives=["accuracy", "ms a frame"], maximized=[True, False])


def without_second_block(found: Search) -> Search:
    """Return it with a parameter that every third trial does not have."""
    return replace(
        found,
        trials=[
            replace(trial, params={name: value for name, value in trial.params.items() if name != SECOND})
            if trial.number % 3 == 0
            else trial
            for trial in found.trials
        ],
    )
