from typing import Annotated

import typer

GROUP = "Search"
EXAMPLES = ("xtcav seeds  # the group's results", "make seeds  # trains what is missing of it", "xtcav seeds 3")
KEPT = "finished epochs are kept; `make seeds` resumes after the last one"


def seeds(
    seed: Annotated[int | None, typer.Argument(help="Train the member with this seed.", min=0)] = None,
    check: Annotated[bool, typer.Option("--check", help="Check that DVC can train the group.")] = False,
    settings: Annotated[bool, typer.Option("--settings", help="Write what all members have in common.")] = False,
    evaluate: Annotated[bool, typer.Option("--evaluate", help="Evaluate all members.")] = False,
    record: Annotated[bool, typer.Option("--record", help="Make sure that MLflow has the group's runs.")] = False,
) -> None:
    """Train params.yaml with several seeds, as one group.

    `make seeds` does it with compare.seeds, after `make repro`: DVC keeps each member, and only missing ones are trained.
    Without arguments this prints the group's results.
    """
    from xtcav_ml.config.paths import GROUP as RESULTS
    from xtcav_ml.config.paths import SETTINGS
    from xtcav_ml.pipeline import seeds as stage
    from xtcav_ml.system.one_writer import writing

    if check:
        from xtcav_ml.config.compare import require_compare
        from xtcav_ml.config.paths import SEEDS
        from xtcav_ml.lineage import dvc_files

        require_compare()
        dvc_files.require_usable(SEEDS)
    elif seed is not None:
        with writing(stage.member_files(seed)[0]):
            _train(seed)
    elif settings:
        with writing(SETTINGS):
            stage.write_settings()
    elif evaluate:
        with writing(RESULTS):
            _evaluate()
    elif record:
        from xtcav_ml.tracking import record_group

        with writing(RESULTS):
            record_group.record(stage.member_files)
    else:
        from xtcav_ml.tools import summary

        summary.print_group()


def _train(seed: int) -> None:
    from xtcav_ml.config.base import load_section
    from xtcav_ml.config.paths import PREPARED
    from xtcav_ml.config.train import TrainParams
    from xtcav_ml.pipeline import seeds as stage
    from xtcav_ml.tracking import resources

    with resources.measured(f"seed-{seed}"):
        stage.train_member(load_section("train", TrainParams).model_copy(update={"seed": seed}), PREPARED)


def _evaluate() -> None:
    from xtcav_ml.config.base import load_section
    from xtcav_ml.config.compare import load_compare
    from xtcav_ml.config.paths import PREPARED
    from xtcav_ml.config.train import TrainParams
    from xtcav_ml.lineage import lineage
    from xtcav_ml.pipeline import seeds as stage

    threads = load_section("train", TrainParams).threads
    stage.evaluate_group(threads, load_compare().seeds, PREPARED, lineage.of_stage("train").group)
