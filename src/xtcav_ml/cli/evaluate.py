from xtcav_ml.config.paths import HISTORY, METRICS, MODEL, PREPARED, RESULTS

GROUP = "Pipeline stages"
EXAMPLES = ("xtcav evaluate", "dvc repro evaluate  # with the stages before it")
KEPT = "the trained network is kept; `make repro` evaluates it again"


def evaluate() -> None:
    """Evaluate the trained network on the test set."""
    from xtcav_ml.config.base import load_section
    from xtcav_ml.config.data import DataParams
    from xtcav_ml.config.simulate import SimulateParams
    from xtcav_ml.config.train import TrainParams
    from xtcav_ml.pipeline import evaluate as stage
    from xtcav_ml.science.streak_axes import usual_axes
    from xtcav_ml.system.one_writer import writing
    from xtcav_ml.tracking import resources

    with writing(METRICS), resources.measured("evaluate"):
        threads = load_section("train", TrainParams).threads
        axes = usual_axes(load_section("data", DataParams), load_section("simulate", SimulateParams))
        stage.evaluate_network(threads, PREPARED, MODEL, HISTORY, RESULTS, axes=axes)
