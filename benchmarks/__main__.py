"""Our ways measured beside what one would pick instead, side by side in one run: tables in benchmarks/RESULTS.md."""

import argparse
import datetime
import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine, tables

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/RESULTS.md"
PARTS = ("training", "frames", "data", "pipeline")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="measure these parts")
    parser.add_argument("--turns", type=int, default=7, help="measurements of each way, one after the other in turns")
    parser.add_argument("--threads", type=int, default=machine.cores(), help="threads of every library")
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes: does everything run? The numbers mean nothing"
    )
    parser.add_argument("--out", type=Path, help=f"where the tables go; {RESULTS.name} if all is measured")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    described = machine.described()
    print(described, flush=True)
    sections = []
    for part in arguments.only:
        module = __import__(f"benchmarks.{part}", fromlist=["measure"])
        print(f"{part}: {module.__doc__.splitlines()[0]}", flush=True)
        texts = []
        for table in module.measure(arguments.turns, arguments.threads, arguments.quick):
            texts.append(tables.markdown(table))
            print(f"{texts[-1]}\n", flush=True)
        sections.append(f"## {part.capitalize()}\n\n{module.__doc__.strip()}\n\n" + "\n\n".join(texts))
    today = datetime.datetime.now(tz=datetime.UTC).date()
    head = f"# Benchmarks\n\nMeasured by `make bench` on {today}: {described}.\n\n{READING}"
    if out := arguments.out or kept(arguments.only, arguments.quick):
        out.write_text(f"{head}\n" + "\n\n".join(sections) + "\n", encoding="utf-8")
    print(f"-> {out}" if out else f"{RESULTS.name} stays as it was: it is of all parts in full size")


def kept(parts: Sequence[str], quick: bool) -> Path | None:
    """Return the file of tables that a measurement may replace; None for a part, or for tiny sizes."""
    return None if quick or set(parts) != set(PARTS) else RESULTS


READING = """All ways of a table were timed in turns in one run. Times are medians of the turns; `spread` is half the distance
of their quartiles over the median; `times the first` is the median over the turns of a way's time over that of the first way
in the same turn. Memory is the peak of the process. A limit is how long the work would take at the rate of a matrix product
(float32, numpy's BLAS) or of a copy within memory, measured in the same turns.
"""


if __name__ == "__main__":
    main()
