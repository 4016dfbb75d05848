"""Prove the grid: run it with two jobs at once, kill it half-way, start it again, and compare with `pkd reproduce`.

Usage: python benchmarks/grid.py [--write] [--profile smoke] [--splits 3] [--seeds 3] [FOLDER]

All runs go to FOLDER (a new one of the system's; it must be empty) and are of Marionette, on one thread a job. When
half of the cells' notebooks are made, all processes of the grid are killed by SIGKILL. The second start must leave
every step that was finished as it is, and run the rest; of the notebooks it may make those of the jobs anew that
Snakemake had not noted as done yet, one a job that ran. Then `pkd reproduce` makes the same cells
one after the other, in a run folder of its own, and the tables of both are compared byte by byte, but for those that
hold times. It exits with 1 where anything differs. With `--write` what was found goes to `results/grid`.
"""

import argparse
import csv
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pkdlib import _files
from pkdlib.companion import tables
from pkdlib.companion.parameters import Parameters
from pkdlib.companion.runs import store

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "results" / "grid"
WORKFLOW = ROOT / "workflow"
AT_ONCE = 2
OF_TIMES = ("latency", "decoding")
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def main() -> int:
    """Run everything, print what was found, and say whether it is as it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--profile", default="smoke")
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER")
    chosen = parser.parse_args()
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="grid-"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        parser.error(f"{folder} is not empty: name a new folder")

    found = {"profile": chosen.profile, "splits": chosen.splits, "seeds": chosen.seeds}
    found |= killed_and_gone_on_with(folder, chosen)
    plainly(folder, chosen)
    pairs = compared(folder, chosen)
    found |= {"tables": len(pairs), "rows": sum(rows for _, rows, _ in pairs)}
    found["tables_that_differ"] = sum(not equal for _, _, equal in pairs)
    for name, rows, equal in pairs:
        print(f"{name}: {rows} rows, {'equal' if equal else 'NOT EQUAL'}")
    print(found)
    if chosen.write:
        TARGET.mkdir(parents=True, exist_ok=True)
        with (TARGET / "grid.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, found, lineterminator="\n")
            writer.writeheader()
            writer.writerow(found)
        _files.write_json(TARGET / store.RECORD, store.provenance())
    return int(found["notebooks_redone"] > AT_ONCE or found["steps_redone"] > 0 or found["tables_that_differ"] > 0)


def killed_and_gone_on_with(folder: Path, chosen: argparse.Namespace) -> dict[str, int]:
    """Run the grid, kill it half-way, run it to its end, and count what was kept."""
    config = [f"profile={chosen.profile}", f"splits={chosen.splits}", f"seeds={chosen.seeds}", "set=threads=1"]
    place = ["-s", WORKFLOW / "Snakefile", "--workflow-profile", WORKFLOW / "profiles" / "machine"]
    command = [sys.executable, "-m", "snakemake", *place, "--cores", str(AT_ONCE), "--config", *config]
    jobs = 6 * chosen.splits * chosen.seeds
    process = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, start_new_session=True)
    while len(executed(folder)) < jobs // 2:
        if process.poll() is not None:
            raise SystemExit(f"the grid ended before half of its {jobs} jobs were done")
        time.sleep(0.5)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(5)  # kernels end with their parents
    notebooks, steps = executed(folder), finished(folder)
    print(f"killed with {len(notebooks)} of {jobs} jobs and {len(steps)} steps finished", flush=True)
    subprocess.run(command, cwd=folder, env=ENVIRONMENT, check=True)
    return {
        "jobs": jobs,
        "jobs_finished_when_killed": len(notebooks),
        "jobs_run_by_second_start": len(executed(folder)) - len(notebooks),
        "notebooks_redone": changed(notebooks, executed(folder)),
        "steps_finished_when_killed": len(steps),
        "steps_in_all": len(finished(folder)),
        "steps_redone": changed(steps, finished(folder)),
    }


def plainly(folder: Path, chosen: argparse.Namespace) -> None:
    """Make the same cells without Snakemake, of the same clips."""
    parameters = [f"seeds={chosen.seeds}", f"splits={chosen.splits}", "threads=1"]
    words = [word for parameter in parameters for word in ("--set", parameter)]
    command = ["pkd", "reproduce", "--profile", chosen.profile, *words, "--runs", "plain"]
    subprocess.run(command, cwd=folder, env=ENVIRONMENT, check=True)


def compared(folder: Path, chosen: argparse.Namespace) -> list[tuple[str, int, bool]]:
    """Compare the tables of both that hold anything: name, rows, whether they are equal."""
    values = {"threads": 1, "seeds": chosen.seeds, "splits": chosen.splits, "cache": str(folder / "cache")}
    grid, plain = (
        tables.tables_folder(Parameters.for_profile(chosen.profile, **values, runs=str(folder / name)))
        for name in ("runs", "plain")
    )
    names = sorted({path.name for place in (grid, plain) for path in place.glob("*.csv") if path.stem not in OF_TIMES})
    found = [(name, *((place / name).read_bytes() for place in (grid, plain))) for name in names]
    rows = {name: max(one.count(b"\n"), other.count(b"\n")) - 1 for name, one, other in found}
    return [(name, rows[name], one == other) for name, one, other in found if rows[name]]


def executed(folder: Path) -> dict[Path, int]:
    """List the cells' notebooks, with when each was written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("runs/grid/*/*/split*/seed*/notebooks/*.ipynb")}


def finished(folder: Path) -> dict[Path, int]:
    """List the finished steps of the grid's cells, with when each was written."""
    pattern = f"runs/[!g]*/*/split*/seed*/*/{store.RECORD}"
    return {path: path.stat().st_mtime_ns for path in folder.glob(pattern)}


def changed(before: dict[Path, int], after: dict[Path, int]) -> int:
    """Count what was finished before and is not as it was."""
    return sum(after.get(path) != moment for path, moment in before.items())


if __name__ == "__main__":
    sys.exit(main())
