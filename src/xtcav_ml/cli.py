"""One command, `xtcav`. Every import that takes time is inside the command that needs it."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from xtcav_ml import interrupts
from xtcav_ml.errors import DISK_FULL, UserError, disk_full, unusable

PREPARED, RESULTS = Path("data/prepared"), Path("results")
MODEL, HISTORY, CHECKED = Path("models/model.keras"), RESULTS / "history.jsonl", RESULTS / "data.json"
VALIDATED = RESULTS / "params_valid.txt"
TUNING = RESULTS / "tuning"

app = typer.Typer(
    help="Learn from XTCAV shot images. Parameters are in params.yaml; `make repro` or `dvc repro` runs the stages in order.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
STAGE, TOOL = "Stages (run by dvc repro, each from what the one before wrote)", "Tools"


@app.command(rich_help_panel=STAGE)
def validate() -> None:
    """Check that params.yaml is valid and fits together."""
    from xtcav_ml.params import whole
    from xtcav_ml.stages import check as stage

    stage.validate(whole.load(), VALIDATED)


@app.command(rich_help_panel=STAGE)
def simulate() -> None:
    """Write simulated shot files in the experiment's format to data/raw/simulated."""
    from xtcav_ml import resources
    from xtcav_ml.params.base import load_section
    from xtcav_ml.params.data import SIMULATED
    from xtcav_ml.params.simulate import SimulateParams
    from xtcav_ml.stages import simulate as stage

    with resources.measured("simulate"):
        stage.run(load_section("simulate", SimulateParams), SIMULATED)


@app.command(rich_help_panel=STAGE)
def check() -> None:
    """Check params.yaml and the raw files, and say what prepare would keep of them."""
    from xtcav_ml import resources
    from xtcav_ml.params import whole
    from xtcav_ml.stages import check as stage

    with resources.measured("check"):
        stage.run(whole.load(), CHECKED)


@app.command(rich_help_panel=STAGE)
def prepare() -> None:
    """Turn raw shot files into data/prepared/train.h5, validation.h5 and test.h5."""
    from xtcav_ml import resources
    from xtcav_ml.params.base import load_section
    from xtcav_ml.params.data import DataParams
    from xtcav_ml.params.prepare import PrepareParams
    from xtcav_ml.stages import prepare as stage

    with resources.measured("prepare"):
        stage.run(load_section("data", DataParams), load_section("prepare", PrepareParams), PREPARED)


@app.command(rich_help_panel=STAGE)
def train() -> None:
    """Train the network of params.yaml and log the run to MLflow."""
    from xtcav_ml import backend, resources, runs
    from xtcav_ml.params.base import load_section
    from xtcav_ml.params.train import TrainParams
    from xtcav_ml.stages import train as stage

    params = load_section("train", TrainParams)
    with runs.training(backend.configure(params.seed, params.threads)) as run:
        with resources.measured("train"):
            stage.run(params, PREPARED, MODEL, HISTORY, [run], run.identity)
        runs.log_model(run.run, MODEL)


@app.command(rich_help_panel=STAGE)
def evaluate() -> None:
    """Measure the trained network on the test set."""
    from xtcav_ml import resources
    from xtcav_ml.params.base import load_section
    from xtcav_ml.params.train import TrainParams
    from xtcav_ml.stages import evaluate as stage

    with resources.measured("evaluate"):
        threads = load_section("train", TrainParams).threads
        stage.run(threads, PREPARED, MODEL, HISTORY, RESULTS)


@app.command(rich_help_panel=STAGE)
def record() -> None:
    """Make sure that the run of the present results is in MLflow, with all of them; nothing is done if it is."""
    from xtcav_ml.stages import record as stage

    stage.run(MODEL, HISTORY, RESULTS)


@app.command(rich_help_panel=TOOL)
def describe() -> None:
    """Print the network of params.yaml: layers, shapes, parameters, memory and operations."""
    from xtcav_ml.params import whole
    from xtcav_ml.stages import describe as stage

    stage.run(whole.load())


@app.command(rich_help_panel=TOOL)
def scan(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of shot files; default: data.raw of params.yaml.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Say what is in a folder of shot files, reading no image; exit code 1 if a file is bad."""
    from xtcav_ml.params.base import load_section
    from xtcav_ml.params.data import DataParams
    from xtcav_ml.params.prepare import PrepareParams
    from xtcav_ml.raw import IN_PARAMS
    from xtcav_ml.stages import scan as stage

    data = load_section("data", DataParams)
    place, named = (Path(data.raw), IN_PARAMS) if folder is None else (folder, "FOLDER")
    good = stage.run(place, data, load_section("prepare", PrepareParams), as_json, named)
    sys.exit(0 if good else 1)


@app.command(rich_help_panel=TOOL)
def relabel(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of shot files; default: data.raw of params.yaml.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="HDF5 file for the computed labels and peaks.")] = None,
) -> None:
    """Compute labels from the waveforms by the rule of params.yaml (simulate.rule), and compare with those stored."""
    from xtcav_ml.params.base import load_section
    from xtcav_ml.params.data import DataParams
    from xtcav_ml.params.simulate import SimulateParams
    from xtcav_ml.raw import IN_PARAMS
    from xtcav_ml.stages import relabel as stage

    place, named = (Path(load_section("data", DataParams).raw), IN_PARAMS) if folder is None else (folder, "FOLDER")
    stage.run(place, load_section("simulate", SimulateParams).rule, out, named)


@app.command(rich_help_panel=TOOL)
def show(
    file: Annotated[Path, typer.Argument(help="A prepared file.")] = PREPARED / "train.h5",
    raw: Annotated[Path | None, typer.Option(help="Folder of its raw files; default: data.raw of params.yaml.")] = None,
    out: Annotated[Path, typer.Option(help="The picture, a PNG file.")] = RESULTS / "show.png",
    shots: Annotated[int, typer.Option(min=1, max=20, help="Shots of each class.")] = 3,
) -> None:
    """Draw shots of a prepared file by class: raw beside prepared, and the mean of each class."""
    from xtcav_ml.params.base import load_section
    from xtcav_ml.params.data import DataParams
    from xtcav_ml.stages import show as stage

    stage.run(file, raw or Path(load_section("data", DataParams).raw), out, shots)


@app.command(rich_help_panel=TOOL)
def predict(
    model: Annotated[
        str,
        typer.Argument(
            help="A model that train wrote, as models/model.keras, or a registered one, as models:/xtcav@champion."
        ),
    ],
    files: Annotated[list[Path], typer.Argument(help="Raw shot files, or folders of them; labels are not needed.")],
    out: Annotated[Path, typer.Option(help="Folder for the predictions.")] = RESULTS / "predictions",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads on a CPU; default: all cores.")] = None,
) -> None:
    """Say what a trained model sees in raw shot files: one HDF5 file each, rows as theirs; goes on where it was stopped."""
    import contextlib
    import os
    import tempfile

    from xtcav_ml.stages import predict as stage

    with contextlib.ExitStack() as stack:
        path = Path(model)
        if model.startswith("models:/"):
            from xtcav_ml import lineage, registry

            folder = stack.enter_context(tempfile.TemporaryDirectory())
            path = registry.fetch(lineage.project_root(), model, Path(folder))
        stage.run(path, files, out, threads or len(os.sched_getaffinity(0)))


@app.command(rich_help_panel=TOOL)
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN",
            help="Each a predictions.csv, a folder with one (as . here), a git revision or an MLflow run id.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Say whether runs really differ on the test shots that they have in common; each is compared with the first."""
    from xtcav_ml.stages import compare as stage

    stage.run(runs, as_json)


@app.command(rich_help_panel=TOOL)
def report(
    out: Annotated[Path, typer.Option(help="The page, an HTML file.")] = RESULTS / "report.html",
) -> None:
    """Write what the present results say, and where they come from, to one page that needs no network."""
    from xtcav_ml.stages import report as stage

    stage.run(Path(), out)


@app.command(rich_help_panel=TOOL)
def summary() -> None:
    """Print what the present results say and where they are."""
    from xtcav_ml.stages import summary as stage

    stage.run(RESULTS)


@app.command(rich_help_panel=TOOL)
def tune(
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials in the study; default: tune.trials of params.yaml.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Time limit; default: tune.minutes.")] = None,
) -> None:
    """Search hyperparameters with Optuna on the prepared set; results in results/tuning and MLflow."""
    from xtcav_ml.params import whole
    from xtcav_ml.stages import tune as stage

    params = whole.load()
    changes = {name: value for name, value in (("trials", trials), ("minutes", minutes)) if value is not None}
    stage.run(params.train, params.tune.model_copy(update=changes), PREPARED, TUNING)


@app.command(rich_help_panel=TOOL)
def experiment(
    name: Annotated[str | None, typer.Argument(help="One of experiments/*.yaml; default: list them.")] = None,
    data: Annotated[bool, typer.Option("--data", help="Make its data instead of training.")] = False,
    table: Annotated[bool, typer.Option("--table", help="Write what was published beside what came out.")] = False,
) -> None:
    """Repeat an experiment of the 2016 notes by name; `make notes` runs all but the long ones."""
    from xtcav_ml.params import experiment as known
    from xtcav_ml.stages import notes

    if table or name is None:
        (notes.write_table if table else notes.listing)()
        return
    notes.announce(name)
    if data:
        from xtcav_ml.stages import experiment_data

        experiment_data.run(name)
        return
    if known.load(name).configurations is not None:
        from xtcav_ml.stages import configurations

        configurations.run(name)
        return
    from xtcav_ml import backend, lineage, resources, runs
    from xtcav_ml.stages import experiment as stage

    params, origin = known.trained(name), lineage.of_experiment(known.described(name), known.data_files(name))
    with runs.experiment(backend.configure(params.seed, params.threads), name, origin) as run:
        with resources.measured(f"experiment-{name}") as sampler:
            seconds = stage.run(name, params, [run], run.identity)
        runs.log_model(run.run, known.trained_folder(name) / "model.keras")
    notes.keep_usage(name, sampler.summary(), seconds)


@app.command(rich_help_panel=TOOL)
def promote() -> None:
    """Write the best parameters that tune found into params.yaml, comments kept; then run make repro."""
    from xtcav_ml.params.base import PARAMS_FILE
    from xtcav_ml.stages import promote as stage

    stage.run(TUNING / "best.json", PARAMS_FILE)


@app.command(rich_help_panel=TOOL)
def promote_model(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="An MLflow run id, or its beginning, or an alias as candidate."),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
) -> None:
    """Make a run's model the champion (models:/xtcav@champion), if it is not worse; exit code 1 if it is refused.

    Not worse means: on the test shots that both were tested on, at least nine tenths of the champion's, the present champion
    is in nothing that it learned better with p below 0.05, by the tests of `xtcav compare`. The run must be FINISHED and of
    a clean commit, and the files of its model as they were logged. The reason is kept with the version in MLflow.
    """
    from xtcav_ml.stages import promote_model as stage

    stage.run(run, dry_run)


@app.command(rich_help_panel=TOOL)
def sync() -> None:
    """Send MLflow what it has not taken yet; exit code 1 if something is left."""
    from xtcav_ml.stages import sync as stage

    sys.exit(0 if stage.run() else 1)


@app.command(rich_help_panel=TOOL)
def runs(
    revision: Annotated[
        str | None, typer.Argument(metavar="REVISION", help="A git revision; default: what is checked out.")
    ] = None,
) -> None:
    """List the MLflow runs of the training that a commit, or the workspace, describes; exit code 1 if there is none."""
    from xtcav_ml.stages import runs as stage

    stage.run(revision)


@app.command(rich_help_panel=TOOL)
def reproduce(
    run: Annotated[str, typer.Argument(metavar="RUN", help="An MLflow run id, or its beginning.")],
    into: Annotated[
        Path | None, typer.Option(help="A new folder for it; default: reproduced/ and the beginning of the id.")
    ] = None,
) -> None:
    """Repeat a run from its commit, edits, parameters and data in a folder of its own; exit code 1 if anything differs.

    All stages run, nothing is taken from DVC's cache but raw data; hashes of all files, test metrics and the values of each
    epoch are then compared with the run's. It runs the code of the run: reproduce those of people whom you trust.
    """
    from xtcav_ml.stages import reproduce as stage

    sys.exit(0 if stage.run(run, into) else 1)


@app.command(rich_help_panel=TOOL)
def ui(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 5000,
) -> None:
    """Serve the MLflow UI on this project's runs."""
    from xtcav_ml import lineage, store

    store.serve_ui(lineage.project_root(), host, port)


@app.command(rich_help_panel=TOOL)
def server(
    folder: Annotated[Path, typer.Option(help="Folder for the database and the artifacts.")] = Path("server"),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 5000,
    allowed_hosts: Annotated[
        str | None,
        typer.Option(
            envvar="MLFLOW_SERVER_ALLOWED_HOSTS",
            help="Names with ports, separated by commas, by which clients call it; default: localhost and 127.0.0.1.",
        ),
    ] = None,
) -> None:
    """Serve MLflow to a team: PostgreSQL, users with passwords, artifacts through the server."""
    try:
        from xtcav_ml.stages import server as stage
    except ModuleNotFoundError as missing:
        raise UserError(f"{missing.name}: must be installed, got none; `make server` installs what it needs") from None

    names = [name.strip() for name in (allowed_hosts or "").split(",") if name.strip()]
    stage.run(folder, host, port, names)


def main() -> None:
    """Run a command; a user's mistake is one line and exit code 1, never a traceback.

    SIGTERM, with which batch systems end a job, is taken as Ctrl-C: what has begun is ended in order.
    """
    interrupts.listen()
    try:
        app()
    except UserError as error:
        print(f"xtcav: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        path = error.filename2 or error.filename  # of a renaming, that which it should become
        if error.errno not in DISK_FULL and path is None:
            raise
        told = disk_full(path or "a file", error) if error.errno in DISK_FULL else unusable(path, error)
        print(f"xtcav: {told}", file=sys.stderr)
        sys.exit(1)
