"""What each stage of a profile takes, as a share of the whole: run after `pkd reproduce --profile quick`.

    python benchmarks/stages.py [--runs runs/quick/marionette]

Steps are timed in the process that finished them (`timings.json` beside each), notebooks by `pkd reproduce`; what the
notebooks take beyond the steps is starting kernels, importing torch, generating and decoding clips, and drawing.
"""

import argparse
from collections import Counter
from pathlib import Path

from pkdlib import _files
from pkdlib.companion import reproduce


def main() -> None:
    """Print the stages' seconds and shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/quick/marionette"), help="a profile's data set")
    chosen = parser.parse_args()
    steps = Counter()
    for path in sorted(chosen.runs.glob("split*/seed*/*/timings.json")):
        steps[path.parent.name] += _files.read_json(path)["seconds"]
    if not steps:
        parser.error(f"{chosen.runs} holds no finished step: run `pkd reproduce --profile quick` first")
    timed = chosen.runs / "timings.json"
    timed = timed if timed.is_file() else reproduce.BOOK_FOLDER / "timings.json"
    notebooks = _files.read_json(timed)["notebooks"] if timed.is_file() else {}
    whole = sum(cost["seconds"] for cost in notebooks.values()) or sum(steps.values())
    print(f"{'stage':<26}{'seconds':>9}{'share of the notebooks':>25}")
    for name, seconds in steps.most_common():
        print(f"{name:<26}{seconds:>9.1f}{seconds / whole:>24.0%}")
    if notebooks:
        print(f"{'everything else':<26}{whole - sum(steps.values()):>9.1f}{1 - sum(steps.values()) / whole:>24.0%}")
    for name, cost in notebooks.items():
        print(f"notebook {name:<24}{cost['seconds']:>9.1f} s")


if __name__ == "__main__":
    main()
