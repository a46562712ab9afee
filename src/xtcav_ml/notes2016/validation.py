"""experiment --check: find mistakes in the experiments before DVC removes a network that took hours."""

import json

from xtcav_ml.config.base import load_section, read_tree
from xtcav_ml.config.data import DataParams
from xtcav_ml.config.schema import NO_FRAME
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import rules
from xtcav_ml.lineage.used_code import digest
from xtcav_ml.notes2016 import experiments, shots
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError

VALID_FILE = experiments.EXPERIMENTS / "results" / "valid.txt"
VALID = "all experiments are valid\n"
"""Its content: always the same, so that an edited experiment makes no other one run again."""

SIMULATION_FILE = VALID_FILE.with_name("simulation.json")
"""Holds the digest of section `simulate` of params.yaml, on which the experiments' shots depend. Its 300 values would be in
experiments/dvc.lock once for each of them; data/raw/dvc.lock has them."""


def check_experiments() -> None:
    """Check that each experiment can be trained on its data, write both files. Raises UserError at the first that cannot."""
    for name in experiments.experiment_names():
        spec, sizes = _data_of(name)
        for train in experiments.configuration_params(name) or [experiments.train_params(name)]:
            try:
                rules.require_trainable(train, spec, sizes)
            except UserError as error:
                raise UserError(f"{experiments.EXPERIMENTS / name}.yaml: {error}") from None
    values = json.dumps(read_tree()["simulate"], sort_keys=True)
    atomic.write_json(SIMULATION_FILE, {"simulate": digest(values)})
    with atomic.replacing(VALID_FILE) as temporary:
        temporary.write_text(VALID)


def _data_of(name: str) -> tuple[LearningSpec, int | None]:
    """Return what an experiment learns from, and the size of its training set; None if that is not prepared yet."""
    source = experiments.load_experiment(name).data_of or name
    signal = experiments.load_experiment(source).signal
    if signal is not None:
        return shots.signal_spec(signal), signal.train
    framed = experiments.load_experiment(source).raw is None
    shape = load_section("data", DataParams).raw_shape if framed else NO_FRAME
    spec = LearningSpec.of(experiments.shot_params(source)[1], shape, dark=None)
    prepared = experiments.data_folder(name) / "train.h5"
    if not prepared.is_file():
        return spec, None
    with PreparedFile(prepared) as train:
        return spec, train.shots
