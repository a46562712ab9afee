"""params: all parameters with value, default, allowed values, unit and meaning."""

import json

from rich.table import Table

from xtcav_ml.config.parameters import rows
from xtcav_ml.config.params_file import Params
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console

LINE = 250
"""Characters in a line where no terminal limits it: a parameter is then one line, for grep."""


def run(params: Params, prefix: str, as_json: bool) -> None:
    """Print the parameters whose dotted key starts with `prefix`. Raises UserError if there are none."""
    listed = [row for row in rows(params) if row.key.startswith(prefix)]
    if not listed:
        raise UserError(f"{prefix}: no parameter starts so. Fix: run `xtcav params` for all of them")
    if as_json:
        print(json.dumps([row._asdict() for row in listed], indent=2))
        return
    table = Table("key", "value", "default", "allowed", "unit", "meaning", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for row in listed:
        default = "" if row.required else _shown(row.default)
        table.add_row(row.key, _shown(row.value), default, row.allowed, row.unit, row.meaning)
    screen = console()
    screen.width = screen.width if screen.is_terminal else LINE
    screen.print(table)


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
