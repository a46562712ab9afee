"""Conservation laws, known answers and reproducibility of simulated shots."""

from pathlib import Path

import numpy as np
import pytest

from xtcav_ml.config.base import read_tree, validate_section
from xtcav_ml.config.schema import ENERGY_AMPLITUDES, ENERGY_LABEL, EVENT_KEY, IMAGE, PEAKS_LABEL, SCHEMA, WAVEFORMS
from xtcav_ml.config.simulate import SimulateParams
from xtcav_ml.science import labels
from xtcav_ml.science.simulation import digitizer, machine, simulator

TREE = read_tree(Path(__file__).parents[3] / "params.yaml")["simulate"]
DARK, NO_LASING, LASING = 68, 69, 70


def params(**sections):
    """The section of params.yaml with some values of its subsections changed."""
    tree = TREE | {"seed": 5}
    for name, changes in sections.items():
        tree[name] = tree[name] | changes
    return validate_section(tree, SimulateParams, "simulate")


def rng(seed=0):
    return np.random.Generator(np.random.SFC64(seed))


@pytest.fixture(scope="module")
def lasing_shots():
    return simulator.simulate_shots(params(), LASING, 0, 40)


def test_every_dataset_is_as_the_schema_says(lasing_shots):
    assert set(SCHEMA) <= set(lasing_shots)
    for name, dataset in SCHEMA.items():
        values = lasing_shots[name]
        assert values.shape == (40, *dataset.row_shape), name
        assert values.dtype == dataset.kind if name == IMAGE else values.dtype.kind in (dataset.kind, "u"), name
    assert all(len(values) == 40 for values in lasing_shots.values())
    others = {name for name in lasing_shots if name not in SCHEMA and not name.startswith("bld.")}
    assert others == {
        *(f"truth.{name}" for name in ("beam", "label", "charge", "delay")),
        *(f"truth.{name}{colour}" for name in ("energy", "loss") for colour in (1, 2)),
        *(ENERGY_LABEL, *ENERGY_AMPLITUDES),
    }


def test_blocks_do_not_change_a_byte(lasing_shots):
    parts = [simulator.simulate_shots(params(), LASING, first, count) for first, count in ((0, 1), (1, 7), (8, 32))]
    for name, values in lasing_shots.items():
        assert np.concatenate([part[name] for part in parts]).tobytes() == values.tobytes(), name


def test_runs_and_seeds_differ(lasing_shots):
    other_run = simulator.simulate_shots(params(), LASING + 1, 0, 1)
    other_seed = simulator.simulate_shots(
        validate_section(TREE | {"seed": 6}, SimulateParams, "simulate"), LASING, 0, 1
    )
    for other in (other_run, other_seed):
        assert not np.array_equal(other[IMAGE][0], lasing_shots[IMAGE][0])
        assert not np.array_equal(other[WAVEFORMS][0], lasing_shots[WAVEFORMS][0])


def test_an_unknown_run_is_refused():
    with pytest.raises(ValueError, match="got 99"):
        simulator.simulate_shots(params(), 99, 0, 1)


@pytest.mark.parametrize("l3_offset", [-6.0, 0.0, 6.0])
def test_peak_positions_move_with_l3_energy_and_amplitudes_follow_the_pulses(l3_offset):
    settings = params().digitizer
    shots = [
        digitizer.draw_waveforms(rng(i), np.array([300.0, 250.0]), l3_offset, np.ones(16), settings) for i in range(60)
    ]
    l3_energy = np.full(60, TREE["rule"]["reference_energy"] + l3_offset)
    peaks = labels.find_peaks(np.stack(shots), l3_energy, params().rule)
    expected = np.array(settings.position) + np.array(settings.shift) * l3_offset
    np.testing.assert_allclose(np.nanmean(peaks.position, axis=1), expected, atol=0.5)
    amplitude = digitizer.expected_amplitudes(np.array([300.0, 250.0]), settings)
    # Peaks raise the median absolute value that they are measured in.
    np.testing.assert_array_less(np.nanmean(peaks.amplitude, axis=1), amplitude)
    np.testing.assert_allclose(np.nanmean(peaks.amplitude, axis=1), amplitude, rtol=0.4)


def test_labels_are_made_from_the_waveforms(lasing_shots):
    again = simulator.label_shots(lasing_shots[WAVEFORMS], lasing_shots["bld.L3energy"], params())
    for name, values in again.items():
        np.testing.assert_array_equal(values, lasing_shots[name])
    emptied = simulator.label_shots(lasing_shots[WAVEFORMS] * 0, lasing_shots["bld.L3energy"], params())
    assert not emptied[PEAKS_LABEL].any()


def test_waveforms_drawn_again_are_as_those_drawn_at_first():
    settings, pulses = params(), np.array([16.0, 9.0])
    first = np.stack(
        [digitizer.draw_waveforms(rng(i), pulses, 2.0, np.ones(16), settings.digitizer) for i in range(600)]
    )
    again = digitizer.redraw_waveforms(rng(1), pulses, 2.0, np.ones(16), settings.digitizer, 1500)
    assert again.dtype == first.dtype == np.float32
    for moment in (np.mean, np.std):
        np.testing.assert_allclose(moment(again, axis=0).mean(axis=0), moment(first, axis=0).mean(axis=0), atol=0.003)
    covariances = [np.mean([np.cov(shot).mean() for shot in drawn[:150]]) for drawn in (first, again)]
    assert covariances[0] == pytest.approx(covariances[1], rel=0.1)  # what channels share
    energy = np.full(1500, TREE["rule"]["reference_energy"] + 2.0)
    shares = [
        np.bincount(labels.peaks_label(labels.find_peaks(w, energy[: len(w)], settings.rule)) + 1, minlength=5) / len(w)
        for w in (first, again)
    ]
    np.testing.assert_allclose(shares[0], shares[1], atol=0.12)
    assert shares[1].max() < 0.9  # a shot whose label is open


def test_labels_drawn_again_repeat_are_of_their_shot_and_follow_the_pulses():
    settings = params()
    none, weak, strong = ([0.0, 0.0], [1.3, 0.0], [20.0, 70.0])
    found = [
        simulator.redraw_labels(settings, (LASING, 3), np.array(energy), 3485.5, 32) for energy in (none, weak, strong)
    ]
    assert found[0] == [32, 0, 0, 0]
    assert 0 < found[1][0] < 32
    assert found[2][3] > 25
    assert simulator.redraw_labels(settings, (LASING, 3), np.array(weak), 3485.5, 32) == found[1]
    others = [simulator.redraw_labels(settings, (LASING, shot), np.array(weak), 3485.5, 32) for shot in range(4, 10)]
    assert len({tuple(counts) for counts in others}) > 1


def test_labels_drawn_again_have_the_gains_of_channels_whose_droop_the_rule_leaves():
    """A droop is not multiplied by the gain, so that the gain counts where it stays."""
    every, pulses, count = list(range(16)), np.array([70.0, 0.0]), 300
    settings = params(
        digitizer={"drooping_channels": every, "droop": [0.05, 0.05], "gain_spread": 1.0},
        rule={"drooping_channels": []},
    )
    gains = simulator._gains(settings)

    def shares(waveforms):
        found = labels.find_peaks(waveforms, np.full(len(waveforms), 3484.5), settings.rule)
        return np.bincount(labels.peaks_label(found) + 1, minlength=5)[1:] / len(waveforms)

    first = shares(
        np.stack([digitizer.draw_waveforms(rng(i), pulses, 0.0, gains, settings.digitizer) for i in range(count)])
    )
    again = np.array(simulator.redraw_labels(settings, (LASING, 3), pulses, 3484.5, count)) / count
    without = shares(digitizer.redraw_waveforms(rng(1), pulses, 0.0, np.ones(16), settings.digitizer, count))
    assert np.abs(first - without).max() > 0.3
    np.testing.assert_allclose(first, again, atol=0.1)


def test_event_keys_are_unique_and_advance_at_the_repetition_rate():
    settings = params()
    keys = []
    for run in settings.runs:
        key = machine.event_keys(settings, run, np.arange(1000))
        keys.append(np.stack([key[name] for name in EVENT_KEY]))
        time = (key["evt.seconds"] - key["evt.seconds"][0]) * 10**9 + key["evt.nanoseconds"]
        np.testing.assert_allclose(np.diff(time), 1e9 / 60, atol=1.5)
        assert set(np.diff(key["evt.fiducials"]) % machine.FIDUCIAL_LIMIT) == {6}
        assert key["evt.fiducials"].max() < machine.FIDUCIAL_LIMIT
    assert len(np.unique(np.concatenate(keys, axis=1), axis=1).T) == 3000


def test_the_run_without_lasing_has_no_peaks_and_the_dark_run_no_beam():
    settings = params()
    raw = validate_section(TREE | {"frames": "raw", "dark_shots": 5}, SimulateParams, "simulate")
    off = simulator.simulate_shots(settings, NO_LASING, 0, 20)
    dark = simulator.simulate_shots(raw, DARK, 0, 5)
    assert not off["lasing"].any()
    assert (off[PEAKS_LABEL] == 0).mean() > 0.9
    assert not dark["truth.beam"].any()
    assert np.median(dark[IMAGE].mean(axis=0)) == pytest.approx(TREE["camera"]["pedestal"], abs=6)
    assert dark[IMAGE].std(axis=0).mean() == pytest.approx(TREE["camera"]["read_noise"] * 0.84, rel=0.1)  # of five


def test_stored_frames_have_the_published_range_of_values(lasing_shots):
    with_beam = lasing_shots[IMAGE][lasing_shots["truth.beam"] > 0]
    assert -40 < with_beam.min() < -10
    assert 1000 < np.median(with_beam.max(axis=(1, 2))) < 2500
    streak = with_beam[:5, :, 300:330].max(axis=1)  # a finger away from the spikes
    assert 120 < np.median(streak) < 300
    assert abs(np.median(with_beam)) < 8  # the dark level has been subtracted, but for what it has moved since


def test_raw_frames_less_their_dark_level_are_the_stored_ones(lasing_shots):
    raw = validate_section(TREE | {"seed": 5, "frames": "raw"}, SimulateParams, "simulate")
    frames = simulator.simulate_shots(raw, LASING, 0, 2)[IMAGE]
    assert frames.min() >= 0
    assert np.median(frames - lasing_shots[IMAGE][:2]) == pytest.approx(TREE["camera"]["pedestal"], abs=1)


def test_the_streaks_fill_the_published_part_of_the_screen(lasing_shots):
    settings = params().calibration
    frame = lasing_shots[IMAGE][np.flatnonzero(lasing_shots["truth.beam"])[:8]].mean(axis=0)
    rows, columns = (np.flatnonzero(frame.max(axis=axis) > 30) for axis in (1, 0))
    assert np.ptp(columns) * settings.time_per_column == pytest.approx(235, rel=0.12)
    assert np.ptp(rows) * settings.energy_per_row == pytest.approx(105, rel=0.15)


def test_frames_are_mirrored_on_the_other_side_of_the_rf():
    here, there = (
        simulator.simulate_shots(
            params(machine={"missing": 0.0, "xtcav_phase": [phase, 0.0, 0.0, 0.0]}), NO_LASING, 0, 1
        )
        for phase in (144.5, 324.5)
    )
    np.testing.assert_allclose(profile(here[IMAGE][0]), profile(there[IMAGE][0])[::-1], rtol=0.5)
    assert abs(middle(here[IMAGE][0]) - middle(there[IMAGE][0])) > 3


def profile(frame):
    """Return the signal of eight parts of the columns about the middle of the streak."""
    columns = np.clip(frame.astype(float), 12, None).sum(axis=0) - 12.0 * len(frame)
    ends = np.flatnonzero(columns > columns.max() / 20)[[0, -1]]
    return np.array([part.sum() for part in np.array_split(columns[ends[0] : ends[1] + 1], 8)])


def middle(frame):
    """Return the brightest column from the middle of the screen."""
    return int(np.clip(frame, 12, None).sum(axis=0).argmax()) - frame.shape[1] // 2


def test_one_bunch_is_an_option_and_makes_one_colour():
    one = params(bunch={"count": 1}, machine={"missing": 0.0})
    shots = simulator.draw_shots(one, LASING, np.arange(0, 4000, 40))
    assert shots.bunches.charge.shape == (100, 1)
    np.testing.assert_allclose(shots.bunches.charge[:, 0], shots.columns["truth.charge"])
    assert not shots.energy[:, 1].any()
    assert simulator.simulate_shots(one, LASING, 0, 1)[IMAGE].max() > 100


def test_beam_moves_up_the_rows_with_l3_energy():
    still = params(machine={"missing": 0.0, "l3_energy": [3484.5, 10.0, 0.0, 0.0]}, camera={"position_jitter": [0, 0]})
    shots = simulator.simulate_shots(still, NO_LASING, 0, 12)
    light = np.clip(shots[IMAGE].astype(float) - 30, 0, 3000)
    row = (light.sum(axis=2) * np.arange(light.shape[1])).sum(axis=1) / light.sum(axis=(1, 2))
    slope = np.polyfit(shots["bld.L3energy"], row, 1)[0]
    assert slope == pytest.approx(1 / still.calibration.energy_per_row, rel=0.2)
