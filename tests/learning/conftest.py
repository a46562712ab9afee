"""A small data set that a small network learns in a second."""

import numpy as np
import pytest

from tests.conftest import write_prepared_file
from xtcav_ml.config.prepare import Pixels
from xtcav_ml.config.train import LayerBlock, Model, Optimizer, TrainParams
from xtcav_ml.data.prepared import PreparedFile

PARAMS = TrainParams(
    seed=3,
    threads=2,
    batch_size=8,
    epochs=6,
    class_weights=False,
    regression_weight=1.0,
    model=Model(
        name="convnet",
        standardize="all",
        blocks=(LayerBlock(channels=4, kernel=3, stride=1, pool="max", pool_window=3, pool_stride=2),),
        hidden=(8,),
        initial_sd=0.3,
        l1=0.0,
        l2=0.001,
    ),
    optimizer=Optimizer(learning_rate=0.1, momentum=0.8, decay_rate=0.5, decay_steps=9),
)


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
