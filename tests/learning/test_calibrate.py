"""A calibrated network: other probabilities, the same answers, and statements that hold for new shots of each class."""

import numpy as np
import pytest
from scipy.stats import betabinom, binomtest

from tests.conftest import write_prepared_file
from tests.learning.test_fit import PARAMS, untrained, write
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import calibrate, fit
from xtcav_ml.learning.batches import Batches
from xtcav_ml.learning.layer_plan import CLASS_HEAD, NUMBER_HEAD
from xtcav_ml.science import metrics, statements


def said(model, prepared):
    return model.predict(Batches(prepared, 64), verbose=0)


def test_a_calibrated_network_gives_the_same_answers_at_another_temperature(sets):
    model = untrained(sets[0])
    layer = model.get_layer(CLASS_HEAD)
    layer.set_weights([values * 30 for values in layer.get_weights()])  # far too sure
    before = said(model, sets[1])[CLASS_HEAD]
    stated = calibrate.calibrate(model, sets[1], 0.8)
    after = said(model, sets[1])[CLASS_HEAD]
    np.testing.assert_allclose(after, statements.tempered(before, stated.temperature), atol=1e-5)
    assert (after.argmax(axis=1) == before.argmax(axis=1)).all()
    errors = [metrics.classification(sets[1].labels, said_of).cross_entropy for said_of in (before, after)]
    assert errors[1] < errors[0]
    assert stated.least == pytest.approx(statements.least_probabilities(sets[1].labels, after, 0.8), abs=2e-6)
    assert (stated.coverage, stated.half_width) == (0.8, ())


def test_a_network_of_numbers_has_intervals_and_no_temperature(tmp_path, keras_ready):
    brightness = np.where(np.arange(30) < 10, np.nan, np.arange(30.0))
    with write(tmp_path / "a.h5", 30, 0, labels=False, regression={"brightness": np.nan_to_num(brightness)}) as train:
        model = untrained(train)
    frames = np.random.default_rng(0).integers(90, 200, (30, 8, 10)).astype(np.int16)
    path = write_prepared_file(
        tmp_path / "b.h5", frames, None, regression={"brightness": brightness}, steps=({"step": "subtract_dark"},)
    )
    with PreparedFile(path) as validation:
        before = said(model, validation)[NUMBER_HEAD]
        stated = calibrate.calibrate(model, validation, 0.9)
        assert (said(model, validation)[NUMBER_HEAD] == before).all()
    errors = np.sort(np.abs(before[10:, 0] - brightness[10:]))
    assert stated.half_width == (pytest.approx(float(errors[-2]), rel=1e-5),)  # two of 21 ranks may be beyond
    assert (stated.temperature, stated.least) == (None, ())


@pytest.mark.slow
def test_ninety_per_cent_is_what_they_say_on_twenty_splits_of_shots_that_a_network_was_not_trained_on(
    tmp_path, keras_ready
):
    """Of each class, and of a number: the count that is covered has a beta-binomial distribution."""
    shots, rng = 1600, np.random.default_rng(2)
    dim = {"regression": {"brightness": rng.uniform(0, 12, shots)}}
    few = {"regression": {"brightness": rng.uniform(0, 12, 400)}}
    with write(tmp_path / "train.h5", 400, 1, **few) as train, write(tmp_path / "rest.h5", shots, 2, **dim) as rest:
        slow = PARAMS.optimizer.model_copy(update={"learning_rate": 0.01, "decay_steps": 10_000})
        fitted = fit.fit(train, train, PARAMS.model_copy(update={"optimizer": slow}))
        outputs, labels, numbers = said(fitted.model, rest), rest.labels, rest.targets[:, 0]
    probabilities, errors = outputs[CLASS_HEAD], np.abs(outputs[NUMBER_HEAD][:, 0] - numbers)
    assert 0.6 < (probabilities.argmax(axis=1) == labels).mean() < 0.97
    low, high, inside = [], [], []
    for split in range(20):
        order = np.random.default_rng(split).permutation(shots)
        known, new = order[: shots // 2], order[shots // 2 :]
        temperature = statements.temperature(labels[known], probabilities[known])
        sharp = statements.tempered(probabilities, temperature)
        least = statements.least_probabilities(labels[known], sharp[known], 0.9)
        width = statements.half_width(numbers[known], outputs[NUMBER_HEAD][known, 0], 0.9)
        covered = [(sharp[new, label] >= least[label])[labels[new] == label] for label in (0, 1)]
        sizes = [int((labels[known] == label).sum()) for label in (0, 1)]
        for of, made_from in zip([*covered, errors[new] <= width], [*sizes, len(known)], strict=True):
            outside = int(0.1 * (made_from + 1) + 1e-9)
            band = betabinom(len(of), made_from + 1 - outside, outside)
            low.append(band.cdf(of.sum()))
            high.append(band.sf(of.sum() - 1))
            inside.append(binomtest(int(of.sum()), len(of), 0.9).pvalue > 0.05)
    counts = np.reshape(inside, (20, 3)).sum(axis=0)
    print("within the 95 % binomial band of 20:", dict(zip(("no", "yes", "brightness"), counts.tolist(), strict=True)))
    assert min(low + high) > 0.0005
    assert counts.min() >= 13  # the band of new shots alone; that of both has a share of 0.83
