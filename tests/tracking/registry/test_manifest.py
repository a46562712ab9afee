import hashlib
import json

import pytest

from xtcav_ml.system.errors import UserError
from xtcav_ml.tracking.registry import manifest


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "MLmodel").write_text("flavors")
    (tmp_path / "data/model.keras").write_bytes(b"weights")
    return tmp_path


def test_every_file_is_listed_with_its_hash(folder):
    digest = manifest.write_manifest(folder)
    content = (folder / "manifest.json").read_bytes()
    assert digest == hashlib.sha256(content).hexdigest()
    assert json.loads(content) == {
        "MLmodel": hashlib.sha256(b"flavors").hexdigest(),
        "data/model.keras": hashlib.sha256(b"weights").hexdigest(),
    }
    manifest.verify(folder, "mine", digest)


def test_what_mlflow_adds_to_a_model_it_loads_by_name_is_let_be_but_only_there(folder):
    manifest.write_manifest(folder)
    meta = "model_name: xtcav\nmodel_version: '1'\n"
    (folder / "registered_model_meta").write_text(meta)
    manifest.verify(folder, "mine")
    for other in (meta + "code: x\n", "model_name: xtcav", "", "\0" * 1000, meta.replace("xtcav", "!!python/name:os")):
        (folder / "registered_model_meta").write_text(other)
        with pytest.raises(UserError, match="mine: registered_model_meta is not as it was logged"):
            manifest.verify(folder, "mine")
    (folder / "registered_model_meta").write_text(meta)
    (folder / "data/registered_model_meta").write_text(meta)
    with pytest.raises(UserError, match="data/registered_model_meta is not as it was logged"):
        manifest.verify(folder, "mine")


def flip(path):
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda folder: flip(folder / "data/model.keras"), "data/model.keras .*found other bytes"),
        (lambda folder: flip(folder / "MLmodel"), "MLmodel .*found other bytes"),
        (lambda folder: (folder / "MLmodel").unlink(), "MLmodel .*found no file"),
        (
            lambda folder: (folder / "code.py").write_text(""),
            "code.py .*found a file that is not in its manifest",
        ),
        (lambda folder: (folder / "code").symlink_to("/"), "code .*found a file that is not in its manifest"),
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json .*found no file"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json .*found a broken one"),
        (lambda folder: (folder / "manifest.json").write_text("7"), "manifest.json .*found a broken one"),
    ],
)
def test_a_change_of_any_file_is_refused(folder, change, found):
    manifest.write_manifest(folder)
    change(folder)
    with pytest.raises(UserError, match=f"^mine: {found}") as error:
        manifest.verify(folder, "mine")
    assert len(str(error.value).splitlines()) == 1


def test_a_link_to_the_same_bytes_is_not_the_file(folder, tmp_path_factory):
    manifest.write_manifest(folder)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "MLmodel"
    (folder / "MLmodel").rename(elsewhere)
    (folder / "MLmodel").symlink_to(elsewhere)
    with pytest.raises(UserError, match="MLmodel is not as it was logged"):
        manifest.verify(folder, "mine")


def test_whoever_changes_the_manifest_too_is_found_out_by_its_own_hash(folder):
    digest = manifest.write_manifest(folder)
    flip(folder / "data/model.keras")
    manifest.write_manifest(folder)
    manifest.verify(folder, "mine")
    with pytest.raises(UserError, match=r"manifest\.json .*found another"):
        manifest.verify(folder, "mine", digest)
