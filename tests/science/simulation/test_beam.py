"""Conservation laws and known answers of lasing and of phase space."""

import numpy as np
import pytest

from tests.conftest import ROOT
from xtcav_ml.config.base import read_tree, validate_section
from xtcav_ml.config.simulate import SimulateParams
from xtcav_ml.science.simulation import beam, simulator

PARAMS = validate_section(read_tree(ROOT / "params.yaml")["simulate"], SimulateParams, "simulate")


@pytest.fixture(scope="module")
def shots():
    return simulator.draw_shots(PARAMS, 70, np.arange(0, 40_000, 200))


def parts(shots, shot, which, loss):
    growth = PARAMS.lasing.spread_growth
    return list(beam.branches(shots.bunches.of(shot), which, loss, PARAMS.bunch, growth))


def test_the_parts_of_a_bunch_have_its_charge(shots):
    for which in (0, 1):
        charge = sum(part.charge.sum() for part in parts(shots, 3, which, None))
        assert charge == pytest.approx(shots.bunches.charge[3, which], rel=0.01)
        assert all((part.charge >= 0).all() and (np.diff(part.time) > 0).all() for part in parts(shots, 3, which, None))


def test_what_the_electrons_lose_is_what_the_pulses_hold(shots):
    shot = int(np.flatnonzero(shots.present)[shots.energy[shots.present].min(axis=1).argmax()])
    for which in (0, 1):
        before, after = (parts(shots, shot, which, loss)[0] for loss in (None, shots.losses[shot, which]))
        lost = (before.charge * (before.energy - after.energy)).sum()  # pC x MeV = uJ
        assert lost == pytest.approx(shots.energy[shot, which], rel=0.1)
        assert after.charge.sum() == before.charge.sum()
        # The square of the spread grows with loss x current^(1/3), as power / current^(2/3) does.
        loss = before.energy - after.energy
        grown = after.spread**2 - before.spread**2
        expected = PARAMS.lasing.spread_growth * loss * np.cbrt(before.charge / beam.STEP)
        np.testing.assert_allclose(grown, expected, rtol=1e-6, atol=1e-9)


def test_weak_lasing_shows_in_the_spread_before_it_shows_in_the_energy(shots):
    weak = np.full(beam.TIMES.shape, 0.2)
    before, after = (parts(shots, 3, 0, loss)[0] for loss in (None, weak))
    spike = np.abs(before.time) < 4
    assert (after.spread - before.spread)[spike].max() > 1.5 * (before.energy - after.energy)[spike].max()


def test_losses_saturate_locally_and_the_lower_edge_falls_by_some_ten_mev_at_most(shots):
    strongest = shots.losses.max(axis=(1, 2)).argsort()[-5:]
    for shot in strongest:
        which = int(shots.losses[shot].max(axis=1).argmax())
        before, after = (parts(shots, shot, which, loss)[0] for loss in (None, shots.losses[shot, which]))
        edges = [part.energy - 2 * part.spread for part in (before, after)]
        assert 3 < (edges[0] - edges[1]).max() < 15
    assert shots.losses.max() < 6  # MeV


def test_a_gain_without_end_gives_the_saturated_loss(shots):
    tree = read_tree(ROOT / "params.yaml")["simulate"]
    tree = tree | {"lasing": tree["lasing"] | {"log_gain": [30.0, 30.0], "saturation": 3.0}}
    params = validate_section(tree, SimulateParams, "simulate")
    endless = simulator.draw_shots(params, 70, shots.index[:40])
    middle = endless.losses[endless.present][..., len(beam.TIMES) // 2]
    current = beam.current_at_spike(endless.bunches, np.zeros(1))[endless.present][..., 0]
    np.testing.assert_allclose(middle, 3.0 * np.cbrt(current), rtol=0.05)


def test_cube_roots():
    values = np.array([1e-6, 0.125, 1.0, 27.0])
    np.testing.assert_allclose(beam.cube_root(values), [1e-2, 0.5, 1, 3], rtol=1e-12)


def test_interpolation_ends_at_the_last_time():
    values = 2 * beam.TIMES + 1
    found = beam.interpolated(values, np.array([-31.0, -29.9, 0.2, 30.0, 30.1]))
    np.testing.assert_allclose(found, [0, -58.8, 1.4, 61, 0], atol=1e-12)
