"""The stages of dvc.yaml in order, and where they and the commands read and write, from the project's folder."""

from pathlib import Path

STAGES = ("simulate", "check", "prepare", "train", "evaluate")
"""Those that compute something; `validate` only looks at params.yaml, `record` only at results."""

PARAMS_FILE = Path("params.yaml")
LOCK_FILE = Path("dvc.lock")
EXPERIMENTS = Path("experiments")  # of the notes: a DVC project of its own in that of the project
SEEDS = Path("seeds")  # of groups of seeds: another one
SETTINGS = SEEDS / "settings.json"  # what all members of the group have in common
GROUP, GROUP_PREDICTIONS = SEEDS / "results/seeds.json", SEEDS / "results/predictions.csv"
SIMULATED = Path("data/raw/simulated")  # `data.raw`, unless the data are your own
LOCK_FILES = (LOCK_FILE, SIMULATED.parent / LOCK_FILE)
PREPARED, MODEL, RESULTS = Path("data/prepared"), Path("models/model.keras"), Path("results")
KEPT_FRAMES = Path("data/.shards")  # other names of the shards of the last `prepare`, for the next one
VALIDATED, CHECKED = RESULTS / "params_valid.txt", RESULTS / "data.json"
CHANGED = RESULTS / "changed.json"  # the parameters that differ from those of the last committed results, in words
HISTORY, CURVES = RESULTS / "history.jsonl", RESULTS / "learning_curves.csv"
EVALUATION, PREDICTIONS, PLOTS = RESULTS / "evaluation.json", RESULTS / "predictions.csv", RESULTS / "plots"
METRICS = RESULTS / "metrics.json"  # those of EVALUATION that DVC tabulates
REPORT, RESOURCES = RESULTS / "report.html", RESULTS / "resources"
RUN_ADDRESS = RESOURCES / "run.json"  # the MLflow run of the results in the workspace

TUNING = RESULTS / "tuning"
BEST = TUNING / "best.json"  # the best trial of a search
SEARCH, SEARCH_PAGE = TUNING / "search.json", TUNING / "search.html"  # all its trials, and a page on them
