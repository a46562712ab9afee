from xtcav_ml.config.paths import BEST

GROUP = "Search"
EXAMPLES = ("xtcav promote  # after `make tune`",)


def promote() -> None:
    """Write the best parameters of the search to params.yaml.

    Comments are kept. Run `make repro` afterwards.
    """
    from xtcav_ml.config.paths import PARAMS_FILE
    from xtcav_ml.system.one_writer import writing
    from xtcav_ml.tuning.promote import promote_best

    with writing(PARAMS_FILE):
        promote_best(BEST, PARAMS_FILE)
