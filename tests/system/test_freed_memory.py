"""Memory that is freed and taken again is not cleared again by the system, which shows in page faults."""

import subprocess
import sys

import pytest

CODE = """if True:
    import resource, sys
    import numpy as np
    from xtcav_ml.system import freed_memory

    if sys.argv[1] == "kept":
        freed_memory.keep()
    sizes = [40_000_000, 25_000_000, 10_000_000]
    def step():
        blocks = [np.ones(size, np.uint8) for size in sizes]
    step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        step()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    done = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_what_is_freed_is_used_again_without_a_page_fault():
    assert faults("kept") < 50
    assert faults("returned") > 1000  # so that there is something to keep
