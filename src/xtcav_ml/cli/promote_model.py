from typing import Annotated

import typer

GROUP = "Models"
EXAMPLES = ("xtcav promote-model candidate --dry-run", "xtcav promote-model 3f2a --margin 0.01")


def promote_model(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="An MLflow run's id, its first digits or its name; or an alias (candidate)."
        ),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the decision, change nothing.")] = False,
    margin: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Tolerated loss; default: compare.margin of params.yaml."),
    ] = None,
) -> None:
    """Make a run's model the champion if it is not worse.

    Accepted if, in every quantity that the present champion (models:/xtcav@champion) learned, the interval of the loss (tests
    of `xtcav compare`) ends below the margin, on the test shots of both, which must cover most of the champion's. The run
    must be FINISHED, of a clean commit, and its model files unchanged. MLflow keeps the reason with the version. Exit code 1
    if it is refused.
    """
    from xtcav_ml.lineage import project
    from xtcav_ml.system.one_writer import writing
    from xtcav_ml.tools import promote_model as tool

    with writing(project.find_root() / "mlruns" / "champion"):
        tool.promote_version(run, dry_run, margin)
