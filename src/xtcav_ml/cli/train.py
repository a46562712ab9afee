from xtcav_ml.config.paths import HISTORY, MODEL, PREPARED

GROUP = "Pipeline stages"
EXAMPLES = ("xtcav train", "dvc repro train  # with the stages before it")
KEPT = "finished epochs are kept in models/checkpoints; `make repro` resumes after the last one"


def train() -> None:
    """Train the network and log the run to MLflow."""
    from xtcav_ml.config.base import load_section
    from xtcav_ml.config.train import TrainParams
    from xtcav_ml.learning import backend
    from xtcav_ml.pipeline import train as stage
    from xtcav_ml.system.one_writer import writing
    from xtcav_ml.tracking import resources, runs, usage_series

    with writing(MODEL):
        params = load_section("train", TrainParams)
        with runs.training_run(backend.configure(params.seed, params.threads)) as (run, identity):
            if run is None:
                stage.train_network(params, PREPARED, MODEL, HISTORY, identity=identity)
                return
            with resources.measured("train") as sampler:
                series = usage_series.Series(sampler, run)
                stage.train_network(params, PREPARED, MODEL, HISTORY, [run, series], identity)
            runs.log_model(run, MODEL)
