"""Known answers of the label rule."""

import numpy as np
import pytest

from xtcav_ml.config.peaks import PeakRule
from xtcav_ml.config.schema import CHANNELS, SAMPLES
from xtcav_ml.science import labels

RULE = PeakRule(
    energy_thresholds=(2.0, 4.0),
    energy_absent=2.0,
    thresholds=(5, 7, 7),
    regions=((50, 70), (110, 130), (130, 150)),
    reference_energy=4000,
    shift=(0, -2, -2),
    largest_difference=0.4,
    drooping_channels=(8, 11),
    baseline_samples=20,
)
PLACES = (60, 120, 140)


def waveforms(*amplitudes: float, move: int = 0) -> np.ndarray:
    """One shot whose channels alternate between +1 and -1 V, with t0, t1 and t2 of these heights, V."""
    shot = np.tile(np.where(np.arange(SAMPLES) % 2, 1.0, -1.0), (CHANNELS, 1))
    for place, amplitude in zip(PLACES, amplitudes, strict=True):
        if amplitude:
            shot[:, place + (move if place > 100 else 0)] = amplitude
    return shot[None]


@pytest.mark.parametrize("samples", [1, 2, 5, 250])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_median_is_that_of_numpy(samples, dtype):
    values = np.random.default_rng(samples).normal(size=(7, 3, samples)).astype(dtype)
    values[0, 0, 0] = np.nan
    own = labels._median(values)
    assert own.dtype == dtype
    np.testing.assert_array_equal(own, np.median(values, axis=-1))


@pytest.mark.parametrize(
    ("t0", "t1", "t2", "label"),
    [
        (0, 0, 0, 0),
        (5.0, 0, 0, 0),  # over, not at, the threshold
        (5.1, 0, 0, 1),
        (5.1, 7.0, 0, 1),
        (6, 7.1, 0, 2),
        (6, 10, 5.9, 2),
        (6, 10, 9, 3),
        (6, 20, 12, 3),  # 40 % apart: both count
        (6, 20, 11.9, 2),  # further apart: the smaller one does not
        (6, 12, 20, 3),
        (6, 11.9, 20, -1),  # t2 alone is left
        (6, 0, 20, -1),
        (0, 20, 0, -1),
        (0, 20, 20, -1),
        (0, 0, 20, -1),
    ],
)
def test_label_rule(t0, t1, t2, label):
    peaks = labels.find_peaks(waveforms(t0, t1, t2), np.array([4000.0]), RULE)
    assert labels.peaks_label(peaks).tolist() == [label]
    assert labels.peaks_label(peaks).dtype == np.int8


def test_positions_and_amplitudes_are_those_of_the_peaks_and_nan_elsewhere():
    peaks = labels.find_peaks(waveforms(6, 20, 11.9), np.array([4000.0]), RULE)
    np.testing.assert_array_equal(peaks.position[:, 0], [60, 120, np.nan])
    np.testing.assert_allclose(peaks.amplitude[:, 0], [6, 20, np.nan])


def test_regions_follow_the_l3_energy():
    shot = waveforms(6, 20, 20, move=-16)
    assert labels.peaks_label(labels.find_peaks(shot, np.array([4008.0]), RULE)) == [3]
    assert labels.peaks_label(labels.find_peaks(shot, np.array([4000.0]), RULE)) != [3]


def test_without_l3_energy_no_peak_is_found():
    peaks = labels.find_peaks(waveforms(6, 20, 20), np.array([np.nan]), RULE)
    assert np.isnan(peaks.amplitude).all()


def test_channels_of_any_gain_count_alike():
    gains = np.linspace(0.1, 3, CHANNELS)[:, None]
    for part in ("position", "amplitude"):
        plain = getattr(labels.find_peaks(waveforms(6, 20, 15), np.array([4000.0]), RULE), part)
        gained = getattr(labels.find_peaks(gains * waveforms(6, 20, 15), np.array([4000.0]), RULE), part)
        np.testing.assert_allclose(gained, plain)


def test_a_dead_channel_is_zero():
    shot = waveforms(6, 20, 15)
    shot[:, 3] = 0
    assert np.isfinite(labels.normalize(shot)).all()


def test_droop_correction_restores_flat_channels_and_leaves_the_others_alone():
    flat = np.zeros((2, CHANNELS, SAMPLES))
    flat[:, :, 100:110] = 5.0
    drooping = flat.copy()
    drooping[:, [8, 11]] += 0.7 - 0.01 * np.arange(SAMPLES)
    drooping[:, 4] += 1.0
    corrected = labels.remove_droop(drooping, (8, 11), 20)
    np.testing.assert_allclose(corrected[:, [8, 11]], flat[:, [8, 11]], atol=1e-12)
    np.testing.assert_array_equal(corrected[:, 4], drooping[:, 4])


def test_input_is_left_alone_and_no_shots_give_no_labels():
    shot = waveforms(6, 20, 15)
    before = shot.copy()
    labels.find_peaks(shot, np.array([4000.0]), RULE)
    np.testing.assert_array_equal(shot, before)
    assert labels.peaks_label(labels.find_peaks(shot[:0], np.zeros(0), RULE)).shape == (0,)


def test_labels_by_energy_peaks():
    first = np.array([1.0, 2.1, 1.9, 2.1, 2.1, 2.0, np.nan])
    second = np.array([1.0, 1.9, 4.1, 4.1, 3.0, 4.0, 5.0])
    assert labels.energy_label(first, second, RULE).tolist() == [0, 1, 2, 3, -1, -1, -1]
    early = RULE.model_copy(update={"energy_thresholds": (0.5, 0.5), "energy_absent": 0.5})
    assert labels.energy_label(first, second, early).tolist()[:3] == [3, 3, 3]
