from xtcav_ml.config.paths import HISTORY, MODEL, RESULTS, RUN_ADDRESS

GROUP = "Pipeline stages"
EXAMPLES = ("xtcav record",)
KEPT = "what was logged is kept, in MLflow or mlruns/journal; `make repro` goes on"


def record() -> None:
    """Make sure that MLflow has the run of these results."""
    from xtcav_ml.system.one_writer import writing
    from xtcav_ml.tracking import record as stage

    with writing(RUN_ADDRESS):
        stage.record(MODEL, HISTORY, RESULTS)
