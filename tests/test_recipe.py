"""What the default recipe promises, held against the committed results."""

import csv
import json
import runpy
from math import ceil, sqrt
from statistics import stdev

import numpy as np
import pytest
from scipy.stats import betabinom, binom

from tests.conftest import ROOT
from xtcav_ml.config.base import read_tree
from xtcav_ml.data import predictions
from xtcav_ml.science import epochs, statements

TREE = read_tree(ROOT / "params.yaml")


@pytest.fixture(scope="module")
def history():
    with (ROOT / "results/learning_curves.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def evaluation():
    return json.loads((ROOT / "results/evaluation.json").read_text())


def test_the_training_has_converged_the_accuracy_of_the_last_third_of_the_epochs_is_steady(history):
    assert len(history) == TREE["train"]["epochs"]
    late = [100 * row["val_accuracy"] for row in history[-ceil(len(history) / 3) :]]
    assert stdev(late) <= 1.5


def test_the_kept_epoch_is_that_of_the_lowest_smoothed_cross_entropy(history, evaluation):
    assert evaluation["best_epoch"] == epochs.best(history)
    assert evaluation["best_val_accuracy"] == pytest.approx(history[evaluation["best_epoch"] - 1]["val_accuracy"])


def test_the_test_set_is_large_enough_for_an_interval_of_two_points(evaluation):
    assert evaluation["accuracy_high"] - evaluation["accuracy_low"] <= 2 * 0.02


def test_sets_of_the_default_network_hold_as_often_as_they_say_on_twenty_splits_of_its_test_shots():
    """Thresholds from one half, coverage on the other, of each class: in the band that the sizes of both halves give."""
    run = predictions.read_file(ROOT / "results/predictions.csv")
    names = run.classes()
    labels = np.array([names.index(name) for name in run.columns[predictions.ACTUAL]])
    given = np.stack([run.floats(predictions.PROBABILITY + name) for name in names], axis=1)
    tails, shares = [], np.zeros((20, len(names)))
    for split in range(20):
        known, new = np.array_split(np.random.default_rng(split).permutation(len(labels)), 2)
        sharp = statements.tempered(given, statements.temperature(labels[known], given[known]))
        least = statements.least_probabilities(labels[known], sharp[known], 0.9)
        for label in range(len(names)):
            covered = sharp[new, label][labels[new] == label] >= least[label]
            made_from = int((labels[known] == label).sum())
            outside = int(0.1 * (made_from + 1) + 1e-9)
            band = betabinom(len(covered), made_from + 1 - outside, outside)
            tails += [band.cdf(covered.sum()), band.sf(covered.sum() - 1)]
            shares[split, label] = covered.mean()
    assert min(tails) > 0.025 / len(tails)
    for label, share in enumerate(shares.mean(axis=0)):
        low, high = binom.interval(0.95, int((labels == label).sum()), 0.9)
        assert low <= share * (labels == label).sum() <= high, names[label]


def test_each_label_is_taken_for_others_as_the_published_network_took_it():
    """That of six layers, 400 real shots, per cent; the mean over seeds within 8 points, since there are a hundred *t0*."""
    renew = runpy.run_path(str(ROOT / "docs/renew_results.py"))
    shares = renew["mean_confusion"](ROOT)
    np.testing.assert_allclose(shares, list(renew["PUBLISHED"].values()), atol=8)
    assert shares[1, 3] > shares[1, 2]  # t0 is mistaken for both colours more often than for one


def test_no_network_is_expected_to_be_above_the_ceiling_of_its_shots(evaluation):
    """That is true by construction, but for chance, if the ceiling is one; and no network may know the noise of the labels."""
    seeds, modern = (
        json.loads((ROOT / name).read_text()) for name in ("seeds/results/seeds.json", "benchmarks/modern.json")
    )
    for shots, networks in ((evaluation, [evaluation, *seeds["seeds"].values()]), (modern, modern["seeds"].values())):
        for one in networks:
            if "expected_accuracy" in one:
                assert one["expected_accuracy"] <= shots["bayes_accuracy"]
            if {"accuracy", "expected_accuracy"} <= one.keys():
                error = sqrt(one["expected_accuracy"] * (1 - one["expected_accuracy"]) / shots["shots"])
                assert one["accuracy"] - one["expected_accuracy"] < 3 * error
