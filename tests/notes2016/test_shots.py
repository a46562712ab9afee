from tests.conftest import SHAPE
from tests.pipeline.test_kept import digests
from xtcav_ml.config.data import DataParams
from xtcav_ml.notes2016 import shots
from xtcav_ml.pipeline import frames, prepare


def test_raw_files_go_one_by_one_and_the_data_are_the_same(raw_folder, params, tmp_path, monkeypatch):
    data = DataParams(raw=str(raw_folder), frame_shape=SHAPE, bad_files="fail")
    prepare.prepare_files(data, params.prepare, tmp_path / "usual")
    left = []

    def make_shard(task, advance):
        left.append(sorted(file.name for file in raw_folder.iterdir()))
        frames.make_shard(task, advance)

    monkeypatch.setattr(shots, "make_shard", make_shard)
    prepare.prepare_files(data, params.prepare, tmp_path / "removed", make=shots.make_and_remove)
    assert left == [["a.h5", "b.hdf5", "dark.h5"], ["b.hdf5", "dark.h5"]]
    assert [file.name for file in raw_folder.iterdir()] == ["dark.h5"]  # no shot of it is learned
    assert digests(tmp_path / "removed") == digests(tmp_path / "usual")
