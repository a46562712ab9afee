import pytest

from xtcav_ml.config.paths import EVALUATION, MODEL
from xtcav_ml.lineage.dvc_lock import Stage
from xtcav_ml.lineage.fingerprint import Code
from xtcav_ml.lineage.recorded import Recorded
from xtcav_ml.tools import reproduce
from xtcav_ml.tools.reproduction.original import Original

CODE = {"train": Code("1")}
AS_FAR, NOT = "is reproduced as far as another class of processor can (", "is not reproduced: "


def stages(model):
    return {
        "prepare": Stage(deps={"raw": "1"}, outs={"train.h5": "2"}),
        "train": Stage(outs={str(MODEL): model}),
        "evaluate": Stage(outs={str(EVALUATION): "3"}),
    }


@pytest.mark.parametrize(
    ("model", "now", "other_class", "verdict"),
    [
        ("other", CODE, "AVX2 in the run, AVX-512 here", AS_FAR),
        ("same", CODE, "AVX2 in the run, AVX-512 here", NOT),
        ("other", CODE, None, NOT),
        ("other", {"train": Code("2")}, "AVX2 in the run, AVX-512 here", NOT),
        ("other", None, "AVX2 in the run, AVX-512 here", NOT),
    ],
    ids=["other_weights", "same_weights", "same_class", "other_code", "no_record_of_code"],
)
def test_only_other_weights_of_the_same_code_are_put_down_to_the_class_of_processor(
    tmp_path, monkeypatch, capsys, model, now, other_class, verdict
):
    (tmp_path / "dvc.lock").touch()
    monkeypatch.setattr(reproduce.dvc_lock, "parse", lambda *_: stages(model))
    monkeypatch.setattr(reproduce.result_files, "read", lambda *_: {"accuracy": 0.5})
    monkeypatch.setattr(reproduce, "_curves", lambda *_: {})
    monkeypatch.setattr(reproduce.recorded, "of_folder", lambda _: now and Recorded("", {}, {}, now))
    run = Original("1f", "", {}, b"", b"", stages("same"), CODE, {"accuracy": 0.75}, {}, {})
    assert not reproduce._compare(run, tmp_path, [], other_class)
    assert f"run 1f {verdict}" in " ".join(capsys.readouterr().out.split())
