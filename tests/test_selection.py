import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xtcav_ml.errors import UserError
from xtcav_ml.params.prepare import Balance, PrepareParams, Split
from xtcav_ml.selection import SPLITS, select, uniform_hash

LABEL = "acq.peaksLabel"


def table(count, seed=0, runs=(70, 71)):
    rng = np.random.default_rng(seed)
    run = np.sort(rng.choice(runs, count))
    index = np.concatenate([np.arange((run == r).sum()) for r in runs])
    return {
        "evt.seconds": 1000 * run + index // 120,
        "evt.nanoseconds": index % 120,
        "evt.fiducials": 3 * index,
        "run": run,
        "run.index": index,
        "lasing": (rng.random(count) < 0.9).astype(int),
        LABEL: rng.integers(-1, 4, count),
    }


def rules(*, ratio=1.5, splits=("train",), block=5, gap=1, seed=1, least=1, include=None, exclude=None):
    return PrepareParams(
        label=LABEL,
        classes=("a", "b", "c", "d"),
        include={"lasing": 1} if include is None else include,
        exclude={} if exclude is None else exclude,
        dark_run=68,
        images=({"step": "subtract_dark"},),
        dtype="float16",
        balance=Balance(ratio=ratio, splits=splits),
        split=Split(seed=seed, block=block, gap=gap, train=0.6, validation=0.2, test=0.2, min_per_class=least),
    )


def keys(columns, rows):
    return {(columns["run"][row], columns["run.index"][row]) for row in rows}


@settings(max_examples=200, deadline=None)
@given(
    st.integers(600, 900),
    st.integers(0, 10_000),
    st.sampled_from([None, 1.0, 2.5]),
    st.integers(2, 8),
    st.sampled_from([("train",), SPLITS, ()]),
)
def test_every_shot_is_kept_once_or_dropped_once(count, seed, ratio, block, splits):
    columns = table(count, seed)
    found = select(columns, rules(ratio=ratio, block=block, seed=seed, splits=splits))
    rows = np.concatenate(list(found.splits.values()))
    assert len(set(rows.tolist())) == len(rows)
    assert len(rows) + sum(found.dropped.values()) == count
    assert (columns["lasing"][rows] == 1).all()
    assert (columns[LABEL][rows] >= 0).all()
    for name in splits:
        counts = np.bincount(columns[LABEL][found.splits[name]], minlength=4)
        assert ratio is None or counts.max() <= ratio * counts.min()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000))
def test_order_of_files_is_irrelevant(seed):
    columns = table(700, seed)
    shuffle = np.random.default_rng(seed).permutation(700)
    one = select(columns, rules())
    other_columns = {name: values[shuffle] for name, values in columns.items()}
    other = select(other_columns, rules())
    for name in SPLITS:
        assert [
            *map(tuple, zip(columns["run"][one.splits[name]], columns["run.index"][one.splits[name]], strict=True))
        ] == [
            *map(
                tuple,
                zip(
                    other_columns["run"][other.splits[name]],
                    other_columns["run.index"][other.splits[name]],
                    strict=True,
                ),
            )
        ]
    assert one.dropped == other.dropped


def test_masks_keep_and_leave_out():
    columns = table(900)
    found = select(columns, rules(include={}, exclude={"lasing": 0}))
    assert found.dropped["lasing is 0"] == (columns["lasing"] == 0).sum() > 0
    same = select(columns, rules(include={"lasing": 1}))
    assert {name: rows.tolist() for name, rows in found.splits.items()} == {
        name: rows.tolist() for name, rows in same.splits.items()
    }


def test_the_dark_run_is_in_no_split():
    columns = table(900, runs=(68, 70, 71))
    found = select(columns, rules(include={}))
    assert found.dropped["dark run"] == (columns["run"] == 68).sum() > 0
    assert 68 not in columns["run"][np.concatenate(list(found.splits.values()))]


def test_adding_a_run_moves_no_shot():
    small, large = table(700, 3), table(1400, 3, runs=(70, 71, 72, 73))
    before, after = (select(columns, rules(ratio=None, include={})) for columns in (small, large))
    homes = {key: name for name in SPLITS for key in keys(large, after.splits[name])}
    for name in SPLITS:
        assert all(homes.get(key, name) == name for key in keys(small, before.splits[name]))


def test_neighbours_across_splits_are_a_gap_apart():
    columns = table(700, 1)
    found = select(columns, rules(ratio=None, gap=2, include={}))
    home = {key: name for name in SPLITS for key in keys(columns, found.splits[name])}
    for (run, index), name in home.items():
        for distance in (1, 2):
            assert home.get((run, index + distance), name) == name


def test_duplicates_are_dropped_and_contradictions_refused():
    columns = table(700)
    twice = {name: np.concatenate([values, values[:50]]) for name, values in columns.items()}
    once, found = select(columns, rules()), select(twice, rules())
    assert keys(twice, found.splits["train"]) == keys(columns, once.splits["train"])
    assert found.dropped["duplicates"] == ((columns[LABEL][:50] >= 0) & (columns["lasing"][:50] == 1)).sum()
    twice[LABEL][np.flatnonzero((columns[LABEL][:50] >= 0) & (columns["lasing"][:50] == 1))[0]] ^= 1
    with pytest.raises(UserError, match="the same shot must have the same"):
        select(twice, rules())


def test_an_empty_class_is_named_with_its_split():
    columns = table(700)
    columns[LABEL][columns[LABEL] == 2] = 3
    with pytest.raises(UserError, match=r"class 2 \(c\) has 0 in train"):
        select(columns, rules(least=1))


@pytest.mark.parametrize("seed", range(20))
def test_even_a_short_run_has_its_share_in_every_split(seed):
    columns = table(80, runs=(70,))
    columns[LABEL] = np.arange(80) % 4
    found = select(columns, rules(ratio=None, block=10, gap=0, seed=seed, include={}))
    counts = {name: len(rows) for name, rows in found.splits.items()}
    assert sum(counts.values()) == 80
    for name, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
        assert abs(counts[name] / 80 - share) <= 0.15


def test_uniform_hash_is_uniform_and_fixed():
    values = [uniform_hash(1, run, block) for run in range(50) for block in range(50)]
    assert abs(np.mean(values) - 0.5) < 0.02
    assert uniform_hash(1, 70, 3) == uniform_hash(1, 70, 3) != uniform_hash(2, 70, 3)
    assert uniform_hash(1, 70, 3) == pytest.approx(0.47428, abs=1e-5)  # any change here moves every shot of every user
