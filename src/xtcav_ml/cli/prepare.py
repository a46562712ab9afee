from xtcav_ml.config.paths import PREPARED

GROUP = "Pipeline stages"
EXAMPLES = ("xtcav prepare", "dvc repro prepare  # with the stages before it")
KEPT = "raw files are as they were, prepared ones whole or not there; `make repro` prepares again"


def prepare() -> None:
    """Preprocess raw files into train, validation and test."""
    from xtcav_ml.config.base import load_section
    from xtcav_ml.config.data import DataParams
    from xtcav_ml.config.prepare import PrepareParams
    from xtcav_ml.pipeline import prepare as stage
    from xtcav_ml.system.one_writer import writing
    from xtcav_ml.tracking import resources

    with writing(PREPARED), resources.measured("prepare"):
        stage.prepare_files(load_section("data", DataParams), load_section("prepare", PrepareParams), PREPARED)
