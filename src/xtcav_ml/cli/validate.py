from xtcav_ml.config.paths import VALIDATED

GROUP = "Pipeline stages"
EXAMPLES = ("xtcav validate",)


def validate() -> None:
    """Check params.yaml, before anything is simulated."""
    from xtcav_ml.config import params_file
    from xtcav_ml.config.base import flatten, read_tree
    from xtcav_ml.lineage import changed, dvc_files
    from xtcav_ml.pipeline import validate as stage
    from xtcav_ml.system.one_writer import writing

    dvc_files.require_usable()
    with writing(VALIDATED):
        changed.write_changed(flatten(read_tree()))
        stage.validate_params(params_file.load_params(), VALIDATED)
