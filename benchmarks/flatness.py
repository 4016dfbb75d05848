"""What each measure of flatness costs, in units of one gradient pass over the same samples.

Run as `python benchmarks/flatness.py [--threads N] [--clips N]`. The network is the small backbone of the study on
clips of 3 segments of 96 x 96, trained for a few epochs on noisy class patterns, so that its Hessian has the outliers
of a classifier's. Where PyHessian is installed (`pip install pyhessian==0.1`), it is measured on the same network and
clips.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from pkdlib.flatness import landscape, sharpness, spectra, traces
from pkdlib.flatness.objective import Batch, Objective
from pkdlib.flatness.operators import GaussNewton, Hessian, InputHessian
from pkdlib.models import backbones

CLASSES = 12
SEGMENTS = 3
SIDE = 96
BATCH = 16
REPEATS = 7
PRODUCT_LIMIT = 3.0  # gradient passes
SECONDS_LIMIT = 180.0  # for trace and top eigenvalue together


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clips", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=4)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    network = backbones.backbone(modality="iframe", size="small", num_classes=CLASSES)
    batches = make_clips(arguments.clips)
    train(network, batches, arguments.epochs)
    objective = Objective(network, batches)
    print(f"{objective.size} parameters, {arguments.clips} clips of {SEGMENTS} x 3 x {SIDE} x {SIDE}, ", end="")
    print(f"{arguments.threads} threads; training loss {objective.loss():.3f}\n")

    print("one product over a batch (interleaved medians)")
    ratio = products(Objective(network, batches[:1]))
    started = time.perf_counter()
    objective.loss_and_gradient(objective.point())
    gradient = time.perf_counter() - started
    print(f"\neach measure over all clips; one gradient pass is {gradient:.2f} s")
    seconds = measures(objective, gradient)
    pyhessian(objective, gradient)
    print(f"\nHessian-vector product: {ratio:.2f} gradients (limit {PRODUCT_LIMIT:g})")
    print(f"trace to 5 % (XTrace) and top eigenvalue to 1 %: {seconds:.0f} s (limit {SECONDS_LIMIT:g} s)")


def products(objective: Objective) -> float:
    """Time products with each operator against a gradient pass; give the Hessian's ratio, as the trace uses it."""
    hessian, gauss_newton, inputs = Hessian(objective), GaussNewton(objective), InputHessian(objective)
    point, vectors = objective.point(), torch.randn(objective.size, traces.BLOCK)
    one, pixels = vectors[:, 0].contiguous(), torch.randn(inputs.shape[0])
    gradient, *medians = interleaved(
        lambda: objective.loss_and_gradient(point),
        lambda: hessian @ one,
        lambda: hessian @ vectors,
        lambda: gauss_newton @ one,
        lambda: inputs @ pixels,
    )
    medians[1] /= traces.BLOCK
    names = ("Hessian, a vector alone", f"Hessian, {traces.BLOCK} together, each", "Gauss-Newton", "input Hessian")
    print(f"  {'gradient':<34} {gradient:7.3f} s")
    for name, median in zip(names, medians, strict=True):
        print(f"  {name:<34} {median:7.3f} s = {median / gradient:.2f} gradients")
    return medians[1] / gradient


def measures(objective: Objective, gradient: float) -> float:
    """Time each measure once; give the seconds of XTrace and the top eigenvalue together."""
    hessian, inputs = Hessian(objective), InputHessian(objective)
    to_target = {"target": 0.05, "floor": 0, "max_probes": 500, "seed": 0}
    limits = {"tolerance": 0.01, "max_iterations": 100, "seed": 0}
    trace = report("trace to 5 %, XTrace", lambda: traces.xtrace(hessian, **to_target), gradient)
    top = report("top eigenvalue to 1 %", lambda: spectra.lanczos_eigenvalues(hessian, k=1, **limits)[0], gradient)
    report("trace to 5 %, Hutchinson", lambda: traces.hutchinson_trace(hessian, **to_target), gradient)
    report("Gauss-Newton trace to 5 %", lambda: traces.hutchinson_trace(GaussNewton(objective), **to_target), gradient)
    report(
        "spectral density, 20 steps, 2 probes",
        lambda: spectra.lanczos_quadrature(hessian, steps=20, probes=2, seed=0).moment(1),
        gradient,
    )
    report("input trace to 5 %", lambda: traces.hutchinson_trace(inputs, **to_target), gradient)
    report("mean top input eigenvalue to 1 %", lambda: spectra.mean_top_eigenvalue(inputs, **limits), gradient)
    report("average sharpness, radius 0.05", lambda: sharpness.average_sharpness(objective, radius=0.05), gradient)
    report("worst sharpness, 20 steps", lambda: sharpness.worst_sharpness(objective, radius=0.5), gradient)
    report("Fisher-Rao norm", lambda: sharpness.fisher_rao_norm(objective), gradient)
    positions = [x / 10 for x in range(-5, 6)]
    report("slice, 11 points", lambda: landscape.slices(objective, positions, directions=1).max(), gradient)
    return trace + top


def pyhessian(objective: Objective, gradient: float) -> None:
    """Do the same with PyHessian, where it is installed."""
    try:
        from pyhessian import hessian
    except ImportError:
        print("  PyHessian is not installed: not compared")
        return
    other = hessian(objective.model, nn.CrossEntropyLoss(), dataloader=objective.batches, cuda=False)
    # Its own stop looks at how the running mean changes, not at an error: so give it a number of probes.
    report("PyHessian: trace, 10 probes", lambda: sum(other.trace(maxIter=10, tol=0)) / 10, gradient)
    report("PyHessian: top eigenvalue to 1 %", lambda: other.eigenvalues(tol=0.01)[0], gradient)
    ours = Hessian(objective)
    report(
        "pkdlib: trace, 10 probes",
        lambda: traces.hutchinson_trace(ours, target=0, floor=0, max_probes=10, seed=0),
        gradient,
    )
    report(
        "pkdlib: top eigenvalue to 1 %",
        lambda: spectra.lanczos_eigenvalues(ours, k=1, tolerance=0.01, max_iterations=100, seed=0),
        gradient,
    )


def report(name: str, measure: Callable[[], Any], gradient: float) -> float:
    """Time a measure once and print it."""
    started = time.perf_counter()
    found = measure()
    seconds = time.perf_counter() - started
    print(f"  {name:<38} {seconds:7.1f} s = {seconds / gradient:4.0f} gradients: {found}", flush=True)
    return seconds


def interleaved(*functions: Callable[[], Any]) -> list[float]:
    """Time functions in turn, so that a slow spell of the machine meets all; the median of each."""
    seconds: list[list[float]] = [[] for _ in functions]
    for repeat in range(REPEATS + 1):
        for function, times in zip(functions, seconds, strict=True):
            started = time.perf_counter()
            function()
            if repeat:  # the first round warms up
                times.append(time.perf_counter() - started)
    return [statistics.median(times) for times in seconds]


def make_clips(count: int) -> list[Batch]:
    """Draw one pattern a class and add noise."""
    patterns = torch.randn(CLASSES, SEGMENTS, 3, SIDE, SIDE)
    labels = torch.arange(count) % CLASSES
    inputs = patterns[labels] + 2 * torch.randn(count, SEGMENTS, 3, SIDE, SIDE)
    return list(zip(inputs.split(BATCH), labels.split(BATCH), strict=True))


def train(network: nn.Module, batches: list[Batch], epochs: int) -> None:
    """Bring the loss down some way."""
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    network.train()
    for _ in range(epochs):
        for inputs, labels in batches:
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(inputs), labels).backward()
            optimiser.step()
    network.eval()


if __name__ == "__main__":
    main()
