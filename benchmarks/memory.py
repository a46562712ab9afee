"""Peak memory of prepare and train against the size of the raw set: it must not grow.

Copies the simulated files (make repro first) 1, 2 and 8 times with other run numbers, so that every shot is another one,
and runs the real commands on each set. Needs about 28 GB of disk; prints a row a size.

    .venv/bin/python benchmarks/memory.py [--folder DIR] [--sizes 1 2 8]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
DARK_RUN = 68


def multiply(source: Path, target: Path, size: int) -> None:
    """Write `size` copies of the shot files of `source`, the runs and times of each copy moved on."""
    target.mkdir(parents=True)
    for copy in range(size):
        for file in sorted(source.glob("*.h5")):
            written = Path(shutil.copyfile(file, target / f"{copy}-{file.name}"))
            with h5py.File(written, "r+") as shots:
                if copy and shots["run"][0] != DARK_RUN:
                    shots["run"][:] += 100 * copy
                shots["evt.seconds"][:] += 10_000_000 * copy


def run(folder: Path, stage: str) -> dict[str, float]:
    """Run one stage in `folder` and return what it used."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    subprocess.run(["xtcav", stage], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    used: dict[str, float] = json.loads((folder / "results/resources" / f"{stage}.json").read_text())
    return used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 8])
    parser.add_argument("--folder", type=Path, help="where the copies go (default: a temporary folder)")
    arguments = parser.parse_args()
    print("size  raw GB  shots trained   prepare: s  peak MB   train (1 epoch): s  peak MB")
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
            folder = Path(name)
            for part in ("dvc.yaml", "src"):
                (folder / part).symlink_to(ROOT / part)
            tree = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
            tree["data"]["raw"] = "raw"
            tree["train"]["epochs"] = 1
            YAML(typ="safe").dump(tree, folder / "params.yaml")
            multiply(ROOT / "data/raw/simulated", folder / "raw", size)
            gigabytes = sum(file.stat().st_size for file in (folder / "raw").iterdir()) / 1e9
            prepare, train = run(folder, "prepare"), run(folder, "train")
            with h5py.File(folder / "data/prepared/train.h5") as prepared:
                shots = len(prepared["label"])
            print(
                f"{size:>4}  {gigabytes:>6.1f}  {shots:>13,}  {prepare['run_time_s']:>11.0f}  {prepare['max_memory_mb']:>7.0f}"
                f"  {train['run_time_s']:>19.0f}  {train['max_memory_mb']:>7.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
