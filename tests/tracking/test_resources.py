import json
import mmap
import resource
import subprocess
import sys
import time

from xtcav_ml.tracking import resources


def test_a_run_shorter_than_the_interval_has_its_numbers():
    with resources.Sampler() as sampler:
        pass
    used = sampler.summary()
    assert len(sampler.samples) >= 2
    assert used["max_memory_mb"] >= used["mean_memory_mb"] > 10
    assert used["run_time_s"] < 60
    assert used["max_processes"] >= 1


def test_memory_that_was_let_go_is_in_the_maximum():
    # not of the heap, which may have room for it
    with resources.Sampler() as sampler, mmap.mmap(-1, 320_000_000) as held:
        held.write(b"1" * 320_000_000)
        time.sleep(3 * resources.SAMPLE_SECONDS)
    used = sampler.summary()
    assert used["max_memory_mb"] > sampler.samples[0]["memory_mb"] + 300


def test_children_count_even_after_they_ended():
    busy = "import time; t = time.process_time()\nwhile time.process_time() - t < 0.8: pass"
    with resources.Sampler() as sampler:
        before = _spent()
        subprocess.run([sys.executable, "-c", busy], check=True)
        spent = _spent() - before
        time.sleep(2 * resources.SAMPLE_SECONDS)
    used = sampler.summary()
    assert used["max_processes"] >= 2
    assert 0.9 * spent < used["cpu_time_s"] < 1.9 * spent  # once, and what this process does besides


def _spent():
    """Return the CPU time of this process and its ended children, as the system counts it: a busy machine's is longer."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def test_what_children_used_before_does_not_count():
    busy = "import time\nwhile time.process_time() < 0.8: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        before = _spent()
        with resources.Sampler() as sampler:
            time.sleep(2 * resources.SAMPLE_SECONDS)
        used, here = sampler.summary(), _spent() - before
        child.communicate(b"\n")
    assert used["max_processes"] >= 2
    assert used["cpu_time_s"] < here + 0.8  # what is more is the child's


def test_what_lasts_less_than_an_interval_counts():
    """In a process of its own, as a stage is: a peak of memory and a child, both between two samples."""
    code = """if True:
        import resource, subprocess, sys, json
        import numpy as np
        from xtcav_ml.tracking import resources
        resources.SAMPLE_SECONDS = 60
        def spent():
            return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))

        before = spent()
        with resources.Sampler() as sampler:
            held = np.ones(40_000_000)
            del held
            subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.5: pass"], check=True)
        assert len(sampler.samples) == 2
        print(json.dumps([sampler.summary(), sampler.samples[0]["memory_mb"], spent() - before]))
    """
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    used, before, spent = json.loads(done.stdout)
    assert used["max_memory_mb"] > before + 300
    assert 0.5 <= used["cpu_time_s"] < spent + 0.25  # twice would be half a second more


def test_a_stage_that_takes_a_while_is_drawn(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(resources, "WORTH_A_PICTURE", 0.2)
    with resources.measured("train"):
        time.sleep(0.3)
    picture = tmp_path / "results/resources/train.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(resources, "WORTH_A_PICTURE", 60)
    with resources.measured("train"):
        pass
    assert not picture.exists()


def test_measured_writes_a_file_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with resources.measured("train"):
        pass
    assert json.loads((tmp_path / "results/resources/train.json").read_text())["max_threads"] >= 1
