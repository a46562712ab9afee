"""Columns in the fields of compound datasets, read by data.layout as datasets of their own."""

import h5py
import numpy as np
import pytest

from tests.data.test_layouts import at, everywhere, outcome, parameters, plain_folder, same, without
from xtcav_ml.config.schema import EVENT_KEY, IMAGE, PEAKS_LABEL
from xtcav_ml.pipeline import check
from xtcav_ml.system.errors import UserError

FIELDS = {"label": PEAKS_LABEL, "lasing": "lasing", "seconds": EVENT_KEY[0], "nanoseconds": EVENT_KEY[1], "run": "run"}
LAYOUT = at(acq_peaksLabel="shots/events/label", lasing="shots/events/lasing", run="shots/events/run") | {}
LAYOUT["datasets"] |= {name: f"shots/events/{field}" for field, name in FIELDS.items() if name in EVENT_KEY}


def in_fields(file: h5py.File) -> None:
    rows = np.zeros(len(file["run"]), [*((field, file[name].dtype) for field, name in FIELDS.items()), ("text", "S4")])
    for field, name in FIELDS.items():
        rows[field] = file[name][:]
    without(*FIELDS.values())(file)
    file["shots/events"] = rows


@pytest.fixture
def folder(tmp_path):
    return plain_folder(tmp_path / "raw")


def test_fields_of_a_compound_dataset_are_columns(folder, params, tmp_path):
    expected = outcome(parameters(params, folder), tmp_path / "plain")
    everywhere(in_fields, folder)
    same(outcome(parameters(params, folder, LAYOUT), tmp_path), expected)


@pytest.mark.parametrize(
    ("name", "field", "said"),
    [
        (PEAKS_LABEL, "text", "acq.peaksLabel (shots/events/text): wrong type (found |S4"),
        (PEAKS_LABEL, "nothing", "acq.peaksLabel (shots/events/nothing): missing "),
        (IMAGE, "label", "xtcavimg (shots/events/label): a field of a compound dataset (found label, "),
    ],
)
def test_a_field_that_is_none_or_no_number_is_one_line(folder, params, tmp_path, name, field, said):
    everywhere(in_fields, folder)
    layout = {"datasets": LAYOUT["datasets"] | {name: f"shots/events/{field}"}}
    with pytest.raises(UserError) as error:
        check.check_raw_files(parameters(params, folder, layout), tmp_path / "data.json")
    assert said in str(error.value)
    assert "; " not in str(error.value)
