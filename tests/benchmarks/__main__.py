"""`make bench`: what a token costs, as ratios to what its cryptography and HTTP alone cost (`ceiling.py`), in one run.

    python -m tests.benchmarks [--quick] [--strict] [NAME ...]

A benchmark is a module with a `run(stage, effort)` that gives rows, and a line in `BENCHMARKS`. Only ratios of one run mean
anything: a machine is never twice equally fast.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tests.benchmarks import (
    administration,
    cpu,
    directory,
    endurance,
    governance,
    hostile,
    load,
    recording,
    rotation,
    scale,
    workers,
)
from tests.benchmarks.report import BenchmarkFailed, Row, show, write
from tests.benchmarks.stage import QUICK, THOROUGH, Effort, Stage, prepared_stage

OUTPUT = Path(__file__).parents[2] / "bench.json"
INSTALL = {"wrk": "apt-get install wrk", "taskset": "apt-get install util-linux (Linux only)"}


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One line of the table: what gives the rows, and the programs it cannot do without. `long`: only when asked for."""

    run: Callable[[Stage, Effort], list[Row]]
    needs: tuple[str, ...] = ()
    long: bool = False

    def missing(self) -> list[str]:
        return [program for program in self.needs if shutil.which(program) is None]


BENCHMARKS: Mapping[str, Benchmark] = {
    "cpu": Benchmark(cpu.run),
    "policies": Benchmark(governance.run),
    "administration": Benchmark(administration.run),
    "rotation": Benchmark(rotation.run),
    "hostile": Benchmark(hostile.run),
    "load": Benchmark(load.run, needs=("wrk", "taskset")),
    "recording": Benchmark(recording.run),
    "directory": Benchmark(directory.run, needs=("wrk",)),
    "workers": Benchmark(workers.run, needs=("wrk",)),
    "scale": Benchmark(scale.run, needs=("wrk",), long=True),
    "memory": Benchmark(endurance.run_memory, needs=("wrk",), long=True),
    "folding": Benchmark(endurance.run_folding, long=True),
}


def main() -> int:
    """0: measured. 1: `--strict`, and a budget was missed or not measured. 2: a benchmark failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Ratios against the ceiling.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these: {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="a short run, for a first impression")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a budget is missed or was not measured")
    asked = parser.parse_args()
    if strangers := set(asked.names) - set(BENCHMARKS):
        parser.error(f"no benchmark is called {', '.join(sorted(strangers))}")

    for name in [name for name in os.environ if name.startswith("ISSUER_") and name != "ISSUER_TEST_DATABASE_URL"]:
        del os.environ[name]  # an exported dev.env must not decide what is measured
    console = Console(width=max(110, Console().width))
    wanted = {name: each for name, each in BENCHMARKS.items() if name in asked.names or not (asked.names or each.long)}
    rows: list[Row] = []
    skipped = []
    try:
        with prepared_stage() as stage:
            for name, benchmark in wanted.items():
                if missing := benchmark.missing():
                    skipped.append(name)
                    for program in missing:
                        console.print(f"{name} is left out: {program} is not installed. {INSTALL[program]}")
                    continue
                console.print(f"{name} …")
                rows += benchmark.run(stage, QUICK if asked.quick else THOROUGH)
    except BenchmarkFailed as failure:
        console.print("failed:", str(failure), markup=False, soft_wrap=True)
        return 2
    show(rows, console)
    write(OUTPUT, rows, skipped, quick=asked.quick)
    console.print(f"Every round is in {OUTPUT.name}.")
    missed = bool(skipped) or any(row.within is False for row in rows)
    return 1 if asked.strict and missed else 0


if __name__ == "__main__":
    sys.exit(main())
