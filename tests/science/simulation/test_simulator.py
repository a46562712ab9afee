"""Conservation laws, known answers and reproducibility of simulated shots."""

from pathlib import Path

import numpy as np
import pytest

from xtcav_ml.config.base import read_tree, validate_section
from xtcav_ml.config.schema import EVENT_KEY, IMAGE, PEAKS_LABEL, SCHEMA, WAVEFORMS
from xtcav_ml.config.simulate import SimulateParams
from xtcav_ml.science import labels
from xtcav_ml.science.simulation import beam, camera, digitizer, simulator

TREE = read_tree(Path(__file__).parents[3] / "params.yaml")["simulate"]
DARK, NO_LASING, LASING = 68, 69, 70
TIME = np.arange(-100.0, 101.0)


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
    assert {name for name in lasing_shots if name not in SCHEMA} == {
        *(f"truth.{name}" for name in ("beam", "label", "charge", "duration", "row", "column")),
        *(f"truth.{name}{colour}" for name in ("energy", "loss", "position", "duration") for colour in (1, 2)),
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


def test_charge_on_the_screen_is_that_of_the_bunch():
    quiet = params(bunch={"missing": 0.0}, camera={"position_jitter": [0, 0]})
    for run in (NO_LASING, LASING):
        scalar, streak = simulator.draw_shot(rng(), quiet, run)
        patch = camera.charge_density(streak, quiet.camera.resolution, 726)
        assert 150 <= scalar["truth.charge"] <= 250
        assert patch.values.sum(dtype=np.float64) == pytest.approx(scalar["truth.charge"], rel=1e-4)


def test_frame_holds_the_charge_times_the_response():
    calm = {"read_noise": 0.0, "saturation": 32767, "hot_pixels": 0.0, "pixel_pattern": 0.0, "column_pattern": 0.0}
    shots = simulator.simulate_shots(params(bunch={"missing": 0.0}, camera=calm | {"pedestal": 100.0}), NO_LASING, 0, 3)
    seen = (shots[IMAGE].astype(np.float64) - 100).sum(axis=(1, 2))
    np.testing.assert_allclose(seen, TREE["camera"]["response"] * shots["truth.charge"], rtol=0.01)


def test_lasing_takes_energy_and_widens_the_spread():
    bunch, duration = beam.draw_bunch(rng(), TIME, params().bunch)
    losses, pulses = beam.draw_losses(rng(1), TIME, bunch.charge, duration, params().lasing)
    after = beam.lase(bunch, losses, 0.8)
    loss = losses.sum(axis=0)
    assert (losses >= 0).all()
    assert loss.max() > 1
    np.testing.assert_allclose(bunch.energy - after.energy, loss, atol=1e-12)
    assert (after.spread >= bunch.spread).all()
    assert after.spread[loss.argmax()] > bunch.spread[loss.argmax()]
    assert after.charge.sum() == bunch.charge.sum()
    # What the electrons lose, pC x MeV = uJ, is what the pulses hold.
    assert pulses.energy.sum() == pytest.approx((bunch.charge * (bunch.energy - after.energy)).sum())


def test_pulse_energies_fluctuate_as_a_gamma_distribution():
    steady = params(lasing={"log_gain": [30.0, 30.0], "log_gain_spread": 0.0, "detuning_fall": [0.0, 0.0]})
    steady = params(lasing=steady.lasing.model_dump() | {"duration": [15.0, 15.0]}).lasing
    charge, generator = np.ones_like(TIME), rng()
    energy = np.array([beam.draw_losses(generator, TIME, charge, 100.0, steady)[1].energy[0] for _ in range(2000)])
    spikes = round(2 * 15.0 / steady.spike)
    assert energy.mean() == pytest.approx(steady.saturated_loss[0] * 15, rel=0.05)  # MeV x pC per fs x fs
    assert energy.std() / energy.mean() == pytest.approx(spikes**-0.5, rel=0.1)
    skewness = (((energy - energy.mean()) / energy.std()) ** 3).mean()
    assert skewness == pytest.approx(2 * spikes**-0.5, abs=0.25)


def test_current_has_horns_at_both_ends():
    current = beam.current_shape(TIME, 100.0, 0.15, np.array([2.0, 1.0]), 0.05)
    middle = current[TIME == 0]
    assert current[TIME == -45] > 2 * middle
    assert current[TIME == 45] > 1.5 * middle
    assert current[[0, -1]].max() < 0.01


def test_runs_without_lasing_lose_nothing_and_get_label_0():
    for run in (DARK, NO_LASING):
        shots = simulator.simulate_shots(params(), run, 0, 30)
        assert not any(shots[f"truth.{name}{colour}"].any() for name in ("energy", "loss") for colour in (1, 2))
        assert not shots["lasing"].any()
        assert (shots[PEAKS_LABEL] == 0).mean() > 0.9


def test_dark_run_measures_the_pedestal_of_every_run():
    dark = simulator.simulate_shots(params(), DARK, 0, 30)
    assert not dark["truth.beam"].any()
    mean = dark[IMAGE].mean(axis=0)
    assert np.median(mean) == pytest.approx(TREE["camera"]["pedestal"], abs=1)
    assert dark[IMAGE].std(axis=0).mean() == pytest.approx(TREE["camera"]["read_noise"], rel=0.1)
    no_beam = simulator.simulate_shots(params(bunch={"missing": 1.0}), LASING, 0, 5)
    assert not no_beam["truth.energy1"].any()
    assert abs(no_beam[IMAGE].mean(axis=0) - mean)[mean < 4000].mean() < 2


def test_no_beam_fraction():
    drawn = [simulator.draw_shot(rng(i), params(bunch={"missing": 0.5}), LASING)[0]["truth.beam"] for i in range(400)]
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.1)


def test_saturation_and_edges_of_the_frame():
    dark = np.full((20, 30), 100, np.float32)
    bright = camera.BeamPatch(-5, 25, np.full((10, 10), 1e3, np.float32))
    frame = camera.expose(rng(), dark, bright, params().camera)
    assert frame.dtype == np.int16
    assert (frame[:5, 25:] == 4095).all()
    assert frame[6:].max() < 200
    outside = camera.BeamPatch(50, 0, np.ones((5, 5), np.float32))
    assert camera.expose(rng(), dark, outside, params().camera).max() < 200


def test_charge_density_is_centred_and_as_wide_as_spread_and_resolution():
    patch = camera.charge_density(camera.Streak(np.ones(1), np.full(1, 40.0), np.full(1, 4.0), 30), (3.0, 2.0), 100)
    rows = patch.row + np.arange(patch.values.shape[0])
    columns = patch.column + np.arange(patch.values.shape[1])
    for profile, place, middle, width in (
        (patch.values.sum(axis=1), rows, 40, 5),
        (patch.values.sum(axis=0), columns, 30, 2),
    ):
        assert (profile * place).sum() == pytest.approx(middle, abs=1e-3)
        assert (profile * (place - middle) ** 2).sum() == pytest.approx(width**2, rel=1e-3)


def test_beam_moves_up_the_rows_with_l3_energy():
    still = params(bunch={"missing": 0.0, "l3_jitter": 10.0}, camera={"position_jitter": [0, 0]})
    shots = simulator.simulate_shots(still, NO_LASING, 0, 15)
    light = np.clip(shots[IMAGE].astype(float) - TREE["camera"]["pedestal"] - 30, 0, 3000)
    light[:, :, :200] = light[:, :, 368:] = 0
    row = (light.sum(axis=2) * np.arange(light.shape[1])).sum(axis=1) / light.sum(axis=(1, 2))
    slope = np.polyfit(shots["bld.L3energy"], row, 1)[0]
    assert slope == pytest.approx(1 / TREE["axes"]["energy_per_row"], rel=0.15)


@pytest.mark.parametrize("l3_offset", [-6.0, 0.0, 6.0])
def test_peak_positions_move_with_l3_energy_and_amplitudes_follow_the_pulses(l3_offset):
    settings = params().digitizer
    shots = [
        digitizer.draw_waveforms(rng(i), np.array([300.0, 250.0]), l3_offset, np.ones(16), settings) for i in range(60)
    ]
    l3_energy = np.full(60, TREE["bunch"]["l3_energy"] + l3_offset)
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


def test_label_mix_is_near_the_published_one():
    settings = params()
    scalars = [simulator.draw_shot(rng(i), settings, LASING)[0] for i in range(400)]
    rows = {name: np.stack([s[name] for s in scalars]) for name in (WAVEFORMS, "bld.L3energy", "truth.label")}
    label = simulator.label_shots(rows[WAVEFORMS], rows["bld.L3energy"], settings)[PEAKS_LABEL]
    mix = np.bincount(label[label >= 0], minlength=4) / (label >= 0).sum()
    np.testing.assert_allclose(mix, [0.10, 0.06, 0.43, 0.41], atol=0.07)
    assert (label < 0).mean() < 0.1
    assert 0.85 < (label == rows["truth.label"]).mean() < 0.99  # noise, but not only noise


def test_waveforms_drawn_again_are_as_those_drawn_at_first():
    settings, pulses = params(), np.array([60.0, 45.0])
    first = np.stack(
        [digitizer.draw_waveforms(rng(i), pulses, 2.0, np.ones(16), settings.digitizer) for i in range(150)]
    )
    again = digitizer.redraw_waveforms(rng(1), pulses, 2.0, np.ones(16), settings.digitizer, 1500)
    assert again.dtype == first.dtype == np.float32
    for moment in (np.mean, np.std):
        np.testing.assert_allclose(moment(again, axis=0).mean(axis=0), moment(first, axis=0).mean(axis=0), atol=0.003)
    covariances = [np.mean([np.cov(shot).mean() for shot in drawn[:150]]) for drawn in (first, again)]
    assert covariances[0] == pytest.approx(covariances[1], rel=0.1)  # what channels share
    energy = np.full(1500, TREE["bunch"]["l3_energy"] + 2.0)
    shares = [
        np.bincount(labels.peaks_label(labels.find_peaks(w, energy[: len(w)], settings.rule)) + 1, minlength=5) / len(w)
        for w in (first, again)
    ]
    np.testing.assert_allclose(shares[0], shares[1], atol=0.12)
    assert shares[1].max() < 0.9  # a shot whose label is open


def test_labels_drawn_again_repeat_are_of_their_shot_and_follow_the_pulses():
    settings = params()
    none, weak, strong = ([0.0, 0.0], [12.0, 0.0], [300.0, 290.0])
    found = [
        simulator.redraw_labels(settings, (LASING, 3), np.array(energy), 4001.0, 32) for energy in (none, weak, strong)
    ]
    assert found[0] == [32, 0, 0, 0]
    assert 0 < found[1][0] < 32
    assert found[2][3] > 25
    assert simulator.redraw_labels(settings, (LASING, 3), np.array(weak), 4001.0, 32) == found[1]
    others = [simulator.redraw_labels(settings, (LASING, shot), np.array(weak), 4001.0, 32) for shot in range(4, 10)]
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
        found = labels.find_peaks(waveforms, np.full(len(waveforms), 4000.0), settings.rule)
        return np.bincount(labels.peaks_label(found) + 1, minlength=5)[1:] / len(waveforms)

    first = shares(
        np.stack([digitizer.draw_waveforms(rng(i), pulses, 0.0, gains, settings.digitizer) for i in range(count)])
    )
    again = np.array(simulator.redraw_labels(settings, (LASING, 3), pulses, 4000.0, count)) / count
    without = shares(digitizer.redraw_waveforms(rng(1), pulses, 0.0, np.ones(16), settings.digitizer, count))
    assert np.abs(first - without).max() > 0.3
    np.testing.assert_allclose(first, again, atol=0.1)


def test_event_keys_are_unique_and_advance_at_the_repetition_rate():
    settings = params()
    keys = []
    for run in settings.runs:
        key = simulator.event_keys(settings, run, np.arange(1000))
        keys.append(np.stack([key[name] for name in EVENT_KEY]))
        time = (key["evt.seconds"] - key["evt.seconds"][0]) * 10**9 + key["evt.nanoseconds"]
        np.testing.assert_allclose(np.diff(time), 1e9 / 120, atol=1.5)
        assert set(np.diff(key["evt.fiducials"]) % simulator.FIDUCIAL_LIMIT) == {3}
        assert key["evt.fiducials"].max() < simulator.FIDUCIAL_LIMIT
    assert len(np.unique(np.concatenate(keys, axis=1), axis=1).T) == 4000
