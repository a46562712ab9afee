from typing import Annotated

import typer

from xtcav_ml.config.paths import PREPARED, TUNING

GROUP = "Search"
EXAMPLES = (
    "xtcav tune",
    "xtcav tune --trials 50 --minutes 60",
    "xtcav tune --workers 2",
    "xtcav tune --cluster slurm --workers 8",
)
KEPT = "ended trials and finished epochs of the last one are kept; `make tune` goes on there"


def tune(
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials in the study; default: tune.trials of params.yaml.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Time limit; default: tune.minutes of params.yaml.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=10000, help="Trials at a time; default: 1, or all of a scheduler's workers."),
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Where: slurm, or the address of a Dask scheduler; default: this machine.")
    ] = None,
) -> None:
    """Search hyperparameters with Optuna.

    On this machine or a cluster. Needs the prepared data. Writes to results/tuning and MLflow.
    """
    from xtcav_ml.config import params_file
    from xtcav_ml.system.one_writer import writing

    params = params_file.load_params()
    changes = {name: value for name, value in (("trials", trials), ("minutes", minutes)) if value is not None}
    with writing(TUNING):
        tune = params.tune.model_copy(update=changes)
        seeds = [seed for seed in params.compare.seeds if seed != params.train.seed][: tune.seeds]
        if cluster is None and workers in (None, 1):
            from xtcav_ml.tuning.tune import run_search

            run_search(params.train, tune, PREPARED, TUNING, seeds)
        else:
            from xtcav_ml.system import cluster as installed

            installed.require_installed()
            from xtcav_ml.system.workers import LOCAL
            from xtcav_ml.tuning.parallel import run_parallel_search

            run_parallel_search(cluster or LOCAL, workers, params.train, tune, PREPARED, TUNING, seeds)
