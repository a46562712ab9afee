"""Labels that prepare draws again for a simulated test set; what it writes of frames is tested where the data are."""

import numpy as np
import pytest

from xtcav_ml.config.schema import PEAKS_LABEL, REDRAWN, TRUE_PULSES, WAVEFORMS
from xtcav_ml.pipeline import prepare
from xtcav_ml.science import ceiling
from xtcav_ml.science.simulation import simulator


@pytest.fixture
def columns():
    energy = np.array([0.0, 12.0, 60.0, np.nan])
    table = {"truth.energy1": energy, "truth.energy2": energy, "bld.L3energy": np.full(4, 3485.5)}
    return table | {"run": np.full(4, 70), "run.index": np.arange(4)}


def test_labels_are_drawn_again_for_each_shot_whatever_its_place(columns, params, monkeypatch):
    monkeypatch.setattr(prepare, "REDRAWS_OF_SHOT", (8, 16))
    found = np.stack([prepare.redrawn_labels(columns, params.simulate)[name] for name in REDRAWN], axis=1)
    assert found[0].tolist() == [16, 0, 0, 0]
    assert (found[:3].sum(axis=1) <= 16).all()
    assert found[2, 3] > 8
    assert not found[3].any()  # whose pulses are not known
    turned = prepare.redrawn_labels({name: values[::-1] for name, values in columns.items()}, params.simulate)
    np.testing.assert_array_equal(np.stack([turned[name] for name in REDRAWN], axis=1), found[::-1])


def test_the_more_shots_the_fewer_draws_of_each(columns, params, monkeypatch):
    monkeypatch.setattr(prepare, "REDRAWS_OF_SHOT", (8, 1000))
    monkeypatch.setattr(prepare, "REDRAWS", 40)
    assert prepare.redrawn_labels(columns, params.simulate)[REDRAWN[0]][0] == 10
    monkeypatch.setattr(prepare, "REDRAWS", 20)
    assert prepare.redrawn_labels(columns, params.simulate)[REDRAWN[0]][0] == 8


def test_none_are_drawn_where_the_pulses_are_not_in_the_files(columns, params):
    del columns["truth.energy2"]
    assert prepare.redrawn_labels(columns, params.simulate) == {}


@pytest.mark.slow
def test_the_bayes_accuracy_is_the_same_with_other_draws_and_above_that_of_any_choice(params):
    shots, run = 1500, 70
    drawn = [simulator.draw_shot(np.random.default_rng([9, shot]), params.simulate, run)[0] for shot in range(shots)]
    names = (*TRUE_PULSES, WAVEFORMS)
    table = {name: np.stack([shot[name] for shot in drawn]) for name in names}
    stored = simulator.label_shots(table.pop(WAVEFORMS), table["bld.L3energy"], params.simulate)[PEAKS_LABEL]
    table = {name: values[stored >= 0] for name, values in table.items()}
    kept = len(table["bld.L3energy"])
    table |= {"run": np.full(kept, run), "run.index": np.arange(kept)}
    counts = []
    for seed in range(6):
        other = params.simulate.model_copy(update={"seed": seed})
        counts.append(np.stack(list(prepare.redrawn_labels(table, other).values()), axis=1))
    found = np.array([ceiling.bayes_accuracy(each).value for each in counts])
    print(kept, "shots,", counts[0].sum(axis=1).max(), "draws each: Bayes accuracy", found)
    assert np.abs(found[::2] - found[1::2]).max() < 0.003
    best = sum(counts[1:]).argmax(axis=1)  # who has seen five times as many draws, and others than those that score it
    print("expected of the likeliest label of the other draws", ceiling.expected_accuracy(counts[0], best))
    assert ceiling.expected_accuracy(counts[0], best).value < found[0] + 0.004
    assert ceiling.expected_accuracy(counts[0], stored[stored >= 0]).value < found[0] - 0.01
