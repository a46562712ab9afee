import numpy as np
import pytest
import threadpoolctl

from xtcav_ml.config.train import Optimizer
from xtcav_ml.learning import optimizers
from xtcav_ml.learning.backend import keras

STEPS = 40


def rules(**changed):
    return Optimizer(**{"learning_rate": 0.1, "momentum": 0.8, "decay_rate": 0.5, "decay_steps": 10, **changed})


def rates(params, steps=STEPS):
    optimizer, found = optimizers.make_optimizer(params, steps), []
    for step in range(steps):
        optimizer.iterations.assign(step)
        found.append(float(optimizer.learning_rate))
    return np.array(found)


@pytest.mark.usefixtures("keras_ready")
def test_the_staircase_falls_after_every_so_many_steps():
    np.testing.assert_allclose(rates(rules()), [0.1] * 10 + [0.05] * 10 + [0.025] * 10 + [0.0125] * 10, rtol=1e-6)


@pytest.mark.usefixtures("keras_ready")
@pytest.mark.parametrize("warmup", [0, 8])
def test_the_cosine_rises_then_falls_to_nothing(warmup):
    found = rates(rules(schedule="cosine", warmup_steps=warmup))
    assert found[warmup] == pytest.approx(0.1, rel=1e-6) == found.max()
    assert (np.diff(found[: warmup + 1]) > 0).all()
    assert (np.diff(found[warmup:]) < 0).all()
    assert found[-1] < 0.001
    half = warmup + (STEPS - warmup) // 2
    assert found[half] == pytest.approx(0.05, rel=1e-5)


def test_the_plateau_is_a_function_of_the_scores():
    params = rules(schedule="plateau", patience=2)
    scores = [0.1, 0.5, 0.5, 0.4, 0.4, 0.4, 0.9, 0.1]
    found = [optimizers.plateau_rate(params, scores[:n]) for n in range(len(scores) + 1)]
    assert found == [0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.025]
    assert optimizers.plateau_rate(rules(), scores) is None


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({"nesterov": True, "name": "adam"}, r"nesterov .*sgd.*found name: adam"),
        ({"weight_decay": 0.1}, r"weight_decay .*adamw.*found name: sgd"),
        ({"warmup_steps": 5}, r"warmup_steps .*cosine"),
    ],
)
def test_what_does_not_belong_together_is_refused(changed, parts):
    with pytest.raises(ValueError, match=parts):
        rules(**changed)


@pytest.mark.usefixtures("keras_ready")
@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"momentum": 0.0},
        {"nesterov": True},
        {"name": "adam", "momentum": 0.9},
        {"name": "adamw", "weight_decay": 0.01},
        {"schedule": "cosine"},
        {"schedule": "plateau"},
        {"clip_norm": 0.5},
    ],
    ids=str,
)
def test_gradients_are_those_that_were_applied(changed):
    """A linear model and a quadratic loss, whose gradient is known: X^T (X w - y) 2 / N."""
    params = rules(**{"learning_rate": 0.01, "decay_steps": 2, **changed})
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, 16, 5)).astype(np.float32), rng.normal(size=(3, 16, 1)).astype(np.float32)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(optimizer=optimizers.make_optimizer(params, 6), loss="mse")
    seen, exact = optimizers.Gradients(params), []
    for batch, target in zip(x, y, strict=True):
        weights = model.get_weights()[0].astype(float)
        gradient = (2 / 16 * batch.T @ (batch @ weights - target)).ravel()
        length = np.linalg.norm(gradient)
        exact.append(gradient * min(1.0, (params.clip_norm or np.inf) / length))
        model.train_on_batch(batch, target)
        seen.observe(model)
    found = seen.measured()
    assert found["gradient_norm"] == pytest.approx(np.linalg.norm(exact[-1]), rel=1e-3)
    cosine = exact[-1] @ exact[-2] / np.linalg.norm(exact[-1]) / np.linalg.norm(exact[-2])
    assert found["gradient_cosine"] == pytest.approx(cosine, abs=1e-3)
    assert seen.measured() == {}


def test_the_length_of_a_gradient_does_not_depend_on_the_cores():
    vector = np.random.default_rng(1).normal(size=100_000)
    with threadpoolctl.threadpool_limits(1):
        alone = optimizers.dot(vector, vector)
    with threadpoolctl.threadpool_limits(2):
        assert optimizers.dot(vector, vector) == alone
    assert alone == pytest.approx(np.square(vector).sum())
    assert optimizers.dot(vector, vector) == pytest.approx(float(vector @ vector), rel=1e-12)
