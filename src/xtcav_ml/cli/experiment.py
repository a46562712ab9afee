from typing import Annotated

import typer

GROUP = "Search"
EXAMPLES = (
    "xtcav experiment  # lists them",
    "xtcav experiment peaks-7 --data  # its images",
    "xtcav experiment peaks-7",
    "xtcav experiment --table",
)
KEPT = "finished epochs are kept; the same command resumes after the last one"


def experiment(
    name: Annotated[str | None, typer.Argument(help="One of experiments/*.yaml; default: list them.")] = None,
    data: Annotated[bool, typer.Option("--data", help="Make its data instead of training.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Check that all experiments can be trained.")] = False,
    table: Annotated[bool, typer.Option("--table", help="Tabulate published against repeated results.")] = False,
) -> None:
    """Repeat an experiment of the 2016 notes.

    `make notes` runs all but the long ones.
    """
    from xtcav_ml.notes2016 import experiments, side_by_side
    from xtcav_ml.system.one_writer import writing

    if check:
        from xtcav_ml.config.paths import EXPERIMENTS
        from xtcav_ml.lineage import dvc_files
        from xtcav_ml.notes2016 import validation

        dvc_files.require_usable(EXPERIMENTS)
        validation.check_experiments()
        return
    if table or name is None:
        (side_by_side.write_comparison if table else side_by_side.list_experiments)()
        return
    side_by_side.announce(name)
    with writing(experiments.data_folder(name) if data else experiments.result_file(name)):
        _make(name, data)


def _make(name: str, data: bool) -> None:
    """Make the data of an experiment, or train it."""
    from xtcav_ml.notes2016 import experiments, side_by_side

    if data:
        from xtcav_ml.notes2016 import shots

        shots.write_data(name)
        return
    if experiments.load_experiment(name).configurations is not None:
        from xtcav_ml.notes2016 import configurations

        configurations.measure_all(name)
        return
    from xtcav_ml.learning import backend
    from xtcav_ml.lineage import lineage
    from xtcav_ml.notes2016 import training as stage
    from xtcav_ml.tracking import resources, runs, usage_series

    params = experiments.train_params(name)
    origin = lineage.of_experiment(experiments.all_params(name), experiments.data_files(name))
    model = experiments.trained_folder(name) / "model.keras"
    with runs.training_run(backend.configure(params.seed, params.threads), model, name, origin) as (run, identity):
        if run is None:
            stage.train_experiment(name, params, identity=identity)
            return
        with resources.measured(f"experiment-{name}") as sampler:
            series = usage_series.Series(sampler, run)
            seconds = stage.train_experiment(name, params, [run, series], identity)
        runs.log_model(run, model)
    side_by_side.write_usage(name, sampler.summary(), seconds)
