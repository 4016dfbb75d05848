"""Try how to train a network, and keep what came of it: validation accuracy and processor time of one training.

    python benchmarks/recipes.py iframe --profile full --dataset ucf101 --root data/ucf101 \
        --set iframe_network=lite --set iframe_epochs=8 --out results/calibration/ucf101.csv

Trains one network on one split and adds a row to the table. The test clips are not read. Beside the accuracy of the
last epoch stands that of the best, whose weights a study keeps. Seconds are the processor's, so that what else runs on
the machine counts little.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch

from pkdlib.companion import workspace
from pkdlib.companion.experiments import backbones
from pkdlib.companion.parameters import Parameters
from pkdlib.companion.workspace import Run
from pkdlib.models.backbones import MODALITIES
from pkdlib.training import devices


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=MODALITIES, help="what it reads")
    parser.add_argument("--profile", default="full")
    parser.add_argument("--dataset", default="ucf101")
    parser.add_argument("--root", default="")
    parser.add_argument("--split", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="any other parameter")
    parser.add_argument("--body", type=float, help="factor on the learning rate below the classifier")
    parser.add_argument("--decay", type=float, help="weight decay")
    parser.add_argument("--note", default="", help="a word on it for the table")
    parser.add_argument("--out", type=Path, required=True, help="the table, .csv")
    options = parser.parse_args()
    pairs = (word.split("=", 1) for word in options.set)
    values = {name: _value(text) for name, text in pairs}
    p = Parameters.for_profile(options.profile, dataset=options.dataset, root=options.root, **values)
    devices.prepare(p.device, p.threads)
    row = _try(Run(p, options.split, options.seed), options)
    print(row)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    known = [pd.read_csv(options.out)] if options.out.is_file() else []
    pd.concat([*known, pd.DataFrame([row])]).to_csv(options.out, index=False, float_format="%.4g")


def _try(run: Run, options: argparse.Namespace) -> dict[str, str | float]:
    p, data = run.parameters, workspace.dataset(run.parameters)
    network = p.network_of(options.network)
    tuning = network.tuning
    if options.body is not None:
        tuning = dataclasses.replace(tuning, factors={"head.*": 1.0, "*": options.body})
    if options.decay is not None:
        tuning = dataclasses.replace(tuning, weight_decay=options.decay)
    network = dataclasses.replace(network, tuning=tuning)
    workspace.frame_bank(p)  # decoded before the clock starts
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        trained = backbones.train_network(run, options.network, network, folder=Path(folder))
        seconds = time.process_time() - began
    last, best = trained.curves[-1], trained.curves[trained.epoch]
    return {
        "data": data.name,
        "split": run.split,
        "seed": run.seed,
        "network": options.network,
        "size": network.size,
        "begins": network.weights or "new",
        "input_size": p.input_size,
        "segments": p.segments,
        "batch_size": p.batch_size,
        "precision": p.precision,
        "epochs": network.epochs,
        "lr": network.lr,
        "below_classifier": tuning.factors.get("*", 1.0),
        "optimiser": tuning.optimiser,
        "weight_decay": tuning.weight_decay,
        "validation_clips": len(data.splits[run.split].validation),
        "train_accuracy": last["train_accuracy"],
        "validation_accuracy": last["validation_accuracy"],
        "validation_loss": last["validation_loss"],
        "best_validation_accuracy": best["validation_accuracy"],
        "best_epoch": trained.epoch + 1,
        "seconds": seconds,
        "threads": torch.get_num_threads(),
        "note": options.note,
    }


def _value(text: str) -> str | int | float | bool:
    try:
        return json.loads(text)
    except ValueError:
        return text


if __name__ == "__main__":
    main()
