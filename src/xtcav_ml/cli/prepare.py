from xtcav_ml.config.paths import PREPARED

GROUP = "Pipeline stages"
EXAMPLES = ("xtcav prepare", "dvc repro prepare  # with the stages before it")
KEPT = "raw files are as they were, prepared ones whole or not there; `make repro` prepares again"


def prepare() -> None:
    """Preprocess raw files into train, validation and test."""
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
        stage.prepare_files(data, load_section("prepare", PrepareParams), PREPARED, simulation)
