from xtcav_ml.config.paths import HISTORY, MODEL, RESULTS

GROUP = "Pipeline stages"


def record() -> None:
    """Make sure that MLflow has the run of these results."""
    from xtcav_ml.tracking import record as stage

    stage.record(MODEL, HISTORY, RESULTS)
