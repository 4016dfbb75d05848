"""What training all methods' internal classifiers in one pass costs, against training each alone.

Prints, for each kind, the time of a step with every trial as a share of the summed times of steps with a single trial
each, which computes its student's network and that of its present teacher only. Random small networks, 3 segments at
96 x 96, one thread; median of several rounds, interleaved.

    python benchmarks/distillation.py [--rounds 5]
"""

import argparse
import statistics
import time

import torch

from pkdlib.distillation import exit_training, schedules, specs
from pkdlib.models import backbones as networks
from pkdlib.models.backbones import CHANNELS, MODALITIES

CLASSES, CLIPS, SEGMENTS, SIDE = 12, 8, 3, 96
PROGRESS = 0.5  # of the training: each schedule is at its last stage


def step(backbones, groups, optimisers, batch, labels) -> None:
    """Make one step of training."""
    features, finals = exit_training.frozen_pass(backbones, batch)
    for group, optimiser in zip(groups, optimisers, strict=True):
        loss = group.losses(features, finals, labels, PROGRESS, SEGMENTS, schedules.METHODS, 1.0).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def needed(trial) -> set[str]:
    """Name the networks that a trial computes: its student's, and its present teacher's if that is another."""
    teacher = schedules.teacher_at(schedules.METHODS[trial.method].stages, PROGRESS)
    return {trial.modality, teacher} & set(MODALITIES)


def seconds(backbones, wanted, batch, labels) -> float:
    """Time one step with these trials, after one to warm up."""
    groups = exit_training.stacked(backbones, wanted, num_classes=CLASSES, segments=SEGMENTS, seed=0)
    optimisers = [torch.optim.Adam(group.parameters(), eps=1e-3) for group in groups]
    used = set().union(*map(needed, wanted))
    nets = {name: net for name, net in backbones.items() if name in used}
    step(nets, groups, optimisers, batch, labels)
    began = time.perf_counter()
    step(nets, groups, optimisers, batch, labels)
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    backbones = {m: networks.backbone(modality=m, size="small", num_classes=CLASSES).eval() for m in MODALITIES}
    for backbone in backbones.values():
        backbone.requires_grad_(False)
    batch = {m: torch.randn(CLIPS, SEGMENTS, CHANNELS[m], SIDE, SIDE) for m in MODALITIES}
    labels = torch.eye(CLASSES)[:CLIPS]
    for kind in ("light", "paper"):
        wanted = specs.exit_specs(kind, schedules.METHODS)
        ratios = []
        for _ in range(rounds):
            together = seconds(backbones, wanted, batch, labels)
            ratios.append(together / sum(seconds(backbones, [trial], batch, labels) for trial in wanted))
        print(f"{kind}: {len(wanted)} trainings in one pass take {100 * statistics.median(ratios):.0f} % of each alone")


if __name__ == "__main__":
    main()
