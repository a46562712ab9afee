"""What tests of tools that compare predictions share."""

import pytest

from xtcav_ml.data import compared_predictions
from xtcav_ml.science import drift, metrics
from xtcav_ml.science.blocks import Blocked


@pytest.fixture
def without_drift(monkeypatch):
    """Answers of these tests are wrong in one stretch, which shots that drift would be: as if they were independent."""
    monkeypatch.setattr(drift, "allowed_for", lambda difference, gains: difference)
    monkeypatch.setattr(compared_predictions, "blocked_interval", _of_shots)


def _of_shots(right, numbers):
    return Blocked(*metrics.wilson_interval(int(right.sum()), len(right)), len(right), 1.0)
