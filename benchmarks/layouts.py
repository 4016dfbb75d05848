"""How long a training step takes with kernels channels last, as `devices.place` lays them out, against torch's own way.

Run as `python benchmarks/layouts.py [--threads N]`, on a processor. Steps of both take turns.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from pkdlib.models import backbones
from pkdlib.training import devices

CLASSES, SEGMENTS = 12, 3
# Size -> clips a batch, and the side of their frames.
INPUTS = {"small": (8, 96), "small-mix": (8, 96), "paper": (2, 112), "lite": (2, 112)}
WARM_UP, TURNS = 3, 15


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"a training step's milliseconds, medians of {TURNS} in turns, {arguments.threads} threads\n")
    print(f"{'size':<10} {'modality':<9} {'contiguous':>10} {'channels last':>14} {'ratio':>6}")
    for size in INPUTS:
        for modality in backbones.MODALITIES if size != "lite" else ("iframe",):
            contiguous, placed = measured(size, modality)
            print(f"{size:<10} {modality:<9} {contiguous:10.1f} {placed:14.1f} {placed / contiguous:6.2f}", flush=True)


def measured(size: str, modality: str) -> tuple[float, float]:
    """Time steps of one network both ways, in turns; give the medians in milliseconds."""
    torch.manual_seed(0)
    network = backbones.backbone(modality=modality, size=size, num_classes=CLASSES).train()
    batch, side = INPUTS[size]
    clips = torch.randn(batch, SEGMENTS, backbones.CHANNELS[modality], side, side)
    labels = torch.arange(batch) % CLASSES
    placed = devices.place(copy.deepcopy(network), "cpu")
    steps = [step(own, clips, labels) for own in (network, placed)]
    times: list[list[float]] = [[], []]
    for turn in range(WARM_UP + TURNS):
        for own, taken in zip(steps, times, strict=True):
            started = time.perf_counter()
            own()
            if turn >= WARM_UP:
                taken.append(1e3 * (time.perf_counter() - started))
    contiguous, channels_last = map(statistics.median, times)
    return contiguous, channels_last


def step(network: nn.Module, clips: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    """Make a function that trains the network by one step."""
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)

    def train() -> None:
        functional.cross_entropy(network(clips), labels).backward()
        optimiser.step()
        optimiser.zero_grad()

    return train


if __name__ == "__main__":
    main()
