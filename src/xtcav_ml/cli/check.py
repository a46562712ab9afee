from xtcav_ml.config.paths import CHECKED

GROUP = "Pipeline stages"
EXAMPLES = ("xtcav check", "dvc repro check  # with the stages before it")
KEPT = "nothing of an unfinished check is kept; `make repro` checks again"


def check() -> None:
    """Check params.yaml and the raw files before hours of work."""
    from xtcav_ml.config import params_file
    from xtcav_ml.pipeline import check as stage
    from xtcav_ml.system.one_writer import writing
    from xtcav_ml.tracking import resources

    with writing(CHECKED), resources.measured("check"):
        stage.check_raw_files(params_file.load_params(), CHECKED)
