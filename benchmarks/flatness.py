"""What curvature costs, in units of one gradient pass over the same samples.

Run as `python benchmarks/flatness.py [--threads N] [--samples N]`. The network is a small residual one,
trained for a few steps on noisy class patterns, so that its Hessian has the outliers of a classifier's.
"""

import argparse
import statistics
import time

import torch
from torch import nn

from pkdlib import flatness

CLASSES = 12
SIDE = 32
BATCH = 32
REPEATS = 7


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--samples", type=int, default=128)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    network = make_network()
    batches = make_samples(arguments.samples)
    train(network, batches)
    size = sum(p.numel() for p in network.parameters())
    print(f"{size} parameters, {arguments.samples} samples of 3x{SIDE}x{SIDE}, {arguments.threads} threads")
    print(f"training loss {flatness.loss(network, batches):.3f}")

    with flatness.hessian(network, batches) as operator:
        vector = torch.randn(size)
        gradient_seconds, product_seconds = interleaved(lambda: gradient(network, batches), lambda: operator @ vector)
    print(f"one gradient pass         {gradient_seconds:7.3f} s")
    ratio = product_seconds / gradient_seconds
    print(f"Hessian-vector product    {product_seconds:7.3f} s = {ratio:.2f} gradients")
    for name, measure in [
        ("trace to 5 %", lambda: flatness.trace(network, batches, target=0.05, floor=0, max_probes=1000)),
        ("top eigenvalue to 1 %", lambda: flatness.top_eigenvalues(network, batches, tolerance=0.01)[0]),
    ]:
        started = time.perf_counter()
        found = measure()
        seconds = time.perf_counter() - started
        print(f"{name:<25} {seconds:7.1f} s = {seconds / gradient_seconds:.0f} gradients: {found}")


def interleaved(first, second) -> tuple[float, float]:
    """Time two functions in turn, so that a slow spell of the machine meets both; the median of each."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for repeat in range(REPEATS + 1):
        for function, times in zip((first, second), seconds, strict=True):
            started = time.perf_counter()
            function()
            if repeat:  # the first round warms up
                times.append(time.perf_counter() - started)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def gradient(network: nn.Module, batches: list[flatness.Batch]) -> None:
    """Take the gradient of the loss over all samples, batch by batch."""
    parameters = list(network.parameters())
    for inputs, labels in batches:
        torch.autograd.grad(nn.functional.cross_entropy(network(inputs), labels), parameters)


def make_samples(count: int) -> list[flatness.Batch]:
    """Draw one pattern a class and add noise."""
    patterns = torch.randn(CLASSES, 3, SIDE, SIDE)
    labels = torch.arange(count) % CLASSES
    inputs = patterns[labels] + 2 * torch.randn(count, 3, SIDE, SIDE)
    return list(zip(inputs.split(BATCH), labels.split(BATCH), strict=True))


def train(network: nn.Module, batches: list[flatness.Batch], epochs: int = 10) -> None:
    """Bring the loss down some way."""
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    network.train()
    for _ in range(epochs):
        for inputs, labels in batches:
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(inputs), labels).backward()
            optimiser.step()
    network.eval()


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut, as in ResNet-18."""

    def __init__(self, channels: int, filters: int, stride: int):
        """Map (batch, channels, H, W) to (batch, filters, H / stride, W / stride)."""
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(filters),
            nn.ReLU(),
            nn.Conv2d(filters, filters, 3, padding=1, bias=False),
            nn.BatchNorm2d(filters),
        )
        self.shortcut = nn.Sequential(nn.Conv2d(channels, filters, 1, stride, bias=False), nn.BatchNorm2d(filters))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the shortcut to the body."""
        return torch.relu(self.body(x) + self.shortcut(x))


def make_network() -> nn.Sequential:
    """Put together a stem, four residual stages and a linear head."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=2, padding=2, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        ResidualBlock(16, 16, 1),
        ResidualBlock(16, 32, 2),
        ResidualBlock(32, 64, 2),
        ResidualBlock(64, 128, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, CLASSES),
    )


if __name__ == "__main__":
    main()
