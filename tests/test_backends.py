"""TensorFlow and JAX, each in a process of its own, on the same data: the same initial bits, and the same losses."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import ROOT

PROGRAM = """if True:
    import hashlib, json, sys
    from pathlib import Path
    from tests.learning.test_fit import PARAMS, write
    from xtcav_ml.learning import backend, fit, layer_plan, networks, normalization
    from xtcav_ml.learning.batches import Batches, shuffled
    from xtcav_ml.learning.layer_plan import Ends
    import numpy as np

    device = backend.configure(seed=1, threads=2)
    folder = Path(sys.argv[1])
    energy = lambda count: np.random.default_rng(count).normal(4000, 3, count)
    made = []
    for name, count in (("train", 45), ("validation", 20)):
        numbers = np.where(np.arange(count) % 3, energy(count), np.nan)
        learned = {"regression": {"shown": numbers}, "features": {"bld.L3energy": energy(count)}}
        made.append(write(folder / f"{name}.h5", count, count, **learned))
    block = PARAMS.model.blocks[0]
    second = block.model_copy(update={"pool": "average", "batch_norm": True, "activation": "gelu"})
    model = PARAMS.model.model_copy(update={"blocks": (block, second), "initializer": "he"})
    params = PARAMS.model_copy(update={"model": model, "epochs": 4})
    statistics = normalization.statistics_of(made[0], "all")
    network = networks.build(layer_plan.plan_layers(model, Ends.of(made[0].spec)), model, statistics, seed=params.seed)
    digest = hashlib.sha256(b"".join(np.asarray(w).tobytes() for w in network.trainable_weights)).hexdigest()
    given = {}
    for room in (2 * made[0].nbytes - 1, 2 * made[0].nbytes):
        if backend.name() == "jax":  # a CPU passes for a GPU: JAX brings frames to either in the same way
            backend.free_on_gpu = lambda room=room: room
        frames = Batches(made[0], 8, seed=3)[2][0]["frame"]
        right = (made[0].stored(shuffled(45, 3, 0)[16:24]) == frames[..., 0]).all()
        given[str(room - 2 * made[0].nbytes)] = [bool(right), isinstance(frames, np.ndarray)]
    fitted = fit.fit(*made, params)
    print(json.dumps({"device": device, "digest": digest, "history": fitted.history, "frames": given}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    processes = {}
    for name in ("tensorflow", "jax"):
        processes[name] = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, tmp_path_factory.mktemp(name)],
            cwd=ROOT,
            env={**os.environ, "KERAS_BACKEND": name},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    results = {}
    for name, process in processes.items():
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        results[name] = json.loads(output.splitlines()[-1])
    return results


def test_what_was_used_is_told(found):
    assert found["tensorflow"]["device"] == "TensorFlow on CPU, 2 threads"
    assert found["jax"]["device"] == "JAX on cpu"


def test_frames_are_on_the_device_of_jax_if_they_fit_twice(found):
    right, on_host = True, True
    assert found["tensorflow"]["frames"] == {"-1": [right, on_host], "0": [right, on_host]}
    assert found["jax"]["frames"] == {"-1": [right, on_host], "0": [right, not on_host]}


def test_initial_weights_are_the_same_bits(found):
    assert found["tensorflow"]["digest"] == found["jax"]["digest"]


def test_losses_are_the_same_to_float_tolerance(found):
    for one, other in zip(found["tensorflow"]["history"], found["jax"]["history"], strict=True):
        assert one.keys() == other.keys()
        for name in one:
            if name != "gradient_cosine":
                np.testing.assert_allclose(one[name], other[name], rtol=2e-3, atol=2e-4, err_msg=name)


UNUSED = """
import sys
from xtcav_ml.learning import backend
backend.configure(seed=1, threads=2)
print(sorted((backend.UNUSED | backend.OTHERS) & set(sys.modules)))
import matplotlib.pyplot, sklearn
print(backend.name())
"""


@pytest.mark.parametrize("name", ["tensorflow", "jax"])
def test_what_nobody_asked_for_is_not_imported_but_can_be(name):
    done = subprocess.run(
        [sys.executable, "-c", UNUSED],
        env={**os.environ, "KERAS_BACKEND": name},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.splitlines() == ["[]", name]
