"""A small data set that a small network learns in a second."""

import numpy as np
import pytest

from tests.conftest import write_prepared_file
from xtcav_ml.config.prepare import Pixels
from xtcav_ml.data.prepared import PreparedFile


def write(path, count, seed, *, labels=True, **learned):
    """Frames with a bright column on the left or on the right, brighter for higher numbers."""
    rng = np.random.default_rng(seed)
    side = np.arange(count) % 2
    frames = rng.normal(100, 3, (count, 8, 10))
    brightness = learned.get("regression", {}).get("brightness", np.full(count, 30.0))
    frames[np.arange(count), :, np.where(side, 7, 2)] += brightness[:, np.newaxis]
    return PreparedFile(
        write_prepared_file(
            path,
            frames.astype(np.int16),
            side if labels else None,
            steps=({"step": "subtract_dark"},),
            pixels=Pixels(dtype="int16", quantum=0.05),
            **learned,
        )
    )


@pytest.fixture(scope="module")
def sets(tmp_path_factory, keras_ready):
    folder = tmp_path_factory.mktemp("prepared")
    with write(folder / "train.h5", 45, 0) as train, write(folder / "validation.h5", 20, 1) as validation:
        yield train, validation
