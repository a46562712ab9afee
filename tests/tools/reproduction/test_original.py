import hashlib
import json

import pytest

from tests.conftest import StoredRun
from xtcav_ml.lineage.dvc_lock import Stage
from xtcav_ml.lineage.environment import CLASS
from xtcav_ml.lineage.fingerprint import Code
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools.reproduction import original

PARAMS_OF = "{{params: {{code/x.json: {{fingerprint: {}}}}}}}"
PATCH = b"diff of some sort\n"
TAGS = {
    "stage": "train",
    "git.commit": "c" * 40,
    "git.dirty": "true",
    "git.diff.sha256": hashlib.sha256(PATCH).hexdigest(),
    "evaluation.md5": "e",
    "env.numpy": "2.0",
}


@pytest.fixture(autouse=True)
def _local_store(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def stored(root, status="FINISHED", **tags):
    run = StoredRun(root, **{name: value for name, value in {**TAGS, **tags}.items() if value})
    run.finish(status)
    return run


@pytest.mark.parametrize("evaluation", ["evaluation", "metrics"])  # earlier versions had all in metrics.json
def test_a_run_comes_back_with_all_that_made_it(root, tmp_path, evaluation):
    run = stored(root)
    outs = f"{{path: results/{evaluation}.json, md5: {32 * 'a'}}}"
    evaluated = PARAMS_OF.format("G").removesuffix("}") + f", outs: [{outs}]}}"
    for name, content in (
        ("lineage/params.yaml", b"train: {}\n"),
        ("lineage/diff.patch", PATCH),
        ("lineage/dvc.lock", f"stages: {{train: {PARAMS_OF.format('F')}, evaluate: {evaluated}}}".encode()),
        ("lineage/code/train.json", json.dumps(vars(Code("F", {}, {"fit": "1"}))).encode()),
        (f"{evaluation}.json", b'{"accuracy": 0.5}'),
    ):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_bytes(content)
        run.client.log_artifact(run.run_id, str(file), name.rpartition("/")[0] or None)
    for epoch, loss in ((1, 0.5), (2, 0.25)):
        run.client.log_metric(run.run_id, "val_loss", loss, step=epoch)
        run.client.log_metric(run.run_id, "system/seconds_train", loss, step=epoch)
    run.client.log_metric(run.run_id, "accuracy", 0.5)
    run_then = original.fetch_run(root, run.run_id[:8])
    assert run_then.run_id == run.run_id
    assert (run_then.params, run_then.patch, run_then.metrics) == (b"train: {}\n", PATCH, {"accuracy": 0.5})
    evaluate = Stage(code="G", outs={f"results/{evaluation}.json": 32 * "a"})
    assert run_then.stages == {"train": Stage(code="F"), "evaluate": evaluate}
    assert run_then.code == {"train": Code("F", {}, {"fit": "1"}), "evaluate": Code("G")}
    assert run_then.curves == {"val_loss": {1: 0.5, 2: 0.25}}
    assert run_then.environment == {"numpy": "2.0"}
    assert (run_then.predictions, run_then.seeds) == ("", None)
    run.client.log_text(run.run_id, "another", "lineage/diff.patch")
    with pytest.raises(UserError, match=r"diff\.patch was changed \(found SHA-256 .* expected .*Fix: "):
        original.fetch_run(root, run.run_id)


def test_what_a_verdict_of_its_own_needs_comes_with_the_run(root):
    run, group = (
        stored(root, **{"group.key": "g"}),
        stored(root, stage="group", **{"group.key": "g", "group.seeds": "1, 2"}),
    )
    group.client.log_metric(group.run_id, "accuracy_sd", 0.5)
    for name, text in (
        ("lineage/params.yaml", ""),
        ("lineage/diff.patch", PATCH.decode()),
        ("lineage/dvc.lock", "stages: {}"),
        ("metrics.json", "{}"),
        ("predictions.csv", "a table"),
    ):
        run.client.log_text(run.run_id, text, name)
    found = original.fetch_run(root, run.run_id)
    assert (found.predictions, found.seeds) == ("a table", {"accuracy_sd": 0.5, "seeds": 2})


@pytest.mark.parametrize(("tags", "known"), [({}, True), ({"rebuilt": "true"}, False)])
def test_a_rebuilt_run_does_not_tell_which_processor_trained_it(tags, known):
    machine = {"numpy": "2.0", CLASS: "AVX2", "device": "CPU"}
    assert (CLASS in original._environment(lambda _: machine, tags)) == known


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"stage": "seed"},
            r"found stage 'seed', .*Fix: run `git checkout c+` .* set train\.seed: \S+, then run `make repro`",
        ),
        ({"stage": "group"}, r"found stage 'group', .*Fix: run `git checkout c+` .* and run `make seeds`"),
        ({"stage": "trial"}, "stage .found 'trial', expected 'train'"),
        ({"status": "RUNNING"}, "found RUNNING, expected FINISHED.*Fix: wait"),
        ({"status": "KILLED"}, "found KILLED, expected FINISHED"),
        ({"evaluation.md5": ""}, r"expected evaluation\.json.*Fix: run `dvc repro`"),
        ({"git.commit": "none"}, r"found tag git\.commit 'none'"),
        ({"git.commit": "--output=x"}, "found tag git.commit '--output=x'"),
        ({"git.diff.sha256": ""}, r"tag git\.dirty, expected lineage/diff\.patch"),
        ({}, r"lineage/dvc\.lock: not in "),
    ],
)
def test_what_a_run_lacks_is_one_line_with_the_cure(root, changes, said):
    run = stored(root, **changes)
    with pytest.raises(UserError, match=said) as refused:
        original.fetch_run(root, run.run_id)
    assert str(refused.value).startswith(f"run {run.run_id}")
    assert "\n" not in str(refused.value)
