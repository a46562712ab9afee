import pytest

from xtcav_ml.system import variables
from xtcav_ml.tuning import leg


class Training:
    """A training of five epochs."""

    def __init__(self, target, params, data, checkpoints, *, subject, cure, imported):
        self.stop, self.result, self.subject = False, None, subject

    def __iter__(self):
        for epoch in range(1, 6):
            yield epoch, {"val_cross_entropy": 1 / epoch}
            if self.stop:
                return
        self.result = [1.0, 0.0]


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setattr(leg, "ChildProcess", Training)
    for name in ("train.h5", "validation.h5"):
        (tmp_path / name).write_bytes(b"0123")
    return tmp_path


@pytest.mark.parametrize(
    ("until", "most", "epochs", "ended"), [(0, 9, 5, True), (3, 9, 3, False), (0, 2, 2, False), (5, 9, 5, False)]
)
def test_a_leg_ends_at_its_rung_or_once_nobody_waits_for_it(data, params, until, most, epochs, ended):
    told = []

    def tell(message):
        told.append(message)
        return len(told) < most

    ran = leg.run_leg(tell, leg.computes(data), 7, params.train, (data, data / "7"), until)
    assert [epoch for epoch, _ in told] == [*range(1, epochs + 1)]
    assert ran.rows == [values for _, values in told]
    assert (ran.ended, ran.shots) == (ended, [1.0, 0.0] if ended else None)


def refusal(like, data):
    with pytest.raises(leg.OtherWorker) as error:
        leg.require_like(like, data)
    return str(error.value)


def test_a_worker_that_would_compute_something_else_is_refused_by_name(data, monkeypatch):
    like = leg.computes(data)
    leg.require_like(like, data)
    (data / "train.h5").write_bytes(b"01234")
    assert "other data (found" in refusal(like, data)
    (data / "train.h5").unlink()
    (data / "validation.h5").unlink()
    assert "missing, expected" in refusal(like, data)
    like = leg.computes(data)
    with monkeypatch.context() as patch:
        patch.setattr(leg, "deciding", lambda names: {"cpu": "another", "backend": "tensorflow", "keras": "1.0"})
        assert "other" in refusal(like, data)
    with monkeypatch.context() as patch:
        patch.setattr(leg, "SOURCES", data)
        assert "other code" in refusal(like, data)
    with monkeypatch.context() as patch:
        patch.setattr(variables, "has_gpu", lambda: True)
        assert "other device (found a GPU, expected a CPU" in refusal(like, data)
    with monkeypatch.context() as patch:
        patch.setenv("TF_XLA_FLAGS", "--tf_xla_auto_jit=2")
        assert "other TF_XLA_FLAGS (found --tf_xla_auto_jit=2, expected none" in refusal(like, data)


def test_another_processor_is_no_other_worker(data, monkeypatch):
    like, real = leg.computes(data), leg.deciding
    monkeypatch.setattr(leg, "deciding", lambda names: {**real(names), "cpu": "another"})
    leg.require_like(like, data)


def test_a_worker_that_may_have_no_child_is_told_the_cure(data, monkeypatch):
    class Below:
        daemon = True

    monkeypatch.setattr(leg.multiprocessing, "current_process", Below)
    assert "--no-nanny" in refusal(leg.computes(data), data)
