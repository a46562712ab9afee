from typing import Annotated

import typer

from xtcav_ml.config.paths import KEPT_FRAMES, PREPARED

GROUP = "Pipeline stages"
EXAMPLES = (
    "xtcav prepare",
    "dvc repro prepare  # with the stages before it",
    "xtcav prepare --workers 4",
    "xtcav prepare --cluster slurm --workers 8",
)
KEPT = "raw files are as they were, prepared ones whole or not there; `make repro` goes on with the shards that are missing"


def prepare(
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=10000, help="Files at a time; default: 1, or all of a scheduler's workers."),
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Where: slurm, or the address of a Dask scheduler; default: this machine.")
    ] = None,
) -> None:
    """Preprocess raw files into train, validation and test.

    On this machine or a cluster, with the same bytes.
    """
    from xtcav_ml.config.base import load_section
    from xtcav_ml.config.data import DataParams
    from xtcav_ml.config.prepare import PrepareParams
    from xtcav_ml.config.simulate import SimulateParams
    from xtcav_ml.pipeline import prepare as stage
    from xtcav_ml.system.one_writer import writing
    from xtcav_ml.tracking import resources

    with writing(PREPARED), resources.measured("prepare"):
        data = load_section("data", DataParams)
        simulation = load_section("simulate", SimulateParams) if data.simulated else None
        section, make = load_section("prepare", PrepareParams), None
        if cluster is not None or workers not in (None, 1):
            from xtcav_ml.system import cluster as installed

            installed.require_installed()
            from xtcav_ml.pipeline import by_workers

            make = by_workers.maker(cluster, workers, KEPT_FRAMES / "certificates")
        stage.prepare_files(data, section, PREPARED, simulation, KEPT_FRAMES, make)
