from typing import Annotated

import typer

GROUP = "Parameters"
EXAMPLES = ("xtcav params", "xtcav params train.optimizer.", "xtcav params --json")


LINE_LENGTH = 250  # characters in a line where no terminal limits it: a parameter is then one line, for grep
TABLE_WIDTH = 160  # columns of a terminal from which on a table of six columns can be read


def params(
    prefix: Annotated[str, typer.Argument(help="Beginning of the keys, for example train.optimizer.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List all parameters: value, range, unit, meaning."""
    import json

    from rich.table import Table

    from xtcav_ml.config import params_file
    from xtcav_ml.config.parameters import rows
    from xtcav_ml.system.errors import UserError
    from xtcav_ml.system.progress import console

    listed = [row for row in rows(params_file.load_params()) if row.key.startswith(prefix)]
    if not listed:
        raise UserError(
            f"PREFIX: no such parameter (found {prefix!r}, expected the beginning of a key). Fix: see `xtcav params`"
        )
    if as_json:
        print(json.dumps([row._asdict() for row in listed], indent=2))
        return

    def text(value: object) -> str:
        return value if isinstance(value, str) else json.dumps(value)

    screen = console()
    if screen.width < TABLE_WIDTH:
        for row in listed:
            default = "" if row.required else f"; default {text(row.default)}"
            screen.print(f"{row.key}: {text(row.value)}{f' [{row.unit}]' if row.unit else ''}")
            screen.print(f"    {row.meaning} ({row.allowed}{default})")
        return
    table = Table("key", "value", "default", "allowed", "unit", "meaning", box=None, pad_edge=False)
    for row in listed:
        default = "" if row.required else text(row.default)
        table.add_row(row.key, text(row.value), default, row.allowed, row.unit, row.meaning)
    for column in table.columns:
        column.overflow = "fold"
    screen.width = min(screen.width, LINE_LENGTH)
    screen.print(table)
