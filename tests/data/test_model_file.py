import json
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from xtcav_ml.config.prepare import Log, Pixels
from xtcav_ml.data import model_file
from xtcav_ml.science.images import Dark, Preprocessing
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.science.statements import Statements
from xtcav_ml.system.errors import UserError

DARK = Dark(np.full((4, 5), 100, np.float32), np.full((4, 5), 3, np.float32))
MEANING = LearningSpec(
    "side", ("no", "yes"), (), (), Preprocessing((Log(step="log"),), Pixels(dtype="int16", quantum=0.1), (4, 5), DARK)
)


def write(path, date):
    metadata = json.dumps({"keras_version": "3.0", "date_saved": date}).encode()
    model_file.write_model_file({"model.weights.h5": b"weights", "metadata.json": metadata}, MEANING, path)
    return path


def test_what_was_written_is_read_and_no_date_is_in_it(tmp_path):
    path = write(tmp_path / "a.keras", "monday")
    found = model_file.read_spec(path)
    assert found.to_json() == MEANING.to_json()
    np.testing.assert_array_equal(found.preprocessing.dark.mean, DARK.mean)
    assert write(tmp_path / "b.keras", "tuesday").read_bytes() == path.read_bytes()


def test_what_a_model_states_is_read_and_does_not_make_it_one_of_other_data(tmp_path):
    said = Statements(coverage=0.9, temperature=1.5, least=(0.2, 0.6), half_width=())
    spec = replace(MEANING, statements=said)
    metadata = json.dumps({"keras_version": "3.0"}).encode()
    model_file.write_model_file({"model.weights.h5": b"weights", "metadata.json": metadata}, spec, tmp_path / "a.keras")
    found = model_file.read_spec(tmp_path / "a.keras")
    assert found.statements == said
    assert found.same_as(MEANING)
    assert model_file.read_spec(write(tmp_path / "b.keras", "monday")).statements is None  # of before there were any


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "other.keras"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("metadata.json", "{}")
    with pytest.raises(UserError, match=r"other\.keras: .*xtcav\.json.*Fix: "):
        model_file.read_spec(path)


def test_who_needs_the_spec_alone_imports_no_keras():
    code = "import sys, xtcav_ml.data.model_file, xtcav_ml.tracking.mlflow_writer; sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
