"""From a template to a page: the filters and the settings of all of them."""

from pathlib import Path

import jinja2

from xtcav_ml.report import format
from xtcav_ml.science.thresholds import INTERVAL

FILTERS = (
    format.percent,
    format.number,
    format.amount,
    format.compared,
    format.by_blocks,
    format.ranges,
    format.meaning,
)


def environment() -> jinja2.Environment:
    """Return the templates. All that is put into one is text, and escaped."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals["INTERVAL"] = INTERVAL
    found.filters |= {function.__name__: function for function in FILTERS}
    return found
