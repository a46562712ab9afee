from pathlib import Path
from typing import Annotated, Any

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
    seed: Annotated[int | None, typer.Option(min=0, help="Train a member of its group of seeds instead.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Check that all experiments can be trained.")] = False,
    table: Annotated[bool, typer.Option("--table", help="Tabulate published against repeated results.")] = False,
) -> None:
    """Repeat an experiment of the 2016 notes.

    `make notes` runs all but the long ones.
    """
    from xtcav_ml.notes2016 import experiments, side_by_side
    from xtcav_ml.system.one_writer import writing

    if check:
        from xtcav_ml.config.compare import require_compare
        from xtcav_ml.config.paths import EXPERIMENTS
        from xtcav_ml.lineage import dvc_files
        from xtcav_ml.notes2016 import validation

        require_compare()
        dvc_files.require_usable(EXPERIMENTS)
        validation.check_experiments()
        return
    if table:
        side_by_side.write_comparison()
        _record_groups()
        return
    if name is None:
        side_by_side.list_experiments()
        return
    side_by_side.announce(name)
    with writing(experiments.data_folder(name) if data else experiments.result_file(name, seed)):
        _make(name, data, seed)


def _make(name: str, data: bool, seed: int | None) -> None:
    """Make the data of an experiment, or train it, or a member of its group of seeds."""
    from xtcav_ml.notes2016 import experiments, side_by_side

    if data:
        from xtcav_ml.notes2016 import shots

        shots.write_data(name)
        return
    if experiments.load_experiment(name).configurations is not None:
        from xtcav_ml.notes2016 import configurations

        configurations.measure_all(name)
        return
    if seed is None and experiments.load_experiment(name).raw is not None:
        _train_seeds(name)
        return
    from xtcav_ml.learning import backend
    from xtcav_ml.lineage import lineage
    from xtcav_ml.notes2016 import training as stage
    from xtcav_ml.tracking import resources, runs, usage_series

    params = experiments.train_params(name)
    origin = lineage.of_experiment(experiments.all_params(name), experiments.data_files(name))
    if seed is not None:
        params, origin = params.model_copy(update={"seed": seed}), origin.with_seed(seed)
    model, device = (
        experiments.trained_folder(name, seed) / "model.keras",
        backend.configure(params.seed, params.threads),
    )
    if seed is not None and stage.take_over(name, seed, origin.identity, device):
        print(f"experiment {name}: seed {seed} is that of {experiments.trained_folder(name)}, which is taken over")
        return
    with runs.training_run(device, model, name, origin) as (run, identity):
        if run is None:
            stage.train_experiment(name, params, identity=identity, seed=seed)
            return
        with resources.measured(f"experiment-{name}") as sampler:
            series = usage_series.Series(sampler, run)
            seconds = stage.train_experiment(name, params, [run, series], identity, seed)
        runs.log_model(run, model)
    if seed is None:
        side_by_side.write_usage(name, sampler.summary(), seconds)


def _record_groups() -> None:
    """Let MLflow have the groups of seeds that were trained here."""
    from dataclasses import asdict

    from xtcav_ml.config.paths import LOCK_FILE
    from xtcav_ml.lineage import dvc_lock, lineage
    from xtcav_ml.notes2016 import experiments, side_by_side

    ran = dvc_lock.entries(experiments.EXPERIMENTS / LOCK_FILE)
    for name in experiments.experiment_names():
        results = side_by_side.members(name, ran)
        if len(results) < side_by_side.LEAST_SEEDS or not experiments.are_trained(name, results):
            continue
        origin = lineage.of_experiment(experiments.all_params(name), experiments.data_files(name))
        members = {seed: (origin.with_seed(seed), result) for seed, result in results.items()}
        _record_group(name, origin, members, {"accuracy": asdict(side_by_side.spread(results))})


def _record_group(name: str, origin: Any, members: Any, mean: Any) -> None:
    from xtcav_ml.notes2016 import experiments
    from xtcav_ml.tracking import record_group

    def files(seed: int) -> tuple[Path, Path]:
        folder = experiments.trained_folder(name, seed)
        return folder / "model.keras", folder / "history.jsonl"

    record_group.record_experiment(name, origin.without_seed, members, mean, files)


def _train_seeds(name: str) -> None:
    """Train an experiment on real shots with each of compare.seeds, and measure all on the shots that are held out."""
    from xtcav_ml.config.compare import load_compare
    from xtcav_ml.learning import backend
    from xtcav_ml.lineage import lineage
    from xtcav_ml.notes2016 import delay, experiments
    from xtcav_ml.pipeline import train
    from xtcav_ml.tracking import runs

    seeds, origins = load_compare().seeds, {}
    for seed in seeds:
        params = experiments.train_params(name).model_copy(update={"seed": seed})
        data = experiments.data_files(name, seed)
        origins[seed] = origin = lineage.of_experiment(experiments.all_params(name), data).with_seed(seed)
        folder = experiments.trained_folder(name, seed)
        model, device = folder / "model.keras", backend.configure(seed, params.threads)
        with runs.training_run(device, model, name, origin) as (run, identity):
            listeners = [] if run is None else [run]
            train.train_network(params, data[0].parent, model, folder / "history.jsonl", listeners, identity)
            if run is not None:
                runs.log_model(run, model)
    found = delay.measure(name, seeds)
    every = [file for seed in seeds for file in experiments.data_files(name, seed)]
    mean = {delay.MEASURED: found[delay.NETWORK]}
    members = {one["seed"]: (origins[one["seed"]], delay.of_network(one)) for one in found["seeds"]}
    _record_group(name, lineage.of_experiment(experiments.all_params(name), every), members, mean)
