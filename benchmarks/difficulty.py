"""Try how hard Marionette is, and keep what came of it: validation accuracy of the three networks.

    python benchmarks/difficulty.py --appearance 0.8 --set movement=0.6 --out results/calibration/marionette.csv

Draws the data set with another `Difficulty`, trains each network on one split and adds a row for each to the table. The
test clips are not read, no exit is trained. What is drawn and decoded goes at the end.
"""

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pkdlib.companion import workspace
from pkdlib.companion.experiments import backbones
from pkdlib.companion.parameters import Parameters
from pkdlib.companion.workspace import Run
from pkdlib.data.marionette import marionette
from pkdlib.training import devices


def main() -> None:
    """Draw, train and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="full")
    parser.add_argument("--appearance", type=float, default=marionette.APPEARANCE)
    parser.add_argument("--split", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--networks", default="iframe,residual,motion", help="what is trained, separated by commas")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a value of Difficulty")
    parser.add_argument("--note", default="", help="a word on it for the table")
    parser.add_argument("--out", type=Path, required=True, help="the table, .csv")
    options = parser.parse_args()
    pairs = (word.split("=", 1) for word in options.set)
    marionette.DIFFICULTY = dataclasses.replace(marionette.DIFFICULTY, **{name: float(value) for name, value in pairs})
    with tempfile.TemporaryDirectory() as folder:
        changed = {"marionette_appearance": options.appearance, "cache": folder, "frames": "packed"}
        p = Parameters.for_profile(options.profile, dataset="marionette", threads=1, **changed)
        devices.prepare(p.device, p.threads)
        rows = pd.DataFrame(_tried(Run(p, options.split, options.seed), options.networks.split(","), options.note))
    print(rows.to_string())
    options.out.parent.mkdir(parents=True, exist_ok=True)
    known = [pd.read_csv(options.out)] if options.out.is_file() else []
    pd.concat([*known, rows]).to_csv(options.out, index=False, float_format="%.4g")


def _tried(run: Run, networks: Sequence[str], note: str) -> list[dict[str, str | float]]:
    p = run.parameters
    validation = len(workspace.dataset(p).splits[run.split].validation)
    workspace.frame_bank(p)  # drawn before the clock starts
    rows = []
    for reads in networks:
        began = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            trained = backbones.train_network(run, reads, p.network_of(reads), folder=Path(folder))
        last, best = trained.curves[-1], trained.curves[trained.epoch]
        rows.append(
            {
                "profile": p.profile,
                "appearance": p.marionette_appearance,
                **dataclasses.asdict(marionette.DIFFICULTY),
                "split": run.split,
                "seed": run.seed,
                "network": reads,
                "epochs": p.backbone_epochs,
                "validation_clips": validation,
                "train_accuracy": last["train_accuracy"],
                "validation_accuracy": last["validation_accuracy"],
                "best_validation_accuracy": best["validation_accuracy"],
                "seconds": time.process_time() - began,
                "note": note,
            }
        )
        print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    main()
