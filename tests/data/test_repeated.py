"""A shot that is in two files with other content is a conflict, whatever differs; what nobody asked for may differ."""

import shutil

import h5py
import numpy as np
import pytest

from tests.data.test_layouts import outcome, parameters, plain_folder
from xtcav_ml.config.schema import IMAGE, PEAKS_LABEL
from xtcav_ml.pipeline import check
from xtcav_ml.system.errors import UserError

ENERGY = "bld.L3energy"


@pytest.fixture
def folder(tmp_path):
    folder = plain_folder(tmp_path / "raw")
    shutil.copy(folder / "amo86815-r0070.h5", folder / "copy.h5")
    return folder


def change(folder, name):
    with h5py.File(folder / "copy.h5", "r+") as file:
        value = file[name][5]
        file[name][5] = (value + 1) % 4 if name == PEAKS_LABEL else 1 - value if name == "lasing" else value + 1


@pytest.mark.parametrize(
    ("name", "prepare"),
    [
        (PEAKS_LABEL, {}),
        ("lasing", {}),
        ("run.index", {}),
        (IMAGE, {}),
        (ENERGY, {"features": (ENERGY,)}),
        (ENERGY, {"regression": (ENERGY,)}),
        (ENERGY, {"exclude": {ENERGY: 1}}),
    ],
)
def test_a_shot_with_other_content_in_another_file_is_a_conflict(name, prepare, folder, params, tmp_path):
    if "exclude" in prepare:
        for path in folder.iterdir():
            with h5py.File(path, "r+") as file:
                file[ENERGY][...] = np.rint(file[ENERGY][:])
    change(folder, name)
    given = parameters(params, folder)
    given = given.model_copy(update={"prepare": given.prepare.model_copy(update=prepare)})
    with pytest.raises(
        UserError, match=rf"amo86815-r0070\.h5 and .*copy\.h5: {name}: shot .* differs between the files"
    ):
        check.check_raw_files(given, tmp_path / "data.json")


def test_what_nobody_asked_for_may_differ_and_copies_are_counted(folder, params, tmp_path, capsys):
    change(folder, ENERGY)
    outcome(parameters(params, folder), tmp_path)
    assert capsys.readouterr().out.count("120 duplicates") == 2  # check and prepare
