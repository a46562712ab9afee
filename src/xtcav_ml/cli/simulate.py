GROUP = "Pipeline stages"
EXAMPLES = ("xtcav simulate", "dvc repro data/raw/dvc.yaml:simulate")
KEPT = "no file of an unfinished simulation is kept; `make repro` simulates again"


def simulate() -> None:
    """Simulate raw files in the experiment's format."""
    from xtcav_ml.config.base import load_section
    from xtcav_ml.config.paths import SIMULATED
    from xtcav_ml.config.simulate import SimulateParams
    from xtcav_ml.pipeline import simulate as stage
    from xtcav_ml.system.one_writer import writing
    from xtcav_ml.tracking import resources

    with writing(SIMULATED), resources.measured("simulate"):
        stage.simulate_files(load_section("simulate", SimulateParams), SIMULATED)
