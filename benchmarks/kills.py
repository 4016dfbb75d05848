"""Kill `pkd reproduce` again and again, at random moments over all notebooks: its tables are those of a run left alone.

Usage: python benchmarks/kills.py [--write] [--kills 50] [--seed 0] [--mean SECONDS] [FOLDER]

Everything is at the profile `smoke` on one thread, in FOLDER (a new one of the system's; it must be empty), which keeps
the generated clips in one cache. First `pkd reproduce` runs alone. Then it runs in a run folder of its own, is killed
by SIGKILL with all that it started after a random time, drawn evenly between 0 and twice the mean, and is started
again, until it comes to its end; then it begins in a new run folder, until there have been as many kills as asked for
and the last one is at its end. The moments are a function of the seed; what they fall on is not, as machines differ in
speed. Every folder that came to its end is compared with the run left alone: all tables but those of times, weights and
logits, byte by byte. It exits with 1 where anything differs. With `--write` what was found goes to `results/kills`.
"""

import argparse
import collections
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from pkdlib import _files
from pkdlib.companion.runs import store

TARGET = Path(__file__).resolve().parents[1] / "results" / "kills"
OF_TIMES = ("latency", "decoding")
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def main() -> int:
    """Run everything, print what was found, and say whether all is as it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mean", type=float, default=20.0, help="seconds from a start to the kill, on average")
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER")
    chosen = parser.parse_args()
    folder = (chosen.folder or Path(tempfile.mkdtemp(prefix="kills-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        parser.error(f"{folder} is not empty: name a new folder")

    started = time.monotonic()
    finish(start(folder, "alone"))
    seconds = time.monotonic() - started
    print(f"left alone: {seconds:.0f} s", flush=True)
    draw = random.Random(chosen.seed)
    rows: list[dict] = []
    while len(rows) < chosen.kills:
        name = f"killed-{len({row['folder'] for row in rows})}"
        rows += killed_until_its_end(folder, name, draw, chosen.mean)
        differences = compared(folder, name)
        for row in rows:
            if row["folder"] == name:
                row |= differences
        print(f"{name}: {sum(row['folder'] == name for row in rows)} kills, {differences}", flush=True)
    table = pd.DataFrame(rows)
    compared_files, differing = int(table["files"].min()), int(table["files_that_differ"].sum())
    print(f"{len(table)} kills; {compared_files} files compared a folder; {differing} differ")
    print(dict(collections.Counter(table["notebook"])))
    if chosen.write:
        TARGET.mkdir(parents=True, exist_ok=True)
        table.to_csv(TARGET / "kills.csv", index=False)
        settings = {"kills": chosen.kills, "seed": chosen.seed, "mean_seconds": chosen.mean, "alone_seconds": seconds}
        _files.write_json(TARGET / store.RECORD, {"settings": settings, **store.provenance()})
    return int(differing > 0)


def start(folder: Path, name: str) -> subprocess.Popen:
    """Start `pkd reproduce` in a run folder; what it says goes to a file beside."""
    words = ["--set", "threads=1", "--set", f"cache={folder / 'cache'}"]
    command = ["pkd", "reproduce", "--profile", "smoke", *words, "--runs", str(folder / name)]
    with (folder / f"{name}.log").open("a", encoding="utf-8") as log:
        return subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, start_new_session=True, stdout=log, stderr=log)


def finish(process: subprocess.Popen) -> None:
    """Wait for a run that nothing stops; it must succeed."""
    if process.wait():
        raise SystemExit(f"{' '.join(process.args)} failed: see the log beside its run folder")


def killed_until_its_end(folder: Path, name: str, draw: random.Random, mean: float) -> list[dict]:
    """Kill a run at random moments and start it again until it ends by itself; a row a kill, with where it fell."""
    rows: list[dict] = []
    while True:
        process, moment = start(folder, name), draw.uniform(0, 2 * mean)
        try:
            process.wait(timeout=moment)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            time.sleep(1)  # kernels end with their parent
            rows.append({"folder": name, "seconds": round(moment, 2), **where_it_stands(folder, name)})
            continue
        finish(process)
        return rows


def where_it_stands(folder: Path, name: str) -> dict[str, str | int]:
    """Say which notebook ran when the kill fell, and how much was finished and begun."""
    told = re.findall(r"\] (\S+): running", (folder / f"{name}.log").read_text(encoding="utf-8"))
    place = folder / name
    begun = [path for path in place.rglob(".*.partial") if (path / _files.RESUME).is_dir()]
    return {
        "notebook": told[-1] if told else "none",
        "steps_finished": len(list(place.rglob(f"split*/seed*/[!.]*/{store.RECORD}"))),
        "steps_begun": len(begun),
        "checkpoints": sum(1 for path in begun for _ in (path / _files.RESUME).glob("*.pt")),
    }


def compared(folder: Path, name: str) -> dict[str, int]:
    """Compare a run's tables, weights and logits with those of the run left alone."""
    alone, killed = (contents(folder / each) for each in ("alone", name))
    if alone.keys() ^ killed.keys():
        raise SystemExit(f"{name} holds other files than the run left alone: {sorted(alone.keys() ^ killed.keys())}")
    different = [path for path, content in alone.items() if killed[path] != content]
    for path in different:
        print(f"{name}: {path} differs")
    return {"files": len(alone), "files_that_differ": len(different)}


def contents(place: Path) -> dict[str, bytes]:
    """Read what is compared of a run folder."""
    tables = [path for path in place.rglob("tables/*/*.csv") if not path.stem.startswith(OF_TIMES)]
    steps = [path for path in place.rglob("split*/seed*/[!.]*/*") if path.suffix in (".safetensors", ".json")]
    own = (store.RECORD, store.TIMINGS, "latency.json")
    kept = [*tables, *(path for path in steps if path.name not in own)]
    if not tables:
        raise SystemExit(f"{place} holds no tables")
    return {str(path.relative_to(place)): path.read_bytes() for path in kept}


if __name__ == "__main__":
    sys.exit(main())
