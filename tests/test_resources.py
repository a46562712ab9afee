import json
import subprocess
import sys
import time

import numpy as np
import pytest

from xtcav_ml import resources


def test_a_run_shorter_than_the_interval_has_its_numbers():
    with resources.Sampler() as sampler:
        pass
    used = sampler.summary()
    assert len(sampler.samples) >= 2
    assert used["max_memory_mb"] >= used["mean_memory_mb"] > 10
    assert used["run_time_s"] < 1
    assert used["max_processes"] >= 1


def test_memory_that_was_let_go_is_in_the_maximum():
    with resources.Sampler() as sampler:
        held = np.ones(40_000_000)  # 320 MB
        time.sleep(3 * resources.INTERVAL)
        del held
    used = sampler.summary()
    assert used["max_memory_mb"] > sampler.samples[0]["memory_mb"] + 300


def test_children_count_even_after_they_ended():
    busy = "import time; t = time.process_time()\nwhile time.process_time() - t < 0.8: pass"
    with resources.Sampler() as sampler:
        subprocess.run([sys.executable, "-c", busy], check=True)
        time.sleep(2 * resources.INTERVAL)
    used = sampler.summary()
    assert used["max_processes"] >= 2
    assert used["cpu_time_s"] == pytest.approx(0.85, abs=0.4)  # less what the child used after its last sample


def test_measured_writes_a_file_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with resources.measured("train"):
        pass
    assert json.loads((tmp_path / "results/resources/train.json").read_text())["max_threads"] >= 1
