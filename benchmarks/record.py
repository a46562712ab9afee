"""What it costs that `dvc repro` with nothing to do asks MLflow whether the run is there: with stage `record` and without.

In this clone after `make repro`, whose results are to be in MLflow. In turns; the medians differ by what the stage costs.

    .venv/bin/python benchmarks/record.py [--turns 7]
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
DVC = Path(sys.executable).parent / "dvc"
TARGETS = {"with": [], "without": ["evaluate"]}
"""What to bring up to date: all, or all that comes before `record`."""


def seconds(targets: list[str]) -> float:
    """Return how long `dvc repro` takes."""
    started = time.perf_counter()
    subprocess.run([DVC, "repro", *targets], cwd=ROOT, capture_output=True, check=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=7)
    turns = parser.parse_args().turns
    for targets in TARGETS.values():
        seconds(targets)  # whatever is out of date
    found = {name: [] for name in TARGETS}
    for _ in range(turns):
        for name, targets in TARGETS.items():
            found[name].append(seconds(targets))
    one, other = (statistics.median(times) for times in found.values())
    print(f"medians of {turns} turns: with record {one:.2f} s, without {other:.2f} s, {one - other:.2f} s more")


if __name__ == "__main__":
    main()
