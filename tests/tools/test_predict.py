import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.conftest import ROOT, SHAPE, StoredRun, lay_store, write_shots
from tests.learning.test_fit import untrained
from xtcav_ml.cli import main
from xtcav_ml.config.data import DataParams
from xtcav_ml.config.schema import SCHEMA
from xtcav_ml.data import model_file
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.data.raw_file import read_columns
from xtcav_ml.data.raw_frames import read_frames
from xtcav_ml.learning import keras_file
from xtcav_ml.learning.predictor import NO_CLASS, Predictor
from xtcav_ml.pipeline import prepare
from xtcav_ml.science.statements import Statements
from xtcav_ml.system import interrupts
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools import predict
from xtcav_ml.tracking.registry import versions


@pytest.fixture(scope="module")
def model(tmp_path_factory, params, keras_ready):
    """A model with one feature that learns classes and a number."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "raw").mkdir()
    write_shots(folder / "raw/dark.h5", run=68, count=8, lasing=0)
    write_shots(folder / "raw/a.h5", run=70, count=300)
    data = DataParams(raw=str(folder / "raw"), frame_shape=SHAPE, bad_files="fail")
    rules = params.prepare.model_copy(update={"features": ("bld.L3energy",), "regression": ("run.index",)})
    prepare.prepare_files(data, rules, folder / "prepared")
    with PreparedFile(folder / "prepared/train.h5") as train:
        said = Statements(coverage=0.9, temperature=1.5, least=(0.2, 0.3, 0.0, 0.9), half_width=(2.5,))
        keras_file.save(untrained(train), replace(train.spec, statements=said), folder / "model.keras")
    return folder / "model.keras"


@pytest.fixture
def files(tmp_path):
    """Two files to predict on; the second has neither labels nor waveforms."""
    found = [write_shots(tmp_path / f"r{run}.h5", run=run, count=count) for run, count in ((72, 75), (73, 40))]
    with h5py.File(found[1], "r+") as file:
        for name in ("acq.peaksLabel", "acq.waveforms", "acq.t0.pos", "lasing"):
            del file[name]
    return found


def run(model, files, out):
    return predict.predict_files(model, files, out, threads=2)


def test_rows_are_those_of_the_raw_file_with_their_keys(model, files, tmp_path):
    written = run(model, files, tmp_path / "out")
    assert [path.name for path in written] == ["r72.predictions.h5", "r73.predictions.h5"]
    predictor = Predictor(model)
    for raw, path in zip(files, written, strict=True):
        columns = read_columns(raw, predict.KEYS)
        energy = read_columns(raw, {"bld.L3energy": SCHEMA["bld.L3energy"]})["bld.L3energy"][:, np.newaxis]
        shots = len(columns["run"])
        expected = predictor.predict(read_frames(raw, np.arange(shots)), energy)
        with h5py.File(path) as file:
            for name, values in columns.items():
                assert file[name][:].tolist() == values.tolist()
            assert file["probability"][:].tobytes() == expected.probabilities.tobytes()
            assert file["predicted.run.index"][:].tobytes() == expected.numbers[:, 0].tobytes()
            assert file["predicted"][:].tolist() == expected.probabilities.argmax(axis=1).tolist()
            assert file.attrs["source"] == f"../{raw.name}"
            assert file["set"][:].tolist() == (expected.probabilities >= np.float32([0.2, 0.3, 0, 0.9])).tolist()
            assert file["predicted.run.index.low"][:].tolist() == (expected.numbers[:, 0] - 2.5).tolist()
            assert file["predicted.run.index.high"][:].tolist() == (expected.numbers[:, 0] + 2.5).tolist()
            assert file.attrs["coverage"] == "0.9"


def test_a_stopped_prediction_goes_on_where_it_was(model, files, tmp_path, monkeypatch, capsys):
    asked = []
    real = predict._predict

    def fail_at_second(predictor, frames, *rest):
        asked.append(frames.path.name)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return real(predictor, frames, *rest)

    monkeypatch.setattr(predict, "_predict", fail_at_second)
    with pytest.raises(KeyboardInterrupt):
        run(model, files, tmp_path / "out")
    kept = (tmp_path / "out/r72.predictions.h5").stat().st_mtime_ns
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["r72.predictions.h5"]
    run(model, files, tmp_path / "out")
    assert asked == ["r72.h5", "r73.h5", "r73.h5"]
    assert (tmp_path / "out/r72.predictions.h5").stat().st_mtime_ns == kept
    assert "2 files" in capsys.readouterr().out


def test_a_request_to_stop_that_keras_swallows_is_heard(model, files, tmp_path, monkeypatch):
    def asked_to_stop(*args):
        monkeypatch.setattr(interrupts, "_first", 0.0)
        return real(*args)

    real = Predictor.predict
    monkeypatch.setattr(Predictor, "predict", asked_to_stop)
    with pytest.raises(KeyboardInterrupt):
        run(model, files, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_changed_file_or_model_is_predicted_on_again(model, files, tmp_path, monkeypatch):
    asked = []
    real = predict._predict
    monkeypatch.setattr(
        predict, "_predict", lambda p, frames, *rest: asked.append(frames.path.name) or real(p, frames, *rest)
    )
    run(model, files[:1], tmp_path / "out")
    run(model, files[:1], tmp_path / "out")
    assert len(asked) == 1
    write_shots(files[0], run=72, count=76)
    run(model, files[:1], tmp_path / "out")
    assert len(asked) == 2
    other = tmp_path / "other.keras"
    loaded, spec = keras_file.load_network(model)
    loaded.get_layer("output").bias.assign([1.0, 0, 0, 0])
    keras_file.save(loaded, spec, other)
    run(other, files[:1], tmp_path / "out")
    assert len(asked) == 3


@pytest.mark.parametrize("when", ["after the check", "after the columns", "between the frames", "gone"])
def test_a_file_that_is_replaced_meanwhile_is_refused_and_not_taken_for_done(model, files, tmp_path, monkeypatch, when):
    path = files[0]
    other = write_shots(tmp_path / "other.hdf5", run=99, count=90 if when == "between the frames" else 20)

    def then(function):
        def wrapper(*args, **kwargs):
            found = function(*args, **kwargs)
            if other.exists():
                other.rename(path)
            return found

        return wrapper

    if when == "after the check":
        monkeypatch.setattr(predict, "_require_own", then(predict._require_own))
    elif when == "after the columns":
        monkeypatch.setattr(predict, "read_columns", then(predict.read_columns))
    elif when == "between the frames":
        monkeypatch.setattr(Predictor, "predict", then(Predictor.predict))
    else:
        monkeypatch.setattr(predict, "_looked", lambda file, **rest: path.unlink() or predict.Looked([]))
    with pytest.raises(UserError, match=r"r72\.h5: changed while it was read"):
        run(model, [path], tmp_path / "out")
    assert not (tmp_path / "out/r72.predictions.h5").exists()


def test_a_shot_without_its_feature_gets_no_prediction_and_changes_no_other(model, files, tmp_path, capsys):
    (whole,) = run(model, files[:1], tmp_path / "whole")
    with h5py.File(files[0], "r+") as file:
        file["bld.L3energy"][3] = np.nan
    capsys.readouterr()
    (path,) = run(model, files[:1], tmp_path / "out")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  r72.h5: ")]
    counted = [int(part.rsplit(" ", 1)[1]) for part in line.split(", ") if part[-1].isdigit()]
    assert sum(counted[:4]) == 74
    assert "none for lack of a feature 1" in line
    with h5py.File(path) as file, h5py.File(whole) as before:
        assert file["predicted"][3] == NO_CLASS
        assert np.isnan(file["probability"][3]).all()
        others = np.delete(np.arange(75), 3)
        assert file["probability"][:][others].tobytes() == before["probability"][:][others].tobytes()


def test_a_shot_without_a_frame_gets_no_prediction_and_changes_no_other(model, files, tmp_path, capsys):
    (whole,) = run(model, files[:1], tmp_path / "whole")
    with h5py.File(files[0], "r+") as file:
        frames = file["xtcavimg"][:].astype(np.float32)
        frames[3, 1, 2], frames[4, 0, 0] = np.nan, np.inf
        energy = file["bld.L3energy"][:]
        del file["xtcavimg"], file["bld.L3energy"]
        file.create_dataset("xtcavimg", (77, *SHAPE), "f4", chunks=(1, *SHAPE))[:75] = frames
        file.create_dataset("bld.L3energy", (77,), "f8", chunks=(1,))[:75] = energy
        for name in ("run", "run.index", "evt.seconds", "evt.nanoseconds", "evt.fiducials"):
            values = file[name][:]
            del file[name]
            file[name] = np.append(values, [-1, -1])
    capsys.readouterr()
    (path,) = run(model, files[:1], tmp_path / "out")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  r72.h5: ")]
    assert line.endswith("none for lack of a feature 2, none for lack of a frame 4")
    lost = [3, 4, 75, 76]
    with h5py.File(path) as file, h5py.File(whole) as before:
        assert (file["predicted"][:][lost] == NO_CLASS).all()
        assert np.isnan(file["probability"][:][lost]).all()
        assert np.isnan(file["predicted.run.index"][:][lost]).all()
        assert file["run"][75:].tolist() == [-1, -1]
        others = np.delete(np.arange(75), lost[:2])
        for name in ("probability", "predicted", "predicted.run.index"):
            assert file[name][:][others].tobytes() == before[name][:][others].tobytes()


def test_keys_that_cannot_be_read_are_not_needed_and_named(model, files, tmp_path, capsys):
    (whole,) = run(model, files[:1], tmp_path / "whole")
    with h5py.File(files[0], "r+") as file:
        for name in ("run", "evt.seconds", "evt.fiducials", "run.index"):
            del file[name]
        file["run"], file["evt.seconds"], file["evt.fiducials"] = [b"run70"] * 75, np.linspace(0, 1, 75), [1, 2]
    (path,) = run(model, files[:1], tmp_path / "out")
    lines = [line for line in capsys.readouterr().out.splitlines() if "predictions lack a key: " in line]
    said = [line.partition("r72.h5: ")[2].partition(",")[0] for line in lines]
    assert sorted(said) == [
        "evt.fiducials: another number of rows than the frames (found 2",
        "evt.seconds: not a whole number (found 0.013513513513513514 in row 1",
        "run: wrong type (found object",
    ]
    with h5py.File(path) as file, h5py.File(whole) as before:
        assert set(before) - set(file) == {"run", "run.index", "evt.seconds", "evt.fiducials"}
        assert file["probability"][:].tobytes() == before["probability"][:].tobytes()


def test_bad_files_are_left_out_where_the_pipeline_leaves_them_out(model, files, tmp_path, capsys):
    (tmp_path / "x.h5").write_bytes(b"broken")
    written = predict.predict_files(model, [tmp_path], tmp_path / "out", 2, skip_bad=True)
    assert [path.name for path in written] == ["r72.predictions.h5", "r73.predictions.h5"]
    assert f"predict: skipped (data.bad_files: skip): {tmp_path}/x.h5: not a readable" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"x\.h5: not a readable"):
        predict.predict_files(model, [tmp_path / "x.h5"], tmp_path / "out", 2, skip_bad=True)


def test_the_layout_of_other_files_is_that_of_a_file_of_parameters(model, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (expected,) = run(model, files[:1], tmp_path / "expected")
    with h5py.File(files[0], "r+") as file:
        file.move("xtcavimg", "camera/frames")
    (tmp_path / "x.h5").write_bytes(b"broken")
    layout = "layout: {datasets: {xtcavimg: camera/frames}}"
    (tmp_path / "other.yaml").write_text(f"data: {{raw: x, bad_files: skip, frame_shape: [24, 20], {layout}}}\n")
    command = ["predict", str(model), "r72.h5", "x.h5", "--threads", "2"]
    application = main.application(["predict"])
    assert isinstance(CliRunner().invoke(application, command).exception, UserError)
    assert isinstance(CliRunner().invoke(application, [*command, "--params", "none.yaml"]).exception, UserError)
    done = CliRunner().invoke(application, [*command, "--params", "other.yaml"])
    assert done.exit_code == 0, done.output
    with h5py.File(tmp_path / "results/predictions" / expected.name) as file, h5py.File(expected) as before:
        assert file["probability"][:].tobytes() == before["probability"][:].tobytes()


def test_all_files_are_checked_before_one_is_read(model, files, tmp_path):
    (tmp_path / "x.h5").write_bytes(b"broken")
    with h5py.File(files[1], "r+") as file:
        del file["bld.L3energy"]
    with pytest.raises(UserError) as error:
        run(model, [*files, tmp_path / "x.h5"], tmp_path / "out")
    assert "x.h5" in str(error.value)
    assert "bld.L3energy: missing (found no such path" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_folders_missing_models_and_equal_names(model, files, tmp_path):
    assert len(run(model, [tmp_path], tmp_path / "out")) == 2
    with pytest.raises(UserError, match=r"none\.keras: .*expected a model"):
        run(tmp_path / "none.keras", files, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no raw files "):
        run(model, [tmp_path / "empty"], tmp_path / "out")
    (tmp_path / "twin").mkdir()
    twin = write_shots(tmp_path / "twin/r72.h5", run=74, count=3)
    with pytest.raises(UserError, match=r"found 2 .*Fix: .*--out"):
        run(model, [*files, twin], tmp_path / "out")


def test_predictions_of_another_file_are_not_overwritten(model, files, tmp_path, monkeypatch):
    (written,) = run(model, files[:1], tmp_path / "out")
    before = written.read_bytes()
    (tmp_path / "twin").mkdir()
    for twin in (write_shots(tmp_path / "twin/r72.h5", run=74, count=3), tmp_path / "r72.hdf5"):
        write_shots(twin, run=74, count=3)
        with pytest.raises(UserError, match=r"found those of \.\./r72\.h5.*Fix: .*--out"):
            run(model, [twin], tmp_path / "out")
        assert written.read_bytes() == before
        run(model, [twin], tmp_path / f"out of {twin.suffix} in {twin.parent.name}")
    monkeypatch.chdir(tmp_path)  # by another name it is still the same file
    run(model, [files[0].relative_to(tmp_path)], tmp_path / "out")
    assert written.read_bytes() == before


def test_a_registered_model_predicts_as_its_file_does(model, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "dvc.yaml").touch()
    shutil.copy(ROOT / "params.yaml", tmp_path)
    lay_store(tmp_path)
    train = StoredRun(tmp_path, stage="train")
    versions.log_version(train.run_id, model, model_file.read_spec(model), [])
    (expected,) = run(model, files[:1], tmp_path / "expected")
    command = ["predict", "models:/xtcav@candidate", str(files[0]), "--out", "out", "--threads", "2"]
    done = CliRunner().invoke(main.application(["predict"]), command)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / expected.name).read_bytes() == expected.read_bytes()
    (logged,) = (tmp_path / "mlruns/artifacts/models").rglob("model.keras")
    logged.chmod(0o644)
    logged.write_bytes(logged.read_bytes() + b"0")
    assert isinstance(CliRunner().invoke(main.application(["predict"]), command).exception, UserError)


def test_predictions_of_nobody_knows_what_are_not_replaced(model, files, tmp_path):
    (target,) = run(model, files[:1], tmp_path / "out")
    target.write_bytes(target.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"r72\.predictions\.h5: damaged, or of another version .*Fix: remove it"):
        run(model, files[:1], tmp_path / "out")
    target.unlink()
    assert run(model, files[:1], tmp_path / "out") == [target]
