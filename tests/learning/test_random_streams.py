"""No random number is drawn twice: not for another purpose, another seed, another layer, epoch or minibatch."""

import itertools

import numpy as np

from tests.learning.test_fit import PARAMS, write
from tests.test_architecture import MODULES
from xtcav_ml.learning import layer_plan, networks, normalization
from xtcav_ml.learning.batches import shuffled
from xtcav_ml.learning.random_streams import Purpose, generator, layer_seed

SEEDS, NUMBERS = (0, 1, 2, 3, 2**32 - 1), range(12)


def test_no_two_streams_are_the_same():
    names = [
        (seed, purpose, *number)
        for seed, purpose in itertools.product(SEEDS, Purpose)
        for number in [*itertools.product(NUMBERS), *itertools.product(NUMBERS, NUMBERS)]
        if len(number) == 1 + (purpose == Purpose.AUGMENTATION)
    ]
    first = {generator(*name).bytes(16) for name in names}
    assert len(first) == len(names) > 800


def test_replicates_share_no_seed_of_a_layer():
    assert len({layer_seed(seed, number) for seed in SEEDS for number in NUMBERS}) == len(SEEDS) * len(NUMBERS)


def test_the_order_of_an_epoch_is_not_drawn_from_the_numbers_of_a_kernel():
    for number in NUMBERS:
        assert (np.random.default_rng([3, number]).permutation(45) != shuffled(45, 3, number)).any()
        assert (generator(3, Purpose.KERNEL, number).permutation(45) != shuffled(45, 3, number)).any()


def test_layers_of_networks_of_seeds_1_2_and_3_draw_apart(tmp_path, keras_ready):
    block = PARAMS.model.blocks[0].model_copy(update={"dropout": 0.1})
    model = PARAMS.model.model_copy(update={"blocks": (block, block), "hidden": (8, 8), "hidden_dropout": 0.1})
    with write(tmp_path / "train.h5", 45, 0) as train:
        statistics = normalization.statistics_of(train, "all")
        layers = layer_plan.plan_layers(model, layer_plan.Ends.of(train.spec), noise=0.1)
        built = [networks.build(layers, model, statistics, seed=seed) for seed in (1, 2, 3)]
    seeds = [layer.seed for network in built for layer in network.layers if hasattr(layer, "seed_generator")]
    assert len(set(seeds)) == len(seeds) == 3 * 5


def test_learning_draws_from_nowhere_else():
    for name, path in MODULES.items():
        if name.startswith("learning.") and name != "learning.random_streams":
            assert not [word for word in ("default_rng", "SeedSequence", "RandomState") if word in path.read_text()], (
                name
            )
