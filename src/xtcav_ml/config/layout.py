"""Section `data.layout`: where raw files keep what a shot has, if not under the names of the experiment's schema."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from xtcav_ml.config.base import Section, parameter
from xtcav_ml.config.schema import EVENT_KEY, IMAGE

Number = Annotated[int, Field(ge=-(2**63), lt=2**63)] | Annotated[float, Field(ge=-1e308, le=1e308)]

DERIVED = (*EVENT_KEY, "run.index")
"""Keys that files may lack: they then follow from the others, or from file and row."""


def _require_group(pattern: str) -> None:
    """Raise ValueError unless a regular expression has a group."""
    try:
        groups = re.compile(pattern).groups
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(
            f"file_name: no regular expression (found {str(error)!r}, expected one). Fix: correct it"
        ) from None
    if not groups:
        raise ValueError(
            f"file_name: no group (found {pattern!r}, expected parentheses around the number). Fix: add them"
        )


class Source(Section):
    """Where a file keeps one value of each shot: one of `path`, `value` and `file_name`, or none if files lack it."""

    path: str | None = parameter("dataset, or attribute as object@name", default=None, min_length=1)
    value: Number | None = parameter("value of all shots", "of the dataset", default=None)
    file_name: str | None = parameter("regular expression; its group is a number in the name", default=None)
    half: Literal["high", "low"] | None = parameter(
        "`high` or `low` 32 bits of 64-bit integers; whole seconds or nanoseconds of a time in seconds", default=None
    )
    missing: tuple[Number, ...] = parameter("numbers that mean no value", "of the dataset", default=())

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        places = [name for name in ("path", "value", "file_name") if getattr(self, name) is not None]
        if len(places) > 1:
            raise ValueError(f"places exclude one another (found {', '.join(places)}, expected one). Fix: remove one")
        if self.file_name is not None:
            _require_group(self.file_name)
        if self.half is not None and self.path is None:
            raise ValueError(f"half: no dataset (found path null and half {self.half}, expected a path). Fix: name it")
        return self

    @property
    def absent(self) -> bool:
        """Return whether files have no such value."""
        return self.path is None and self.value is None and self.file_name is None

    @property
    def is_dataset(self) -> bool:
        """Return whether files have a dataset of it, not an attribute or another single value."""
        return self.path is not None and "@" not in self.path


ABSENT = Source()
RUN_IN_NAME = Source(file_name=r"(?i)(?:^|[^a-z])r(?:un)?[-_]?(\d+)")
NO_COUNTERS = {"run": RUN_IN_NAME, "run.index": ABSENT}


def _packed(path: str) -> dict[str, Source]:
    """Return the sources of a time that is written as seconds << 32 | nanoseconds."""
    return {"evt.seconds": Source(path=path, half="high"), "evt.nanoseconds": Source(path=path, half="low")}


PRESETS: dict[str, dict[str, Source]] = {
    "notes": {},
    "smalldata": NO_COUNTERS
    | _packed("event_time")
    | {"evt.fiducials": Source(path="fiducials"), "bld.L3energy": Source(path="ebeam/L3_energy")},
    "psana2": NO_COUNTERS
    | _packed("timestamp")
    | {"evt.fiducials": ABSENT, "bld.L3energy": Source(path="ebeam/ebeamL3Energy")},
    # European XFEL: a train is a shot of the camera
    "extra-data": NO_COUNTERS
    | {"evt.seconds": ABSENT, "evt.nanoseconds": ABSENT, "evt.fiducials": Source(path="INDEX/trainId")},
    "cxi": NO_COUNTERS
    | {IMAGE: Source(path="entry_1/data_1/data"), "evt.seconds": Source(path="LCLS/machineTime")}
    | {"evt.nanoseconds": Source(path="LCLS/machineTimeNanoSeconds"), "evt.fiducials": Source(path="LCLS/fiducial")},
    "nexus": NO_COUNTERS | {IMAGE: Source(path="entry/data/data")} | dict.fromkeys(EVENT_KEY, ABSENT),
}
"""Sources by name for the files of common programs; the path of what a preset does not name is its name."""


class Layout(Section):
    """Places of the datasets in raw files."""

    preset: Literal["notes", "smalldata", "psana2", "extra-data", "cxi", "nexus"] = parameter(
        "program whose names the files have", default="notes"
    )
    datasets: dict[str, str | Number | Source | None] = parameter(
        "path, value, or null for what files lack, by the name in params.yaml", "of the dataset", default={}
    )
    references: Literal["refuse", "follow"] = parameter(
        "`follow` reads datasets whose data lie in other files below data.raw", default="refuse"
    )

    @model_validator(mode="after")
    def _required(self) -> Self:
        image = self.source(IMAGE)
        if not image.is_dataset or image.half is not None or image.missing:
            raise ValueError(f"datasets.{IMAGE}: not frames (found {image!r}, expected a path). Fix: name it")
        for name in self.datasets:
            if self.source(name).absent and name not in DERIVED:
                raise ValueError(
                    f"datasets.{name}: cannot be absent (found null, expected a place). Fix: name it, or remove the key"
                )
        return self

    def source(self, name: str) -> Source:
        """Return where files keep `name`, a dataset of the schema or one that section `prepare` names."""
        if name not in self.datasets:
            return PRESETS[self.preset].get(name, Source(path=name))
        entry = self.datasets[name]
        if isinstance(entry, Source):
            return entry
        return Source(path=entry) if isinstance(entry, str) else Source(value=entry)

    @property
    def identifies(self) -> bool:
        """Return whether files have a key of each shot."""
        return not all(self.source(name).absent for name in EVENT_KEY)


NOTES = Layout()
