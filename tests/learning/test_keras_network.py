import numpy as np
import pytest

from tests.conftest import write_prepared_file
from tests.learning.test_fit import untrained
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import keras_file
from xtcav_ml.learning.keras_network import KerasNetwork
from xtcav_ml.learning.layer_plan import CLASS_HEAD, FRAME_INPUT


@pytest.fixture
def network(tmp_path, keras_ready):
    frames = np.random.default_rng(0).integers(90, 200, (40, 8, 10)).astype(np.int16)
    with PreparedFile(write_prepared_file(tmp_path / "train.h5", frames, np.arange(40) % 2)) as train:
        keras_file.save(untrained(train), train.spec, tmp_path / "model.keras")
    return KerasNetwork(tmp_path / "model.keras", threads=2)


def test_of_others_a_shots_numbers_do_not_depend_on_how_many_there_are(network):
    images, none = (
        np.random.default_rng(0).integers(0, 2000, (31, 4, 5)).astype(np.int16),
        np.empty((31, 0), np.float32),
    )
    found = network(images, none)[CLASS_HEAD]
    for count in (2, 3, 8):
        assert network(images[:count], none[:count])[CLASS_HEAD].tobytes() == found[:count].tobytes()
    alone = network(images[:1], none[:1])[CLASS_HEAD]
    np.testing.assert_allclose(alone, found[:1], rtol=0, atol=1e-6)


def test_a_frame_alone_is_not_filled_up(network, monkeypatch):
    sizes = []
    monkeypatch.setattr(network.model, "predict_on_batch", lambda given: sizes.append(len(given[FRAME_INPUT])) or {})
    for count in (1, 2, 5, 32):
        network(np.zeros((count, 4, 5), np.int16), np.empty((count, 0), np.float32))
    assert sizes == [1, 16, 16, 32]
