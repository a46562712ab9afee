"""The section `simulate` of params.yaml: valid as it stands, every broken rule named."""

import copy
from pathlib import Path

import pytest

from xtcav_ml.config.base import flatten, read_tree, validate_section
from xtcav_ml.config.simulate import SimulateParams
from xtcav_ml.system.errors import UserError

TREE = read_tree(Path(__file__).parents[2] / "params.yaml")["simulate"]


def changed(key, value):
    tree = copy.deepcopy(TREE)
    *path, last = key.split(".")
    node = tree
    for part in path:
        node = node[part]
    node[last] = value
    return validate_section(tree, SimulateParams, "simulate")


def test_runs_are_numbered_dark_no_lasing_lasing():
    assert changed("lasing_shots", [7, 8]).runs == {69: 100, 70: 7, 71: 8}
    assert changed("dark_shots", 5).runs.keys() == {68, 69, 70, 71}


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("seed", -1, "simulate.seed"),
        ("experiment", "../elsewhere", "simulate.experiment"),
        ("lasing_shots", [-1], "simulate.lasing_shots"),
        ("repetition_rate", 100, "repetition_rate: not possible (found 100, expected a divisor of 360)"),
        ("run_spacing", 1, "found 2000 shots x stored_every, expected at most run_spacing x repetition_rate = 60"),
        (
            "camera.hot_level",
            [250, 150],
            "simulate.camera.hot_level: low is above high (found 250.0, expected <= 150.0)",
        ),
        ("machine.missing", 1.5, "simulate.machine.missing"),
        (
            "machine.charge",
            [170, 4, 0.6, 0.5],
            "machine.charge: shares of the variance add up to more than 1 (found 0.6 and",
        ),
        ("bunch.count", 3, "simulate.bunch.count"),
        ("frames", "blue", "simulate.frames"),
        ("calibration.dumpdisp", 0.0, "dumpdisp: no dispersion (found 0, expected another number)"),
        (
            "machine.xtcav_phase",
            [250.0, 0.5, 0.0, 0.0],
            "machine.xtcav_phase: no streak in some shots (found a mean 74.5 degrees from a zero crossing",
        ),
        ("machine.xtcav_phase", [144.5, 10.1, 0.0, 0.0], "expected mean + 6 s.d. of at most 60"),
        ("lasing.spike", 0, "simulate.lasing.spike"),
        ("camera.saturation", 40000, "simulate.camera.saturation"),
        ("camera.read_noise", "3", "simulate.camera.read_noise"),
        (
            "digitizer.position",
            [60, 120, 400],
            "position: peak outside the waveform (found [60.0, 120.0, 400.0]",
        ),
        ("digitizer.drooping_channels", [16], "simulate.digitizer.drooping_channels"),
        (
            "rule.regions",
            [[50, 50], [110, 130], [130, 150]],
            "regions: t0 is empty (found 50.0 to 50.0, ",
        ),
        ("rule.treshold", 5, "simulate.rule.treshold: unknown key"),
    ],
)
def test_broken_rules_are_named(key, value, told):
    with pytest.raises(UserError, match=r"params\.yaml") as error:
        changed(key, value)
    assert told in str(error.value)
    assert "\n" not in str(error.value)
    assert ". Fix: " in str(error.value)


@pytest.mark.parametrize("phase", [144.5, 324.5, -35.5, 504.5, 144.5 + 56, 324.5 - 56])
def test_phases_on_both_sides_of_the_rf_have_a_streak(phase):
    assert changed("machine.xtcav_phase", [phase, 0.5, 0.0, 0.0]).machine.xtcav_phase[0] == phase


def test_no_shots_at_all_is_refused():
    tree = copy.deepcopy(TREE) | {"dark_shots": 0, "no_lasing_shots": 0, "lasing_shots": [0]}
    with pytest.raises(UserError, match="no shots"):
        validate_section(tree, SimulateParams, "simulate")


@pytest.mark.parametrize("key", sorted(TREE))
def test_every_key_is_needed(key):
    tree = {name: value for name, value in TREE.items() if name != key}
    with pytest.raises(UserError, match=f"simulate.{key}: missing"):
        validate_section(tree, SimulateParams, "simulate")


def test_params_can_be_a_cache_key():
    assert hash(changed("seed", 1)) != hash(changed("seed", 2))
    assert len(flatten(changed("seed", 1).model_dump())) > 50


def test_every_number_has_a_source_in_the_docs():
    table = (Path(__file__).parents[2] / "docs/simulator.md").read_text().split("## Sources")[1]
    for name in TREE:
        if isinstance(TREE[name], dict):
            missing = [key for key in TREE[name] if f"`{name}.{key}`" not in table]
            assert not missing, (name, missing)
        else:
            assert f"`{name}`" in table, name
