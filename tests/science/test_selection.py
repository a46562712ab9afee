import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from xtcav_ml.config.prepare import Balance, PrepareParams, Split
from xtcav_ml.config.schema import EVENT_KEY, FILE
from xtcav_ml.science.selection import SPLITS, duplicates, select, uniform_hash
from xtcav_ml.system.errors import UserError

LABEL, NUMBER, FEATURE = "acq.peaksLabel", "acq.t1.pos", "bld.L3energy"


def table(count, seed=0, runs=(70, 71), file_size=100):
    """Shots of some runs in files of `file_size`, named by run and chunk."""
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
        NUMBER: np.where(rng.random(count) < 0.6, rng.normal(size=count), np.nan),
        FEATURE: rng.normal(4000, 3, count),
        FILE: np.array([f"r{r:03d}-c{i // file_size:04d}.h5" for r, i in zip(run, index, strict=True)]),
    }


def rules(
    *,
    ratio=1.5,
    splits=("train",),
    by="block",
    block=5,
    gap=1,
    seed=1,
    least=1,
    include=None,
    exclude=None,
    within=None,
    **learned,
):
    return PrepareParams(
        **{"label": LABEL, "classes": ("a", "b", "c", "d"), "regression": (), "features": (), **learned},
        include={"lasing": 1} if include is None else include,
        exclude={} if exclude is None else exclude,
        within={} if within is None else within,
        dark_run=68,
        images=({"step": "subtract_dark"},),
        pixels={"dtype": "float16", "quantum": None},
        watch={"saturation": 4095, "saturated_pixels": 0, "empty_signal": 0.5},
        balance=Balance(ratio=ratio, splits=splits),
        split=Split(by=by, seed=seed, block=block, gap=gap, train=0.6, validation=0.2, test=0.2, min_per_class=least),
    )


def joined(*tables):
    return {name: np.concatenate([columns[name] for columns in tables]) for name in tables[0]}


def shuffled(columns, seed):
    order = np.random.default_rng(seed).permutation(len(columns["run"]))
    return {name: values[order] for name, values in columns.items()}


def taken(columns, rows):
    return {name: values[rows] for name, values in columns.items()}


def ordered_keys(columns, rows):
    return list(zip(*(columns[name][rows].tolist() for name in EVENT_KEY), strict=True))


def keys(columns, rows):
    return {(columns["run"][row], columns["run.index"][row]) for row in rows}


layouts = st.fixed_dictionaries(
    {
        "count": st.integers(300, 900),
        "seed": st.integers(0, 10_000),
        "runs": st.sampled_from([(70, 71), (68, 70, 71), tuple(range(70, 80))]),
        "file_size": st.integers(7, 200),
        "copies": st.integers(0, 60),
    }
)
choices = st.fixed_dictionaries(
    {
        "by": st.sampled_from(["block", "run", "file"]),
        "block": st.integers(2, 12),
        "gap": st.integers(0, 1),
        "ratio": st.sampled_from([None, 1.0, 2.5]),
        "splits": st.sampled_from([("train",), SPLITS, ()]),
        "learned": st.sampled_from(
            [
                {},
                {"regression": (NUMBER,), "features": (FEATURE,)},
                {"label": None, "classes": (), "regression": (NUMBER,)},
            ]
        ),
    }
)


@settings(max_examples=6 * settings().max_examples)
@given(layouts, choices)
def test_whatever_the_layout_no_shot_is_lost_doubled_or_in_two_splits(layout, chosen):
    """Of shots in many runs and files, some of which are copied whole under another name."""
    columns = table(layout["count"], layout["seed"], layout["runs"], layout["file_size"])
    columns[FEATURE][:5] = np.nan
    if layout["copies"]:
        names = np.unique(columns[FILE])
        copied = np.isin(columns[FILE], names[: layout["copies"] % len(names)])
        again = taken(columns, copied)
        again[FILE] = np.char.add("copy-", again[FILE])
        columns = joined(columns, again)
    learned = chosen["learned"]
    ratio = None if learned.get("label", LABEL) is None else chosen["ratio"]
    settings_chosen = {name: chosen[name] for name in ("by", "block", "gap", "splits")}
    how = rules(**settings_chosen, ratio=ratio, seed=layout["seed"], **learned)
    try:
        found = select(columns, how)
    except UserError as error:
        if "too few shots in a set" in str(error):
            event("refused: too few groups for every class in every split")
            return
        raise
    rows = np.concatenate(list(found.splits.values()))
    events = [keys(columns, found.splits[name]) for name in SPLITS]
    assert sum(map(len, events)) == len(set().union(*events)) == len(rows)
    assert len(rows) + sum(found.dropped.values()) == len(columns["run"])
    assert (columns["lasing"][rows] == 1).all()
    assert 68 not in columns["run"][rows]
    if how.label:
        assert (columns[LABEL][rows] >= 0).all()
    else:
        assert np.isfinite(columns[NUMBER][rows]).all()
    assert np.isfinite(columns[FEATURE][rows]).all() or not how.features
    for name in chosen["splits"]:
        if ratio is not None:
            counts = np.bincount(columns[LABEL][found.splits[name]], minlength=4)
            assert counts.max() <= ratio * counts.min()
    mixed = shuffled(columns, layout["seed"])
    other = select(mixed, how)
    assert other.dropped == found.dropped
    for name in SPLITS:
        assert ordered_keys(columns, found.splits[name]) == ordered_keys(mixed, other.splits[name])


@pytest.mark.parametrize("by", ["block", "run", "file"])
@pytest.mark.parametrize("seed", range(5))
def test_adding_files_moves_no_shot(by, seed):
    large = table(2400, seed, runs=tuple(range(70, 82)), file_size=40)
    files = np.unique(large[FILE])
    small = taken(large, np.isin(large[FILE], files[seed % 2 :: 2]))
    how = rules(by=by, ratio=None, include={}, seed=seed)
    before, after = select(small, how), select(large, how)
    homes = {key: name for name in SPLITS for key in keys(large, after.splits[name])}
    for name in SPLITS:
        assert all(homes.get(key, name) == name for key in keys(small, before.splits[name]))


def test_a_copy_of_a_file_under_another_name_lies_in_the_same_split():
    columns = table(1200, 5, runs=tuple(range(70, 76)), file_size=50)
    copy = taken(columns, columns[FILE] == np.unique(columns[FILE])[3])
    copy[FILE] = np.full(len(copy["run"]), "a-copy.h5")
    how = rules(by="file", ratio=None, include={})
    once, twice = select(columns, how), select(joined(columns, copy), how)
    both = joined(columns, copy)
    for name in SPLITS:
        assert keys(columns, once.splits[name]) == keys(both, twice.splits[name])
    assert twice.dropped["duplicates"] > 0


def test_a_shot_in_files_of_two_splits_is_an_error():
    columns = table(1200, 5, runs=tuple(range(70, 76)), file_size=50)
    names = np.unique(columns[FILE])
    parts = []
    for name in names:  # a file of the last shots of each file: somewhere it lies in another split than its origin
        part = taken(columns, np.flatnonzero(columns[FILE] == name)[-10:])
        part[FILE] = np.char.add("tail-", part[FILE])
        parts.append(part)
    with pytest.raises(
        UserError, match=r"prepare\.split\.by: file needs each shot in one file.*tail-.*Fix: .*split by block or run"
    ):
        select(joined(columns, *parts), rules(by="file", include={}))


def test_runs_and_files_lie_in_one_split_as_a_whole():
    columns = table(3000, 2, runs=tuple(range(70, 85)), file_size=50)
    for by, name in (("run", "run"), ("file", FILE)):
        found = select(columns, rules(by=by, ratio=None, include={}))
        homes = {}
        for split, rows in found.splits.items():
            for group in np.unique(columns[name][rows]):
                assert homes.setdefault(group, split) == split
        assert set(homes.values()) == set(SPLITS)


def test_the_ends_of_files_are_dropped():
    columns = table(1200, 5, runs=(70, 71, 72), file_size=50)
    found = select(columns, rules(by="file", ratio=None, include={}, gap=3))
    rows = np.concatenate(list(found.splits.values()))
    assert (columns["run.index"][rows] % 50 < 47).all()
    assert found.dropped["gap between groups"] > 0


def test_numbers_and_features_say_which_shots_can_be_used():
    columns = table(900)
    columns[FEATURE][::7] = np.nan
    found = select(columns, rules(regression=(NUMBER,), features=(FEATURE,), label=None, classes=(), ratio=None))
    rows = np.concatenate(list(found.splits.values()))
    assert np.isfinite(columns[NUMBER][rows]).all()
    assert np.isfinite(columns[FEATURE][rows]).all()
    assert found.dropped["no number to learn"] > 0
    assert found.dropped[f"{FEATURE} is not finite"] > 0
    both = select(columns, rules(regression=(NUMBER,), ratio=None))
    kept = np.concatenate(list(both.splits.values()))
    assert np.isnan(columns[NUMBER][kept]).any()  # a shot with a label and without a number is kept


def test_too_few_numbers_in_a_split_are_named():
    columns = table(900)
    columns[NUMBER][:] = np.nan
    columns[NUMBER][:3] = 1.0
    with pytest.raises(UserError, match=rf"0 of {NUMBER} in (validation|test)"):
        select(columns, rules(regression=(NUMBER,)))


@pytest.mark.parametrize("name", [NUMBER, "lasing", "run.index"])
def test_a_shot_that_stands_twice_with_other_values_is_an_error(name):
    columns = table(700)
    twice = joined(columns, taken(columns, np.arange(50)))
    twice[FILE] = np.concatenate([columns[FILE], np.full(50, "again.h5")])
    twice[name][710] = 1 - np.nan_to_num(twice[name][710])
    with pytest.raises(UserError, match=rf"again\.h5 and .*: {name}: shot .* differs between the files"):
        select(twice, rules(regression=(NUMBER,)))
    assert len(duplicates(twice)) == 50


@pytest.mark.parametrize("ratio", [None, 1.0])
def test_no_more_of_a_class_than_asked_for_and_as_many_if_there_are(ratio):
    columns = table(2000)
    how = rules(ratio=ratio)
    free = select(columns, how)
    capped = select(columns, how.model_copy(update={"balance": how.balance.model_copy(update={"most": {"train": 40}})}))
    assert np.bincount(columns[LABEL][capped.splits["train"]]).tolist() == [40] * 4
    assert set(capped.splits["train"]) <= set(free.splits["train"])
    np.testing.assert_array_equal(capped.splits["validation"], free.splits["validation"])
    assert sum(capped.dropped.values()) - sum(free.dropped.values()) == len(free.splits["train"]) - 160


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


def test_neighbours_across_splits_are_a_gap_apart():
    columns = table(700, 1)
    found = select(columns, rules(ratio=None, gap=2, include={}))
    home = {key: name for name in SPLITS for key in keys(columns, found.splits[name])}
    for (run, index), name in home.items():
        for distance in (1, 2):
            assert home.get((run, index + distance), name) == name


def test_duplicates_are_dropped_and_contradictions_refused():
    columns = table(700)
    twice = joined(columns, taken(columns, np.arange(50)))
    once, found = select(columns, rules()), select(twice, rules())
    assert keys(twice, found.splits["train"]) == keys(columns, once.splits["train"])
    assert found.dropped["duplicates"] == ((columns[LABEL][:50] >= 0) & (columns["lasing"][:50] == 1)).sum()
    twice[LABEL][np.flatnonzero((columns[LABEL][:50] >= 0) & (columns["lasing"][:50] == 1))[0]] ^= 1
    with pytest.raises(UserError, match=r"shot .* differs between the files"):
        select(twice, rules())


def test_an_empty_class_is_named_with_its_split():
    columns = table(700)
    columns[LABEL][columns[LABEL] == 2] = 3
    with pytest.raises(UserError, match=r"0 of class 2 \(c\) in train") as error:
        select(columns, rules(least=1))
    assert not any(f"class {value} " in str(error.value) for value in (0, 1, 3))


@pytest.mark.parametrize("seed", range(20))
def test_even_a_short_run_has_its_share_in_every_split(seed):
    columns = table(80, runs=(70,))
    columns[LABEL] = np.arange(80) % 4
    found = select(columns, rules(ratio=None, block=10, gap=0, seed=seed, include={}))
    counts = {name: len(rows) for name, rows in found.splits.items()}
    assert sum(counts.values()) == 80
    for name, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
        assert abs(counts[name] / 80 - share) <= 0.15


@pytest.mark.parametrize("by", ["block", "run", "file"])
def test_folds_together_hold_each_shot_out_once(by):
    columns = table(1600, runs=range(70, 86))
    columns[LABEL] = np.arange(1600) % 4
    prepare = rules(ratio=None, block=10, gap=0, by=by, include={})
    folds = [prepare.model_copy(update={"split": prepare.split.model_copy(update={"fold": fold})}) for fold in range(5)]
    for name, times in (("train", 3), ("validation", 1), ("test", 1)):
        rows = np.concatenate([select(columns, fold).splits[name] for fold in folds])
        assert (np.bincount(rows) == times).all()


def test_uniform_hash_is_uniform_and_fixed():
    values = [uniform_hash(1, run, block) for run in range(50) for block in range(50)]
    assert abs(np.mean(values) - 0.5) < 0.02
    assert uniform_hash(1, 70, 3) == uniform_hash(1, 70, 3) != uniform_hash(2, 70, 3)
    assert uniform_hash(1, 70, 3) == pytest.approx(0.47428, abs=1e-5)  # any change here moves every shot of every user


def test_shots_outside_a_range_are_left_out_and_counted_also_those_without_a_number():
    columns = table(600)
    columns[NUMBER][:3] = 0.5, -0.5, 0.6
    columns["lasing"][:3] = 1
    columns[LABEL][:3] = 0
    chosen = select(columns, rules(within={NUMBER: (-0.5, 0.5)}, ratio=None))
    rows = np.concatenate(list(chosen.splits.values()))
    assert (np.abs(columns[NUMBER][rows]) <= 0.5).all()
    lasing = columns["lasing"] == 1
    outside = ~(np.abs(columns[NUMBER]) <= 0.5)  # and NaN
    assert chosen.dropped[f"{NUMBER} is not within -0.5 to 0.5"] == (lasing & outside).sum() > 100
    assert len(rows) + sum(chosen.dropped.values()) == 600


def test_a_range_is_of_two_ascending_numbers():
    with pytest.raises(ValueError, match="low is not below high"):
        rules(within={NUMBER: (1.0, 1.0)})
