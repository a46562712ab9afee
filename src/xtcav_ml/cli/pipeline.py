"""The stages of DVC, each from what the one before wrote."""

from xtcav_ml.config.paths import CHECKED, HISTORY, MODEL, PREPARED, RESULTS, VALIDATED


def validate() -> None:
    """Check that params.yaml is valid and fits together."""
    from xtcav_ml.config import params_file
    from xtcav_ml.pipeline import check as stage

    stage.validate(params_file.load(), VALIDATED)


def simulate() -> None:
    """Write simulated shot files in the experiment's format to data/raw/simulated."""
    from xtcav_ml.config.base import load_section
    from xtcav_ml.config.data import SIMULATED
    from xtcav_ml.config.simulate import SimulateParams
    from xtcav_ml.pipeline import simulate as stage
    from xtcav_ml.tracking import resources

    with resources.measured("simulate"):
        stage.run(load_section("simulate", SimulateParams), SIMULATED)


def check() -> None:
    """Check params.yaml and the raw files, and say what prepare would keep of them."""
    from xtcav_ml.config import params_file
    from xtcav_ml.pipeline import check as stage
    from xtcav_ml.tracking import resources

    with resources.measured("check"):
        stage.run(params_file.load(), CHECKED)


def prepare() -> None:
    """Turn raw shot files into data/prepared/train.h5, validation.h5 and test.h5."""
    from xtcav_ml.config.base import load_section
    from xtcav_ml.config.data import DataParams
    from xtcav_ml.config.prepare import PrepareParams
    from xtcav_ml.pipeline import prepare as stage
    from xtcav_ml.tracking import resources

    with resources.measured("prepare"):
        stage.run(load_section("data", DataParams), load_section("prepare", PrepareParams), PREPARED)


def train() -> None:
    """Train the network of params.yaml and log the run to MLflow."""
    from xtcav_ml.config.base import load_section
    from xtcav_ml.config.train import TrainParams
    from xtcav_ml.learning import backend
    from xtcav_ml.pipeline import train as stage
    from xtcav_ml.tracking import resources, runs

    params = load_section("train", TrainParams)
    with runs.training(backend.configure(params.seed, params.threads)) as run:
        with resources.measured("train"):
            stage.run(params, PREPARED, MODEL, HISTORY, [run], run.identity)
        runs.log_model(run.run, MODEL)


def evaluate() -> None:
    """Measure the trained network on the test set."""
    from xtcav_ml.config.base import load_section
    from xtcav_ml.config.train import TrainParams
    from xtcav_ml.pipeline import evaluate as stage
    from xtcav_ml.tracking import resources

    with resources.measured("evaluate"):
        threads = load_section("train", TrainParams).threads
        stage.run(threads, PREPARED, MODEL, HISTORY, RESULTS)


def record() -> None:
    """Make sure that the run of the present results is in MLflow, with all of them; nothing is done if it is."""
    from xtcav_ml.tracking import record as stage

    stage.run(MODEL, HISTORY, RESULTS)
