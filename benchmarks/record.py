"""What it costs that `dvc repro` with nothing to do asks MLflow whether the run is there: with stage `record` and without.

In this clone after `make repro`, whose results are to be in MLflow; dvc.yaml is edited meanwhile, and put back. In turns; the
medians differ by what the stage costs.

    .venv/bin/python benchmarks/record.py [--turns 7]
"""

import argparse
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
DVC = Path(sys.executable).parent / "dvc"


def seconds() -> float:
    """Return how long `dvc repro` takes."""
    started = time.perf_counter()
    subprocess.run([DVC, "repro"], cwd=ROOT, capture_output=True, check=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=7)
    turns = parser.parse_args().turns
    pipeline = ROOT / "dvc.yaml"
    whole = pipeline.read_text()
    texts = {"with": whole, "without": re.sub(r"(?m)^  record:\n(    .*\n)+", "", whole)}
    found = {name: [] for name in texts}
    try:
        seconds()  # whatever is out of date
        for _ in range(turns):
            for name, text in texts.items():
                pipeline.write_text(text)
                found[name].append(seconds())
    finally:
        pipeline.write_text(whole)
    one, other = (statistics.median(times) for times in found.values())
    print(f"medians of {turns} turns: with record {one:.2f} s, without {other:.2f} s, {one - other:.2f} s more")


if __name__ == "__main__":
    main()
