"""A network small enough for dense float64 matrices of its curvature, and those matrices."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from pkdlib.flatness.objective import Objective

# torch's forward mode uses torch.jit.script, of which recent torch warns; the library keeps that to itself.
forward_mode = pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")


def make_network():
    """A tiny convolution and batch-norm network in float64, with the running statistics of some data."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(2, 3, 3, bias=False),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Conv2d(3, 4, 3, stride=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    ).double()
    for _ in range(5):
        network(torch.randn(8, 2, 9, 9, dtype=torch.float64) * 2 + 1)
    return network.eval()


def make_batches(sizes=(3, 7, 2)):
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(n, 2, 9, 9, generator=generator, dtype=torch.float64),
            torch.randint(0, 3, (n,), generator=generator),
        )
        for n in sizes
    ]


def make_objective(parameters=None):
    return Objective(make_network(), make_batches(), parameters)


def rescale(network, factor=3.0):
    """Multiply the first batch norm's output and divide the next convolution's weights: the same function."""
    with torch.no_grad():
        network[1].weight *= factor
        network[1].bias *= factor
        network[3].weight /= factor
    return network


def joined(batches):
    return tuple(torch.cat(parts) for parts in zip(*batches, strict=True))


def logits_of(network, batches, prefix=""):
    """All samples' logits as a function of the flat parameters whose names begin so; and these parameters."""
    inputs, _ = joined(batches)
    chosen = {n: p.detach() for n, p in network.named_parameters() if n.startswith(prefix)}
    shapes = [p.shape for p in chosen.values()]

    def logits(flat):
        parts = flat.split([s.numel() for s in shapes])
        values = {n: part.view(s) for n, part, s in zip(chosen, parts, shapes, strict=True)}
        return functional_call(network, values, (inputs,))

    return logits, torch.cat([p.flatten() for p in chosen.values()])


def dense_hessian(network, batches, prefix=""):
    """The Hessian of the mean loss over all samples at once, as a matrix, by torch.func (forward over reverse)."""
    _, labels = joined(batches)
    logits, point = logits_of(network, batches, prefix)
    return torch.func.hessian(lambda flat: nn.functional.cross_entropy(logits(flat), labels))(point).detach()


def dense_gradient(network, batches):
    _, labels = joined(batches)
    logits, point = logits_of(network, batches)
    return torch.func.grad(lambda flat: nn.functional.cross_entropy(logits(flat), labels))(point).detach()


def known_matrix(spectrum, seed=0):
    """A symmetric matrix with these eigenvalues and random eigenvectors."""
    generator = torch.Generator().manual_seed(seed)
    size = len(spectrum)
    turn, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    matrix = turn @ torch.diag(torch.as_tensor(spectrum, dtype=torch.float64)) @ turn.T
    return (matrix + matrix.T) / 2
