"""Our ways measured beside what one would pick instead, side by side in one run: tables in benchmarks/RESULTS.md."""

import argparse
import datetime
import os
import re
from pathlib import Path

from benchmarks import machine, tables

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/RESULTS.md"
PARTS = ("training", "frames", "data", "pipeline")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=PARTS, help="measure these parts, and keep the tables of the others"
    )
    parser.add_argument("--turns", type=int, default=7, help="measurements of each way, one after the other in turns")
    parser.add_argument("--threads", type=int, default=machine.cores(), help="threads of every library")
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes: does everything run? The numbers mean nothing"
    )
    parser.add_argument("--out", type=Path, help=f"where the tables go; {RESULTS.name} by default, none with --quick")
    arguments = parser.parse_args()
    out = arguments.out or (None if arguments.quick else RESULTS)
    os.chdir(ROOT)
    described = machine.described()
    print(described, flush=True)
    for part in arguments.only:
        module = __import__(f"benchmarks.{part}", fromlist=["measure"])
        print(f"{part}: {module.__doc__.splitlines()[0]}", flush=True)
        texts = []
        for table in module.measure(arguments.turns, arguments.threads, arguments.quick):
            texts.append(tables.markdown(table))
            print(f"{texts[-1]}\n", flush=True)
        today = datetime.datetime.now(tz=datetime.UTC).date()
        if out is not None:
            keep(out, part, "\n\n".join([module.__doc__.strip(), f"Measured on {today}: {described}.", *texts]))
    print(f"-> {out}" if out else f"{RESULTS.name} stays as it was: the sizes were tiny")


def keep(out: Path, part: str, text: str) -> None:
    """Write the tables of a part into a file, which keeps those of the others."""
    _, *found = re.split(r"^## (.+)\n", out.read_text(encoding="utf-8") if out.exists() else "", flags=re.MULTILINE)
    sections = dict(zip(found[::2], found[1::2], strict=True)) | {part.capitalize(): text}
    ordered = [f"## {name}\n\n{sections[name].strip()}\n" for name in map(str.capitalize, PARTS) if name in sections]
    out.write_text("\n".join([READING, *ordered]), encoding="utf-8")


READING = """# Benchmarks

`make bench` measures these tables. All ways of a table were timed in turns in one run. Times are medians of the turns; `spread`
is half the distance of their quartiles over the median; `times the first` is the median over the turns of a way's time over
that of the first way in the same turn. Memory is the peak of the process. A limit is how long the work would take at the rate
of a matrix product (float32, numpy's BLAS) or of a copy within memory, measured in the same turns.
"""


if __name__ == "__main__":
    main()
