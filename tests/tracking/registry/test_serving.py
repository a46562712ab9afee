"""A registered model over HTTP, by the very command of docs/models.md; what requests may get wrong; files that were changed."""

import base64
import contextlib
import gzip
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace

import mlflow
import numpy as np
import psutil
import pytest
import uvicorn
from mlflow.pyfunc import scoring_server

from tests.conftest import StoredRun, lay_store, write_prepared_file
from tests.learning.test_fit import untrained
from tests.servers import end, free_port
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import keras_file
from xtcav_ml.learning.predictor import Predictor
from xtcav_ml.science.statements import Statements
from xtcav_ml.system.errors import UserError
from xtcav_ml.tracking.registry import versions
from xtcav_ml.tracking.registry.serving import ShotModel

SHOTS, SHAPE = 40, (8, 10)
OUTPUTS = ["probability of no", "probability of yes", "predicted", "set includes no", "set includes yes"]
FRAMES = np.random.default_rng(0).integers(90, 200, (SHOTS, *SHAPE)).astype(np.int16)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A project's folder with a store, which no variable names another one instead of."""
    folder = tmp_path_factory.mktemp("project")
    lay_store(folder)
    for name in ("dvc.yaml", "params.yaml"):  # they make a folder a project
        (folder / name).touch()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
            patch.delenv(name)
        yield folder


def registered(root, **columns):
    """Return the file of a model that was trained on FRAMES, and its address in the store."""
    folder = root / "-".join(["model", *columns])
    folder.mkdir()
    with PreparedFile(write_prepared_file(folder / "train.h5", FRAMES, np.arange(SHOTS) % 2, **columns)) as train:
        said = Statements(
            coverage=0.9, temperature=1.5, least=(0.2, 0.6), half_width=(2.5,) * len(train.spec.regression)
        )
        keras_file.save(untrained(train), replace(train.spec, statements=said), folder / "model.keras")
    run = StoredRun(root, stage="train")
    versions.log_version(run.run_id, folder / "model.keras", train.spec, [])
    return folder / "model.keras", versions.find(root, run.run_id).uri


@pytest.fixture(scope="module")
def plain(root, keras_ready):
    """A model without features, and its address."""
    return registered(root)


@pytest.fixture(scope="module")
def served(root, plain):
    """`xtcav serve` of it on a free port: the port, and the process."""
    port, log = free_port(), root / "log.txt"
    with log.open("w") as output:
        server = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from xtcav_ml.cli.main import main; main()",
                "serve",
                plain[1],
                "--port",
                str(port),
            ],
            cwd=root,
            env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{root}/mlruns/mlflow.db"},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and server.poll() is None and "invocations" not in log.read_text():
            time.sleep(0.2)
        assert f"http://127.0.0.1:{port}/invocations" in log.read_text(), log.read_text()
        yield port, psutil.Process(server.pid)
    finally:
        if server.poll() is None:
            end(server)


@pytest.fixture(scope="module")
def address(served):
    return f"http://127.0.0.1:{served[0]}/invocations"


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


def in_base64(frame):
    return base64.b64encode(frame.astype("<i2").tobytes()).decode()


@pytest.mark.parametrize("count", [1, 33])
def test_raw_frames_over_http_get_the_predictor_s_numbers(address, plain, count):
    status, text = post(address, json.dumps({"inputs": FRAMES[:count].tolist()}).encode())
    assert status == 200, text
    rows = strict(text)["predictions"]
    expected = Predictor(plain[0]).predict(FRAMES[:count])
    assert [list(row) for row in rows] == [OUTPUTS] * count
    sets = [[row["set includes no"], row["set includes yes"]] for row in rows]
    assert sets == (expected.probabilities >= np.float32([0.2, 0.6])).tolist()
    found = [[row["probability of no"], row["probability of yes"]] for row in rows]
    assert np.abs(np.array(found) - expected.probabilities).max() < 1e-6
    assert max(len(repr(value)) for value in np.ravel(found).tolist()) <= len("0.123456")
    status, text = post(address, json.dumps({"inputs": [in_base64(frame) for frame in FRAMES[:count]]}).encode())
    assert (status, strict(text)["predictions"]) == (200, rows)
    assert [row["predicted"] for row in rows] == [("no", "yes")[i] for i in expected.predicted]


def test_the_model_s_own_example_is_a_request(address, root, plain, tmp_path):
    body = versions.fetch(root, plain[1], tmp_path).parents[1] / "input_example.json"
    status, text = post(address, body.read_bytes())
    assert status == 200, text
    assert len(strict(text)["predictions"]) == 1


GOOD = FRAMES[:1].tolist()
JSON = {"Content-Type": "application/json"}


def changed(value):
    """Return a request whose frame has `value` as one of its pixels."""
    frame = FRAMES[:1].tolist()
    frame[0][3][4] = value
    return {"inputs": frame}


def deep(levels, inner="1"):
    return "[" * levels + inner + "]" * levels


SHAPES = {
    "rows": FRAMES[:2, 1:].tolist(),
    "columns": FRAMES[:2, :, 1:].tolist(),
    "axes": FRAMES[0].tolist(),
    "too many axes": [FRAMES[:1].tolist()],
    "one pixel": 5,
    "flat": FRAMES[0].ravel().tolist(),
    "ragged": [FRAMES[0].tolist(), FRAMES[0, 1:].tolist()],
    "ragged row": [[*FRAMES[0, 1:].tolist(), [1]]],
    "none": [],
    "none in one": [[]],
    "empty rows": [[[]] * 8],
    "by name": {"frame": GOOD},
    "feature": {"frame": GOOD, "gas": [1.0]},
    "text": "frames",
    "null": None,
    "true": True,
    "base64": base64.b64encode(FRAMES[:1].tobytes()).decode(),
    "base64 cut": base64.b64encode(FRAMES[:1].tobytes()[:-3]).decode(),
    "base64 object": {"b64": base64.b64encode(FRAMES[:1].tobytes()).decode()},
    "too many": FRAMES[:1].tolist() * 257,
    "objects": [[{"0": 1}] * 8],
}
PIXELS = {
    "fraction": 100.5,
    "whole fraction": 100.0,
    "scaled": 0.5,
    "true": True,
    "false": False,
    "text": "dark",
    "number in text": "100",
    "null": None,
    "list": [1],
    "object": {"value": 1},
    "above": 2**15,
    "below": -(2**15) - 1,
    "uint16": 65_535,
    "int64": 2**63,
    "uint64": 2**64 - 1,
    "huge": 10**400,
    "small": 1e-300,
    "exponent": 1e2,
}
KEYS = {
    "key": {"frames": GOOD},
    "instances": {"instances": GOOD},
    "records": {"dataframe_records": [{"frame": 1}]},
    "split": {"dataframe_split": {"columns": ["frame"], "data": [[1]]}},
    "split of another shape": {"dataframe_split": {"columns": 5}},
    "both": {"inputs": GOOD, "instances": GOOD},
    "parameters": {"inputs": GOOD, "params": {"a": 1}},
    "messages": {"messages": [{"role": "user", "content": "x"}]},
    "prompt": {"prompt": "x"},
    "empty": {},
    "list": GOOD,
    "number": 5,
    "null": None,
    "text": "inputs",
}
BODIES = {
    "cut": b'{"inputs": ',
    "empty": b"",
    "space": b"  ",
    "NaN": b'{"inputs": [[[NaN]]]}',
    "Infinity": b'{"inputs": [[[-Infinity]]]}',
    "comment": b'{"inputs": [[[1]]]} // x',
    "comma": b'{"inputs": [[[1,]]]}',
    "quotes": b"{'inputs': [[[1]]]}",
    "two": b'{"inputs": 1}{"inputs": 1}',
    "NUL": b'{"inputs": "\\u0000"}',
    "raw NUL": b"\0" * 1000,
    "binary": FRAMES.tobytes(),
    "no UTF-8": b'{"inputs": "\xff\xfe"}',
    "UTF-16": json.dumps({"inputs": GOOD}).encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + json.dumps({"inputs": GOOD}).encode(),
    "surrogate": b'{"inputs": "\\ud800"}',
    "leading zero": b'{"inputs": [[[01]]]}',
    "hexadecimal": b'{"inputs": [[[0x10]]]}',
    "many digits": b'{"inputs": [[[' + b"9" * 5000 + b"]]]}",
    "CSV": b"frame\n1\n",
    "XML": b"<inputs/>",
    "form": b"inputs=1",
    "twice": b'{"inputs": [[[1]]], "inputs": [[[2]]]}',
    "deep": b'{"inputs": ' + deep(100).encode() + b"}",
    "very deep": deep(100_000).encode(),
    "deep objects": b'{"inputs":' * 50_000 + b"1" + b"}" * 50_000,
    "open": b"[" * 1_000_000,
    "long text": b'{"inputs": "' + b"x" * 10_000_000 + b'"}',
    "long key": b'{"' + b"x" * 1_000_000 + b'": 1}',
    "long list": b'{"inputs": [' + b"1," * 5_000_000 + b"1]}",
    "many frames": b'{"inputs": [' + b"[]," * 1_000_000 + b"[]]}",
    "many keys": json.dumps({f"k{i}": i for i in range(200_000)}).encode(),
}
HEADERS = {
    "no type": {},
    "empty type": {"Content-Type": ""},
    "text": {"Content-Type": "text/plain"},
    "CSV": {"Content-Type": "text/csv"},
    "parquet": {"Content-Type": "application/x-parquet"},
    "form": {"Content-Type": "application/x-www-form-urlencoded"},
    "multipart": {"Content-Type": "multipart/form-data; boundary=x"},
    "charset": {"Content-Type": "application/json; charset=utf-16"},
    "format": {"Content-Type": "application/json; format=pandas-split"},
    "old": {"Content-Type": "application/json-numpy-split"},
    "odd": {"Content-Type": "\xff\xfe"},
    "long": {"Content-Type": "application/json" * 500},
    "gzip": {**JSON, "Content-Encoding": "gzip"},
    "deflate": {**JSON, "Content-Encoding": "deflate, br"},
    "length": {**JSON, "Content-Length": "x"},
    "negative": {**JSON, "Content-Length": "-5"},
    "long length": {**JSON, "Content-Length": "9" * 30},
    "coding": {**JSON, "Transfer-Encoding": "gzip"},
    "long header": {**JSON, "X-Odd": "x" * 100_000},
}
METHODS = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"]
PATHS = [
    "/",
    "/invocations/",
    "/Invocations",
    "/../invocations",
    "/%2e%2e/x",
    "/version",
    "/docs",
    "/openapi.json",
    "/metrics",
    "//",
]


def ask(served, method="POST", path="/invocations", body=None, headers=JSON):
    """Return status and text of the answer to a request that is sent as it is. Raises TimeoutError where none comes."""
    connection = http.client.HTTPConnection("127.0.0.1", served[0], timeout=20)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value.encode("latin-1"))
        if body is not None and not {"Content-Length", "Transfer-Encoding"} & set(headers):
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def table():
    """Yield all bad requests: a name, and the arguments of `ask`."""
    for kind, entries in (("inputs", {name: {"inputs": value} for name, value in SHAPES.items()}), ("keys", KEYS)):
        yield from ((f"{kind}: {name}", {"body": json.dumps(value).encode()}) for name, value in entries.items())
    yield from ((f"pixel: {name}", {"body": json.dumps(changed(value)).encode()}) for name, value in PIXELS.items())
    yield from ((f"body: {name}", {"body": body}) for name, body in BODIES.items())
    good = json.dumps({"inputs": GOOD}).encode()
    yield from ((f"headers: {name}", {"body": good, "headers": headers}) for name, headers in HEADERS.items())
    yield "gzip", {"body": gzip.compress(good), "headers": {**JSON, "Content-Encoding": "gzip"}}
    yield "gzip without saying so", {"body": gzip.compress(good)}
    yield from ((f"method: {method}", {"method": method, "headers": {}}) for method in METHODS)
    yield from ((f"path: {path}", {"path": path, "body": good}) for path in PATHS)
    yield "chunked", {"body": b"5\r\n[1,2]\r\n0\r\n\r\n", "headers": {**JSON, "Transfer-Encoding": "chunked"}}
    chunks = b"100000\r\n" + b" " * 2**20 + b"\r\n"
    yield "chunked without end", {"body": chunks * 40, "headers": {**JSON, "Transfer-Encoding": "chunked"}}
    yield "60 MB", {"body": b'{"inputs": [' + b"1," * 30_000_000}
    yield "60 MB of nothing", {"body": b" " * 60_000_000}
    yield "ping with a body", {"path": "/ping", "method": "POST", "body": good}


def test_every_bad_request_is_refused_in_a_few_words_and_memory_stays(served):
    _, process = served
    assert ask(served, body=json.dumps({"inputs": GOOD}).encode())[0] == 200
    wrong = []
    for name, request in table():
        status, text = ask(served, **request)
        if not (400 <= status < 500 and len(text) <= 300 and "Traceback" not in text):
            wrong.append((name, status, text[:100]))
    assert not wrong
    assert len(list(table())) > 108
    before = process.memory_info().rss
    large = [request for name, request in table() if "60 MB" in name or "long" in name] * 3
    assert all(400 <= ask(served, **request)[0] < 500 for request in large)
    assert process.memory_info().rss < before + 100e6
    assert ask(served, body=json.dumps({"inputs": GOOD}).encode())[0] == 200


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
    for row in whole:
        ends = (row["lowest energy"], row["highest energy"])
        assert ends == pytest.approx((row["energy"] - 2.5, row["energy"] + 2.5), abs=1e-5)
    for missing in (None, float("nan"), float("inf"), 3e38):
        first, second, third = ask([0.5, missing, 0.5])
        assert (first, third) == (whole[0], whole[2])
        assert list(second) == [*OUTPUTS[:3], "energy", *OUTPUTS[3:], "lowest energy", "highest energy"]
        assert missing == 3e38 or set(second.values()) == {None}
    with pytest.raises(mlflow.MlflowException):
        ask([[0.5, 0.5]])


@contextlib.contextmanager
def served_by_mlflow(uri):
    """Serve a model as `mlflow models serve` does it, and give what sends its inputs and returns status and text."""
    port = free_port()
    app = scoring_server.init(mlflow.pyfunc.load_model(uri))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield lambda inputs, key="inputs": post(
            f"http://127.0.0.1:{port}/invocations", json.dumps({key: inputs}).encode()
        )
    finally:
        server.should_exit = True
        thread.join()


def test_mlflow_s_own_server_bends_nothing_to_fit(plain):
    """It casts to the types of a signature."""
    with served_by_mlflow(plain[1]) as ask:
        expected = strict(ask(FRAMES[:3].tolist())[1])["predictions"]
        assert [row["predicted"] for row in expected] == list(ShotModel(plain[0]).predict(FRAMES[:3])["predicted"])
        for key in ("inputs", "instances"):
            assert strict(ask(FRAMES[:3].tolist(), key)[1])["predictions"] == expected
            assert strict(ask([in_base64(frame) for frame in FRAMES[:3]], key)[1])["predictions"] == expected
            for name, pixel in PIXELS.items():
                assert ask(changed(pixel)["inputs"], key)[0] == 400, name
        assert {name: ask(value)[0] for name, value in SHAPES.items()} == dict.fromkeys(SHAPES, 400)
        for frames in (FRAMES[:1] / 200, FRAMES[:1] > 100):
            assert ask(frames.tolist())[0] == 400


def test_mlflow_s_own_server_takes_no_features_that_are_no_numbers(root, keras_ready):
    _, uri = registered(root, features={"ebeam": np.arange(SHOTS) / 10})
    with served_by_mlflow(uri) as ask:
        assert ask({"frame": GOOD, "ebeam": [None]})[0] == 200
        for value in ("0.5", "text", True, [0.5], {}):
            assert ask({"frame": GOOD, "ebeam": [value]})[0] == 400
        assert ask({"frame": GOOD, "ebeam": [0.5, 0.5]})[0] == 400


def test_the_function_takes_no_frames_of_another_type(plain):
    for model in (ShotModel(plain[0]), mlflow.pyfunc.load_model(plain[1])):
        assert model.predict(FRAMES[:2]).shape == (2, len(OUTPUTS))
        for frames in (FRAMES / 200, FRAMES > 100, FRAMES.astype(np.uint16), FRAMES.astype(str)):
            with pytest.raises(mlflow.MlflowException) as error:
                model.predict(frames[:2])
            assert error.value.get_http_status_code() == 400


def test_changed_files_are_refused_before_any_is_read(root, plain, tmp_path):
    folder = tmp_path / "copy"
    file = versions.fetch(root, plain[1], folder)
    assert mlflow.pyfunc.load_model(str(folder)).predict(FRAMES[:2]).shape == (2, len(OUTPUTS))
    (folder / "added.py").touch()
    with pytest.raises(UserError, match=r"added\.py is not as it was logged"):
        mlflow.pyfunc.load_model(str(folder))
    (folder / "added.py").unlink()
    file.chmod(0o644)
    file.write_bytes(b"not even a zip")
    with pytest.raises(UserError, match=r"data/model\.keras is not as it was logged"):
        mlflow.pyfunc.load_model(str(folder))


def test_a_stop_is_one_line(served, root):
    """The last test of the file: it ends the server."""
    _, process = served
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert (root / "log.txt").read_text().splitlines()[-1].startswith("xtcav: serve: stopped: ")
