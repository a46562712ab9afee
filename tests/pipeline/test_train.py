import numpy as np
import pytest

from tests.conftest import write_prepared_file
from tests.learning.test_fit import PARAMS
from xtcav_ml.pipeline import train


class Stopped(Exception):
    pass


def test_a_state_of_another_device_is_not_gone_on_from(tmp_path, monkeypatch):
    for name in ("train", "validation"):
        frames = np.full((16, 8, 10), 100, np.int16)
        write_prepared_file(tmp_path / f"{name}.h5", frames, np.arange(16) % 2)
    found = []

    def stop(train, validation, params, listeners, checkpoints):
        found.append(checkpoints.identity)
        raise Stopped

    monkeypatch.setattr(train.fit, "fit", stop)
    for device in ("TensorFlow on 1 GPU", "TensorFlow on CPU, 2 threads"):
        monkeypatch.setattr(train.backend, "configure", lambda seed, threads, device=device: device)
        with pytest.raises(Stopped):
            train.train_network(
                PARAMS, tmp_path, tmp_path / "model.keras", tmp_path / "history.jsonl", [], {"code": "c"}
            )
    assert [identity["code"] for identity in found] == ["c", "c"]
    assert found[0] != found[1]
