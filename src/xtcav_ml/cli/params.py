from typing import Annotated

import typer

GROUP, ORDER = "Parameters", 20


def params(
    prefix: Annotated[str, typer.Argument(help="Beginning of the keys, for example train.optimizer.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List all parameters: value, range, unit, meaning."""
    from xtcav_ml.config import params_file
    from xtcav_ml.tools import params as tool

    tool.run(params_file.load(), prefix, as_json)
