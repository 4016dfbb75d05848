"""Foresee the smallest effect that a study can show, for each primary comparison, from few runs' validation clips.

    python benchmarks/smallest_effects.py --dataset ucf101 --root data/ucf101 --split 0 --set iframe_network=lite \
        --seeds 2 --write

The study's test clips are not looked at: validation clips take their place in what is compared. That goes for internal
classifiers; weights and thresholds are fitted to the validation clips, which so say nothing of what they are worth.
With `--write` the rows go to `results/calibration/smallest_effects.csv`, in the place of those of the same data and
profile.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

from pkdlib import _files
from pkdlib.companion import tables, workspace
from pkdlib.companion.claims import comparisons
from pkdlib.companion.claims.claims import CLAIMS
from pkdlib.companion.parameters import Parameters
from pkdlib.companion.runs import store
from pkdlib.statistics import intervals

TABLE = Path(__file__).resolve().parents[1] / "results" / "calibration" / "smallest_effects.csv"


def main() -> None:
    """Foresee, print and perhaps write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="full")
    parser.add_argument("--dataset", default="ucf101")
    parser.add_argument("--root", default="")
    parser.add_argument("--split", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=2, help="runs of the pilot")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="any other parameter")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    values = dict(map(_assignment, options.set)) | {
        "dataset": options.dataset,
        "root": options.root,
        "split": options.split,
    }
    p = Parameters.for_profile(options.profile, **values)
    frame = pd.DataFrame(_rows(p, options.seeds))
    print(frame.to_string(index=False))
    if options.write:
        known = pd.read_csv(TABLE) if TABLE.is_file() else pd.DataFrame(columns=frame.columns)
        others = known[(known["data"] != frame["data"].iloc[0]) | (known["profile"] != frame["profile"].iloc[0])]
        pd.concat([others, frame]).to_csv(TABLE, index=False, float_format="%.4g")
        _files.write_json(
            TABLE.with_suffix(".run.json"), {"parameters": p.only("profile", "dataset"), **store.provenance()}
        )


def _rows(p: Parameters, seeds: int):
    pilot = [Parameters.for_profile(**p.flat() | {"seed": seed}) for seed in range(seeds)]
    found = {"exits": pd.concat([_validation(tables.table(own, "exits")) for own in pilot])}
    data = workspace.dataset(p)
    groups = len({data.clips[index].group for index in data.splits[p.split].test})
    for claim in CLAIMS:
        if claim.kind in ("order", "correlation") or claim.not_measured:
            continue
        for comparison in comparisons.compare(claim.id, found):
            if comparison.name not in claim.primary or comparison.missing:
                continue
            planned = [
                intervals.smallest_effect(intervals.planned_interval(differences, runs=p.seeds, groups=groups))
                for differences in comparison.tables
            ]
            yield {
                "data": data.name,
                "profile": p.variant,
                "split": p.split,
                "pilot_seeds": seeds,
                "seeds": p.seeds,
                "test_groups": groups,
                "claim": claim.id,
                "comparison": comparison.name,
                # Of an "up to" claim that of the exit, or number of exits, which could show the least.
                "smallest_effect": float(np.max(planned)),
            }


def _validation(table: pd.DataFrame) -> pd.DataFrame:
    # Comparisons take test rows: the validation rows in their place.
    return table[table["part"] == "validation"].assign(part="test")


def _assignment(word: str):
    name, _, text = word.partition("=")
    try:
        return name, json.loads(text)
    except ValueError:
        return name, text


if __name__ == "__main__":
    main()
