"""What an early-exit executor takes beside the three bare networks, wherever the clips leave.

The floor is the time of the three bare networks to their ends, in one call each. For each batch size and kind of
classifiers it prints, as ratios to the floor, the time of the executor when all clips leave at a given exit, beside the
ratio of the multiply-accumulates. Where the clips leave is forced:
the weights of a prefix are 0, which is never sure, or so large that it always is. Random small networks, 3 segments at
96 x 96, one thread; medians over rounds, all systems in turn in each.

    python benchmarks/early_exit.py [--rounds 7]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from pkdlib.companion.presets import PLANS
from pkdlib.early_exit import policies, predictor
from pkdlib.early_exit.policies import Policy
from pkdlib.ensemble import wise
from pkdlib.models import backbones, cost, exit_heads
from pkdlib.models.backbones import CHANNELS, MODALITIES, NUM_EXITS

CLASSES, SEGMENTS, SIDE, CLIPS = 12, 3, 96, 32
ORDER = PLANS["coviar"].orders[0]
EXITS = NUM_EXITS * len(ORDER)
SURE = 1e6  # logits times this: one class has all the probability


def policy(leave: int) -> Policy:
    """Make a policy by which every clip leaves at one exit, counted from 0."""
    weights = tuple(np.full(k, SURE if k - 1 == leave else 0.0) for k in range(1, EXITS + 1))
    return Policy(order=ORDER, weights=weights, threshold=0.5)


def executor(nets, batch, leave: int) -> Callable[[], object]:
    """Make a call that classifies a batch and leaves at one exit."""
    chosen, count = policy(leave), len(batch["motion"])
    return lambda: policies.execute(
        nets, lambda m, left: batch[m] if len(left) == count else batch[m][left], count, chosen
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    bare = {m: backbones.backbone(modality=m, size="small", num_classes=CLASSES).eval() for m in MODALITIES}
    clips = {m: torch.randn(CLIPS, SEGMENTS, CHANNELS[m], SIDE, SIDE) for m in MODALITIES}
    for size in (1, 32):
        batches = [{m: clips[m][start : start + size] for m in MODALITIES} for start in range(0, CLIPS, size)]
        for kind in PLANS["coviar"].kinds:
            exits = {m: exit_heads.internal_classifiers(kind, backbone=b, num_classes=CLASSES) for m, b in bare.items()}
            nets = {m: predictor.assemble(backbone, exits[m]) for m, backbone in bare.items()}
            costs = {m: cost.exit_costs(net, clips[m][:1]) for m, net in nets.items()}
            paid = policies.cascade_costs({m: figures.cumulative for m, figures in costs.items()}, ORDER)
            whole = sum(figures.bare for figures in costs.values())
            measure(bare, nets, batches, paid / whole, f"batch {size}, {kind} classifiers", rounds)


@torch.no_grad()
def measure(bare, nets, batches, shares, name: str, rounds: int) -> None:
    """Time the floor and every exit in turn, and print the ratios of medians."""
    leaves = (0, NUM_EXITS - 1, NUM_EXITS, 2 * NUM_EXITS - 1, EXITS - 1)
    calls = {"floor": [lambda b=b: [net(b[m]) for m, net in bare.items()] for b in batches]}
    calls |= {leave: [executor(nets, batch, leave) for batch in batches] for leave in leaves}
    times: dict[object, list[float]] = {key: [] for key in calls}
    for _ in range(rounds + 1):  # the first warms up
        for key, each in calls.items():
            began = time.perf_counter()
            for call in each:
                call()
            times[key].append(time.perf_counter() - began)
    medians = {key: statistics.median(values[1:]) for key, values in times.items()}
    print(f"{name}: bare networks {1000 * medians['floor'] / CLIPS:.1f} ms a clip")
    for leave in leaves:
        exit_ = wise.visiting_order(ORDER)[leave]
        ratio = medians[leave] / medians["floor"]
        print(f"  all leave at {exit_:<11} {ratio:.2f} of the floor's time, {shares[leave]:.2f} of its GMAC")


if __name__ == "__main__":
    main()
