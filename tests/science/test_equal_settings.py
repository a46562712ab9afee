"""How often `xtcav compare` errs on settings that were really trained: a hundred pairs of groups of five small networks."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from xtcav_ml.data.compared_predictions import Run, compare_predictions

SEEDS, SHOTS = 5, 1000
LOSS = 0.04


class Settings:
    """Small networks that are trained on 300 shots of one set, and what they say of 1,000 others, seed by seed."""

    def __init__(self, number: int) -> None:
        rng = np.random.default_rng(number)
        centres = rng.normal(size=(4, 12))
        self.labels = rng.integers(0, 4, 300 + SHOTS)
        self.shots = centres[self.labels] * 0.7 + rng.normal(size=(300 + SHOTS, 12))

    def right(self, seed: int) -> np.ndarray:
        """Return the test shots that the network of a seed is right on."""
        network = MLPClassifier((8,), solver="sgd", learning_rate_init=0.1, max_iter=15, random_state=seed)
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            network.fit(self.shots[:300], self.labels[:300])
        return network.predict(self.shots[300:]) == self.labels[300:]


def worse(right: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return answers that are wrong on LOSS more of the shots."""
    return right & (rng.random(right.shape) >= LOSS / right.mean())


def compared(first: np.ndarray, second: np.ndarray) -> str | None:
    """Return which of two groups of answers (seeds, shots) is called better."""
    runs = []
    for name, group in (("first", first), ("second", second)):
        tables = [
            [
                {"run": "1", "run.index": f"{2 * i}", "actual": "a", "predicted": "a" if hit else "b"}
                for i, hit in enumerate(one)
            ]
            for one in group
        ]
        runs.append(Run(name, tables[0], tables))
    (entry,) = compare_predictions(runs)["comparisons"]
    return entry["better"]


@pytest.mark.slow
def test_of_a_hundred_pairs_of_equal_settings_five_are_called_better_and_four_points_are_found_in_eighty(capsys):
    equal, found, spread = 0, 0, []
    for number in range(100):
        settings, rng = Settings(number), np.random.default_rng(number)
        answers = np.array([settings.right(seed) for seed in range(2 * SEEDS)])
        first, second = answers[:SEEDS], answers[SEEDS:]
        equal += compared(first, second) is not None
        found += compared(first, worse(second, rng)) == "first"
        spread.append(first.mean(axis=1).std(ddof=1))
    with capsys.disabled():
        print(f"\nequal settings called better: {equal} of 100; {LOSS:.0%} found: {found} of 100; ", end="")
        print(f"s.d. of a seed {100 * np.mean(spread):.1f} points")
    assert equal <= 5
    assert found >= 80
