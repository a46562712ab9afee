from tests.conftest import ROOT
from xtcav_ml.config.base import read_tree
from xtcav_ml.tracking.logged_params import logged_params, run_name

TREE = read_tree(ROOT / "params.yaml")
MOST = 70


def test_all_that_makes_a_run_fits_on_a_page():
    params = logged_params({name: TREE[name] for name in ("train", "data", "prepare", "simulate")})
    assert len(params) <= MOST
    assert params["train.optimizer.learning_rate"] == "0.02"
    assert params["train.model.blocks.kernel"] == "8, 6"
    assert params["prepare.images"] == "block_mean size 2, log"
    assert params["prepare.classes"] == "no peaks, t0, t0 t1, t0 t1 t2"
    assert params["simulate.lasing"].startswith("delay 8.3, 3.5, 0.3, 0.0, delay_slopes -2.4, 6.8, ")
    assert all(value and len(value) <= 6000 for value in params.values())


def test_every_value_is_told():
    shown = " ".join(f"{name} {value}" for name, value in logged_params(TREE).items())
    for value in ("86815", "0.13", "30000", "0.0002", "3600", "no peaks"):
        assert value in shown


def test_lists_of_all_kinds_are_one_value():
    assert logged_params({"a": {"b": [], "c": {}, "d": [[1, 2], [3, 4]], "e": [{"k": 1}, {"k": 2, "m": 3}]}}) == {
        "a.b": "none",
        "a.c": "none",
        "a.d": "[1, 2], [3, 4]",
        "a.e.k": "1, 2",
        "a.e.m": "-, 3",
    }


def test_a_name_says_what_a_training_is():
    assert run_name(TREE["train"]) == "lr 0.02, 8x8 6x6 kernels, seed 1"
    same = {"seed": 2, "model": {"name": "modern", "blocks": [{"kernel": 3}, {"kernel": 3}]}, "optimizer": {}}
    assert run_name(same) == "modern, 3x3 kernels, seed 2"
    assert run_name(same, "peaks-1000") == "peaks-1000, 3x3 kernels, seed 2"
    assert run_name({}) == "training"
