"""What a search space says of its own parameters."""

import pytest

from xtcav_ml.config import space
from xtcav_ml.config.tune import Choices, Range
from xtcav_ml.learning import layer_plan
from xtcav_ml.system.errors import UserError

NAME, NESTEROV = "train.optimizer.name", "train.optimizer.nesterov"
BLOCKS, SECOND = "train.model.blocks", "train.model.blocks.1.kernel"
RATE = "train.optimizer.learning_rate"
SPACE = {
    NESTEROV: Choices(choices=(True, False), when={NAME: "sgd"}),
    NAME: Choices(choices=("sgd", "adam")),
    SECOND: Choices(choices=(3, 6, 8)),
    BLOCKS: Range(low=1, high=3),
}


def test_a_parameter_follows_those_that_decide_whether_it_is_tried():
    order = space.in_order(SPACE)
    assert order.index(NAME) < order.index(NESTEROV)
    assert order.index(BLOCKS) < order.index(SECOND)
    circle = {NAME: Choices(choices=(1, 2), when={RATE: 1}), RATE: Choices(choices=(1, 2), when={NAME: 1})}
    with pytest.raises(UserError, match=r"when: decides about itself .* Fix: "):
        space.in_order(circle)


@pytest.mark.parametrize(
    ("name", "values", "tried"),
    [
        (NESTEROV, {NAME: "sgd"}, True),
        (NESTEROV, {NAME: "adam"}, False),
        (NESTEROV, {}, False),
        (SECOND, {BLOCKS: 2}, True),
        (SECOND, {BLOCKS: 1}, False),
        (NAME, {}, True),
    ],
)
def test_it_is_tried_only_where_its_conditions_hold(name, values, tried):
    assert space.is_tried(SPACE, name, values) is tried


def test_combinations_are_those_that_can_be_tried():
    # two optimizers, of which one has a second choice; one block, or two or three with three kernels each
    assert space.combinations(SPACE) == ((2 + 1) * (1 + 2 * 3), 0)
    rate = Range(low=0.01, high=0.1, when={NAME: "adam"})
    assert space.combinations({**SPACE, RATE: rate}) == ((2 + 1) * (1 + 2 * 3), 1)
    assert space.described({**SPACE, RATE: rate}) == (
        "5 parameters, 21 combinations, each with a continuum of 1 parameters"
    )


def test_a_length_takes_the_first_entries_and_repeats_the_last(params):
    one = space.applied(params.train, {BLOCKS: 1})
    assert one.model.blocks == params.train.model.blocks[:1]
    three = space.applied(params.train, {SECOND: 5, BLOCKS: 3})
    assert [block.kernel for block in three.model.blocks] == [8, 5, 6]
    for wrong in (-1, 65, 1.5):
        with pytest.raises(UserError, match=r"train\.model\.blocks.* Fix: "):
            space.applied(params.train, {BLOCKS: wrong})


def test_a_network_for_frames_without_a_block_is_refused_when_it_is_planned(params):
    train = space.applied(params.train, {BLOCKS: 0})
    with pytest.raises(UserError, match=r"train\.model\.blocks: no convolution .* Fix: "):
        layer_plan.plan_layers(train.model, layer_plan.Ends((363, 284), "int16", 0, 4, 0))


def test_the_values_of_params_yaml_are_those_that_would_be_tried(params):
    # momentum and kernels as they are, the length of the list
    assert space.values_of(params.train, SPACE) == {BLOCKS: 2, NAME: "sgd", NESTEROV: False, SECOND: 6}


@pytest.mark.parametrize("lengths", [("two", 1), (None, 2), (0.5, 1)])
def test_what_is_no_length_of_a_list_is_one_line(params, lengths):
    with pytest.raises(UserError, match=r"train\.model\.blocks: no length of this list"):
        space.require_valid(params.train, {BLOCKS: Choices(choices=lengths), SECOND: SPACE[SECOND]})


@pytest.mark.parametrize(
    ("when", "found"),
    [({RATE: 1}, "a parameter of tune.space"), ({NAME: "adamax"}, "some of"), ({SECOND: 3.5}, "some of")],
)
def test_a_condition_that_never_holds_is_one_line(params, when, found):
    changed = {**SPACE, "train.optimizer.momentum": Range(low=0.5, high=0.9, when=when)}
    with pytest.raises(UserError, match=rf"momentum\.when\..*: never holds .*{found}.* Fix: correct it"):
        space.require_valid(params.train, changed)
    space.require_valid(params.train, SPACE)


@pytest.mark.parametrize("name", ["prepare.images.1.size", "prepare.pixels.quantum", "prepare.nothing"])
def test_what_decides_the_prepared_set_is_refused_with_the_ways_to_go(params, name):
    with pytest.raises(
        UserError, match=rf"^{name}: decides the prepared set.* Fix: search train\.model\.coarsen.*make tune"
    ):
        space.require_valid(params.train, {name: Choices(choices=(2, 4))})


def test_preprocessing_that_the_prepared_set_can_serve_is_searched(params):
    found = {
        "train.model.coarsen": Choices(choices=(1, 2, 3)),
        "train.model.standardize": Choices(choices=("all", "pixel")),
        "train.augment.shift.0": Range(low=0, high=8, step=4),
        "train.augment.gain": Range(low=0.0, high=0.2),
        "train.augment.noise": Range(low=0.0, high=0.2),
    }
    space.require_valid(params.train, found)
    assert space.values_of(params.train, found) == dict(zip(found, (1, "all", 0, 0.0, 0.0), strict=True))
    assert space.applied(params.train, {"train.augment.shift.0": 8}).augment.shift == (8, 0)
