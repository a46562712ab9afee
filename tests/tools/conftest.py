"""What tests of tools that compare predictions share."""

import pytest

from xtcav_ml.science import drift


@pytest.fixture
def without_drift(monkeypatch):
    """Answers of these tests are wrong in one stretch, which shots that drift would be: as if they were independent."""
    monkeypatch.setattr(drift, "allowed_for", lambda difference, gains: difference)
