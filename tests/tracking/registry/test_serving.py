"""A registered model over HTTP, by the very command of the README; what a request may get wrong; files that were changed."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.pyfunc import scoring_server

from tests.conftest import StoredRun, lay_store, write_prepared_file
from tests.learning.test_fit import untrained
from tests.servers import end
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import keras_file
from xtcav_ml.learning.predictor import Predictor
from xtcav_ml.system.errors import UserError
from xtcav_ml.tracking.registry import versions

SHOTS, SHAPE = 40, (8, 10)
FRAMES = np.random.default_rng(0).integers(90, 200, (SHOTS, *SHAPE)).astype(np.int16)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A project's folder with a store, which no variable names another one instead of."""
    folder = tmp_path_factory.mktemp("project")
    lay_store(folder)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
            patch.delenv(name)
        yield folder


def registered(root, **columns):
    """Return the file of a model that was trained on FRAMES, and its address in the store."""
    folder = root / "-".join(["model", *columns])
    folder.mkdir()
    with PreparedFile(write_prepared_file(folder / "train.h5", FRAMES, np.arange(SHOTS) % 2, **columns)) as train:
        keras_file.save(untrained(train), train.spec, folder / "model.keras")
    run = StoredRun(root, stage="train")
    versions.log_version(run.run_id, folder / "model.keras", train.spec, [])
    return folder / "model.keras", versions.find(root, run.run_id).uri


@pytest.fixture(scope="module")
def plain(root, keras_ready):
    """A model without features, and its address."""
    return registered(root)


@pytest.fixture(scope="module")
def address(root, plain):
    """`mlflow models serve` of it on a free port, ended with all its workers afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = root / "log.txt"
    arguments = ("-m", plain[1], "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port))
    with log.open("w") as output:
        server = subprocess.Popen(
            [Path(sys.executable).parent / "mlflow", "models", "serve", *arguments],
            cwd=root,
            env={
                **os.environ,
                "MLFLOW_TRACKING_URI": f"sqlite:///{root}/mlruns/mlflow.db",
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and server.poll() is None and not _answers(f"http://127.0.0.1:{port}/ping"):
            time.sleep(0.2)
        assert _answers(f"http://127.0.0.1:{port}/ping"), log.read_text()
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        end(server)


def _answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def post(url, body):
    """Return status and text of the answer to a request."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def strict(text):
    """Return JSON's value; NaN and Infinity, which Python's reader lets pass, are refused."""

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("count", [1, 33])
def test_raw_frames_over_http_get_the_predictor_s_numbers(address, plain, count):
    status, text = post(address, json.dumps({"inputs": FRAMES[:count].tolist()}).encode())
    assert status == 200, text
    rows = strict(text)["predictions"]
    expected = Predictor(plain[0]).predict(FRAMES[:count])
    assert [list(row) for row in rows] == [["probability of no", "probability of yes", "predicted"]] * count
    found = [[row["probability of no"], row["probability of yes"]] for row in rows]
    assert np.abs(np.array(found) - expected.probabilities).max() < 1e-6
    assert [row["predicted"] for row in rows] == [("no", "yes")[i] for i in expected.predicted]


def test_the_model_s_own_example_is_a_request(address, root, plain, tmp_path):
    body = versions.fetch(root, plain[1], tmp_path).parents[1] / "input_example.json"
    status, text = post(address, body.read_bytes())
    assert status == 200, text
    assert len(strict(text)["predictions"]) == 1


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"inputs": FRAMES[:2, 1:].tolist()}),
        json.dumps({"inputs": FRAMES[0].tolist()}),
        json.dumps({"inputs": [FRAMES[0].tolist(), FRAMES[0, 1:].tolist()]}),  # ragged
        json.dumps({"inputs": np.full((1, *SHAPE), 70_000).tolist()}),  # no int16
        json.dumps({"inputs": [[["dark"] * 10] * 8]}),
        json.dumps({"inputs": [[[None] * 10] * 8]}),
        json.dumps({"inputs": {"frame": FRAMES[:1].tolist(), "gas": [1.0]}}),
        json.dumps({"frames": FRAMES[:1].tolist()}),
        '{"inputs": [[[NaN]]]}',
        '{"inputs": ',
        "",
    ],
    ids=["rows", "axes", "ragged", "range", "text", "null", "feature", "key", "NaN", "cut", "empty"],
)
def test_a_wrong_request_is_refused_and_the_server_goes_on(address, body):
    status, text = post(address, body.encode())
    assert 400 <= status < 500, text
    assert strict(text)["error_code"]
    assert post(address, json.dumps({"inputs": FRAMES[:1].tolist()}).encode())[0] == 200


def test_a_feature_that_is_missing_is_null_in_the_answer_and_changes_no_other(root, keras_ready):
    gas, energy = np.random.default_rng(1).normal(size=(2, SHOTS))
    path, uri = registered(root, features={"gas": gas}, regression={"energy": energy})
    model = mlflow.pyfunc.load_model(uri)

    def ask(values):
        body = json.dumps({"inputs": {"frame": FRAMES[: len(values)].tolist(), "gas": values}})
        answer = scoring_server.invocations(body, "application/json", model, model.metadata.get_input_schema())
        return strict(answer.response)["predictions"]

    whole = ask([0.5, 0.5, 0.5])
    expected = Predictor(path).predict(FRAMES[:3], np.full((3, 1), 0.5))
    assert [row["energy"] for row in whole] == pytest.approx(expected.numbers[:, 0].tolist(), abs=1e-6)
    for missing in (None, float("nan"), float("inf"), 3e38):
        first, second, third = ask([0.5, missing, 0.5])
        assert (first, third) == (whole[0], whole[2])
        assert list(second) == ["probability of no", "probability of yes", "predicted", "energy"]
        assert missing == 3e38 or set(second.values()) == {None}
    with pytest.raises(mlflow.MlflowException):
        ask([[0.5, 0.5]])


def test_changed_files_are_refused_before_any_is_read(root, plain, tmp_path):
    folder = tmp_path / "copy"
    file = versions.fetch(root, plain[1], folder)
    assert mlflow.pyfunc.load_model(str(folder)).predict(FRAMES[:2]).shape == (2, 3)
    (folder / "added.py").touch()
    with pytest.raises(UserError, match=r"added\.py is not as it was logged"):
        mlflow.pyfunc.load_model(str(folder))
    (folder / "added.py").unlink()
    file.chmod(0o644)
    file.write_bytes(b"not even a zip")
    with pytest.raises(UserError, match=r"data/model\.keras is not as it was logged"):
        mlflow.pyfunc.load_model(str(folder))
