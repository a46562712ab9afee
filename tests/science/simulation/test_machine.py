"""The simulated machine has the published numbers of amo86815: its set point, fluctuations, drift, pulses and labels.

Numbers are of run 70, computed from the arrays of github.com/alvarosg/DataLCLS2017, and of the amplitudes in
github.com/davidslac/regress_xtcav; the mix of labels is that of the notes. Two hours are simulated, so that drift averages out.
"""

import numpy as np
import pytest

from tests.conftest import ROOT
from xtcav_ml.config.base import read_tree, validate_section
from xtcav_ml.config.schema import ENERGY_AMPLITUDES, ENERGY_LABEL, PEAKS_LABEL
from xtcav_ml.config.simulate import SimulateParams
from xtcav_ml.science.simulation import machine, simulator

PARAMS = validate_section(read_tree(ROOT / "params.yaml")["simulate"], SimulateParams, "simulate")
LASING, HOURS = 70, 2
SHOTS = np.arange(0, HOURS * 3600 * PARAMS.repetition_rate, 180)
L3, GAS, PHASE = "bld.L3energy", "bld.gasdet.f_11_ENRC", "bld.ebeam.ebeamXTCAVPhase"


@pytest.fixture(scope="module")
def shots():
    return simulator.draw_shots(PARAMS, LASING, SHOTS)


@pytest.fixture(scope="module")
def labelled(shots):
    return simulator.label_shots(simulator.draw_waveforms(PARAMS, LASING, shots), shots.columns[L3], PARAMS)


def quantiles(values):
    return np.percentile(values, [16, 50, 84])


def correlation(first, second):
    return np.corrcoef(first, second)[0, 1]


@pytest.mark.parametrize(
    ("name", "unit", "published"),
    [
        (GAS, 1e3, (14.6, 37.4, 76.3)),  # uJ
        (L3, 1, (3477.5, 3484.4, 3491.7)),  # MeV
        ("bld.ebeam.ebeamDumpCharge", 1 / machine.ELECTRONS_PER_PC, (166.5, 170.1, 174.4)),  # pC
        ("bld.ebeam.ebeamPkCurrBC2", 1, (1286, 1355, 1425)),  # A
        ("bld.ebeam.ebeamPhotonEnergy", 1, (545.2, 547.1, 549.3)),  # eV
    ],
)
def test_quantiles_are_those_of_run_70_within_10_percent(shots, name, unit, published):
    values = shots.columns[name][shots.present] * unit
    np.testing.assert_allclose(quantiles(values), published, rtol=0.1)
    low, high = np.subtract(quantiles(values)[[0, 2]], quantiles(values)[1])
    assert high - low == pytest.approx(published[2] - published[0], rel=0.3)


def test_the_pulses_cross_with_the_delay_of_run_70(shots):
    delay = shots.columns["truth.delay"][shots.present]
    np.testing.assert_allclose(quantiles(delay), (-2.5, 8.3, 16.4), atol=1.6)
    assert 0.1 < (delay < 0).mean() < 0.3
    # positive: the pulse of lower photon energy, that of the second bunch, comes first
    later = shots.spike[shots.present, 0] - shots.spike[shots.present, 1]
    np.testing.assert_allclose(later, delay)
    assert correlation(delay, shots.columns["bld.ebeam.ebeamEnergyBC2"][shots.present]) == pytest.approx(0.85, abs=0.07)


def test_pulse_energies_fluctuate_as_a_gamma_distribution_of_two_modes(shots):
    energy = 1e3 * shots.columns[GAS][shots.present]
    assert energy.mean() == pytest.approx(44, rel=0.1)
    assert energy.mean() ** 2 / energy.var() == pytest.approx(1.95, abs=0.35)
    assert np.percentile(energy, 99) == pytest.approx(128, rel=0.1)


def test_colours_are_independent_and_amplitudes_spread_as_published(labelled):
    both = labelled[ENERGY_LABEL] == 3
    first, second = (labelled[name][both] for name in ENERGY_AMPLITUDES)
    assert correlation(first, second) == pytest.approx(-0.05, abs=0.05)
    for amplitude in (first, second):
        assert amplitude.std() / amplitude.mean() == pytest.approx(0.39, abs=0.04)


def test_labels_have_the_published_mix_and_share_without_a_label(labelled):
    label = labelled[PEAKS_LABEL]
    mix = np.bincount(label[label >= 0], minlength=4) / (label >= 0).sum()
    np.testing.assert_allclose(mix, [0.10, 0.06, 0.43, 0.41], atol=0.05)
    assert 0.18 < (label < 0).mean() < 0.48


def test_scalars_drift_as_long_as_in_run_70(shots):
    for lag, published in (
        (100, {L3: 0.77, GAS: 0.35, PHASE: 0.94}),
        (60 * PARAMS.repetition_rate, {L3: 0.67, GAS: 0.31, PHASE: 0.02}),
    ):
        later = simulator.draw_shots(PARAMS, LASING, SHOTS + lag)
        both = shots.present & later.present
        for name, value in published.items():
            found = correlation(shots.columns[name][both], later.columns[name][both])
            assert found == pytest.approx(value, abs=0.13), (lag, name)


def test_a_tenth_of_the_shots_is_of_bad_quality_and_those_without_beam_have_no_x_rays(shots):
    mask = shots.columns["bld.ebeam.damageMask"]
    assert (mask != 0).mean() == pytest.approx(0.107, abs=0.02)
    none = ~shots.present
    assert (mask[none] == machine.NO_BEAM).all()
    assert np.abs(shots.columns[GAS][none]).max() < 6e-3  # mJ
    assert not shots.energy[none].any()


def test_the_run_without_lasing_is_of_the_same_machine(shots):
    off = simulator.draw_shots(PARAMS, LASING - 1, SHOTS)
    assert not off.energy.any()
    for name in ("head", "tail", "chirp", "spike", "width", "head_curl", "charge"):
        lasing, quiet = (getattr(each.bunches, name) for each in (shots, off))
        assert lasing.mean() == pytest.approx(quiet.mean(), rel=0.02), name
        assert quiet.std(axis=0).max() < 0.12 * abs(quiet.mean()), name  # per cents, not another machine in every shot


def test_columns_have_the_names_of_the_experiment(shots):
    names = set(shots.columns)
    assert {f"bld.gasdet.{name}" for name in machine.GAS_DETECTORS} < names
    assert len([name for name in names if name.startswith("bld.ebeam.")]) == 21  # those of run 70
    assert all(len(values) == len(SHOTS) for values in shots.columns.values())


def test_any_shots_can_be_drawn_in_any_order(shots):
    some = simulator.draw_shots(PARAMS, LASING, SHOTS[[70, 3]])
    for name, values in some.columns.items():
        np.testing.assert_array_equal(values, shots.columns[name][[70, 3]], err_msg=name)


def test_drift_has_mean_0_and_variance_1_at_each_time():
    values = machine.drift((1, 2, 3), np.arange(0, 40_000.0, 0.7), 10.0)
    assert values.mean() == pytest.approx(0, abs=0.1)
    assert values.std() == pytest.approx(1, abs=0.05)
    assert np.abs(np.diff(values)).max() < 1.2
    assert correlation(values[:-43], values[43:]) == pytest.approx(0, abs=0.1)
