"""Curvature against dense float64 Hessians, closed forms and matrices of known spectrum."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from pkdlib import flatness


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
    return network


def make_batches(sizes=(3, 7, 2)):
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(n, 2, 9, 9, generator=generator, dtype=torch.float64),
            torch.randint(0, 3, (n,), generator=generator),
        )
        for n in sizes
    ]


# torch's forward mode uses torch.jit.script, of which recent torch warns; the library's reverse mode does not.
forward_mode = pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")


def dense_hessian(network, batches, prefix=""):
    """The Hessian of the mean loss over all samples at once, as a matrix, by torch.func (forward over reverse)."""
    inputs, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    chosen = {n: p.detach() for n, p in network.named_parameters() if n.startswith(prefix)}
    shapes = [p.shape for p in chosen.values()]

    def objective(flat):
        parts = flat.split([s.numel() for s in shapes])
        values = {n: part.view(s) for n, part, s in zip(chosen, parts, shapes, strict=True)}
        return nn.functional.cross_entropy(functional_call(network, values, (inputs,)), labels)

    was_training = network.training
    network.eval()
    matrix = torch.func.hessian(objective)(torch.cat([p.flatten() for p in chosen.values()]))
    network.train(was_training)
    return matrix.detach()


@forward_mode
@pytest.mark.parametrize("prefix", ["", "8", "3"])
def test_top_eigenvalues_match_the_dense_hessian(prefix):
    network, batches = make_network(), make_batches()
    expected = torch.linalg.eigvalsh(dense_hessian(network, batches, prefix)).flip(0)[:3]
    found = flatness.top_eigenvalues(network, batches, k=3, parameters=[prefix] if prefix else None, tolerance=1e-7)
    assert [e.value for e in found] == pytest.approx(expected.tolist(), rel=1e-9)
    assert all(e.converged and e.residual <= 1e-7 * e.value for e in found)


@forward_mode
def test_operator_is_the_dense_hessian_whatever_the_batches():
    network = make_network()
    batches = make_batches()
    expected = dense_hessian(network, batches)
    with flatness.hessian(network, batches) as operator:
        product = operator @ torch.eye(operator.shape[0], dtype=torch.float64)
    torch.testing.assert_close(product, expected, rtol=1e-8, atol=1e-12)


@forward_mode
def test_residual_bounds_the_error():
    network, batches = make_network(), make_batches()
    spectrum = torch.linalg.eigvalsh(dense_hessian(network, batches)).numpy()
    for tolerance in (0.3, 0.1, 0.01):
        (found,) = flatness.top_eigenvalues(network, batches, tolerance=tolerance)
        assert np.abs(spectrum - found.value).min() <= found.residual + 1e-12
        assert found.residual <= tolerance * found.value
    assert found.value == pytest.approx(spectrum[-1], rel=0.01)


@forward_mode
@pytest.mark.parametrize("prefix", ["", "8"])
def test_trace_matches_the_dense_hessian(prefix):
    network, batches = make_network(), make_batches()
    expected = float(dense_hessian(network, batches, prefix).trace())
    found = flatness.trace(
        network, batches, parameters=[prefix] if prefix else None, target=0.1, floor=0, max_probes=1000
    )
    assert found.converged
    assert found.standard_error <= 0.1 * abs(found.value)
    assert abs(found.value - expected) < 3.5 * found.standard_error


def test_closed_form_of_a_linear_model_at_zero():
    # There p = 1/C for each class, so H = (I/C - 11'/C^2) kron X'X/N: eigenvalues 1/C times those of X'X/N.
    classes, features = 4, 3
    x = torch.randn(20, features, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    y = torch.arange(20) % classes
    model = nn.Linear(features, classes, bias=False).double()
    nn.init.zeros_(model.weight)
    covariance = x.T @ x / len(x)
    batches = [(x[:5], y[:5]), (x[5:], y[5:])]
    (top,) = flatness.top_eigenvalues(model, batches, tolerance=1e-8)
    assert top.value == pytest.approx(float(torch.linalg.eigvalsh(covariance)[-1]) / classes, rel=1e-10)
    found = flatness.trace(model, batches, target=0.02, floor=0, max_probes=2000)
    expected = (classes - 1) / classes * float(covariance.trace())
    assert abs(found.value - expected) < 3.5 * found.standard_error
    assert flatness.loss(model, batches) == pytest.approx(math.log(classes), rel=1e-12)


def known_matrix(spectrum, seed=0):
    generator = torch.Generator().manual_seed(seed)
    size = len(spectrum)
    turn, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    matrix = turn @ torch.diag(torch.tensor(spectrum, dtype=torch.float64)) @ turn.T
    return (matrix + matrix.T) / 2


def test_eigenvalues_of_a_known_spectrum():
    spectrum = [-50.0, *np.linspace(-1, 1, 60), 7.0, 9.0, 30.0]
    found = flatness.lanczos_eigenvalues(known_matrix(spectrum), k=3, tolerance=1e-9, max_iterations=64, seed=0)
    assert [e.value for e in found] == pytest.approx([30, 9, 7], rel=1e-9)


@pytest.mark.parametrize(("spectrum", "k"), [([2.0] * 6, 3), ([0.0] * 5, 1), ([5.0, 0, 0, 0, 0, 0, 0], 1)])
def test_eigenvalues_of_degenerate_matrices(spectrum, k):
    found = flatness.lanczos_eigenvalues(known_matrix(spectrum), k=k, tolerance=1e-6, max_iterations=50, seed=0)
    assert [e.value for e in found] == pytest.approx(sorted(spectrum, reverse=True)[:k], abs=1e-9)


def test_unfinished_lanczos_says_so():
    matrix = known_matrix(list(np.linspace(0.9, 1, 200)))
    (found,) = flatness.lanczos_eigenvalues(matrix, k=1, tolerance=1e-8, max_iterations=3, seed=0)
    assert not found.converged
    assert found.iterations == 3
    assert found.residual > 1e-8


def test_trace_of_a_diagonal_needs_no_more_than_the_fewest_probes():
    # z_i^2 = 1, so Rademacher probes are exact on diagonal matrices.
    matrix = torch.diag(torch.arange(6.0, dtype=torch.float64))
    found = flatness.hutchinson_trace(matrix, target=0.05, floor=0, max_probes=100, seed=0)
    assert found == flatness.Estimate(15.0, 0.0, flatness.FEWEST_PROBES, True)


def test_stated_standard_error_covers_the_truth():
    matrix = known_matrix([*np.linspace(0, 1, 50), 10.0, 20.0, 40.0])
    truth = float(matrix.trace())
    runs = [flatness.hutchinson_trace(matrix, target=0.05, floor=0, max_probes=1000, seed=seed) for seed in range(200)]
    assert all(r.converged and r.standard_error <= 0.05 * r.value for r in runs)
    scores = np.array([(r.value - truth) / r.standard_error for r in runs])
    assert np.mean(np.abs(scores) < 1.96) > 0.88  # 0.95 less 4 standard deviations of this share
    assert np.std([r.value for r in runs]) == pytest.approx(0.05 * truth, rel=0.25)


def test_trace_stops_at_the_floor_or_at_the_cap():
    matrix = known_matrix(list(np.linspace(-1, 1, 40)))  # a trace of zero: no relative target can be met
    stopped = flatness.hutchinson_trace(matrix, target=0.05, floor=0.5, max_probes=1000, seed=0)
    assert stopped.converged
    assert stopped.standard_error <= 0.5
    capped = flatness.hutchinson_trace(matrix, target=1e-9, floor=0, max_probes=12, seed=0)
    assert not capped.converged
    assert capped.probes == 12


def test_deterministic_in_the_seed():
    network, batches = make_network(), make_batches()

    def measure(seed):
        top = flatness.top_eigenvalues(network, batches, seed=seed, parameters=["8"], max_iterations=3)
        return top, flatness.trace(network, batches, seed=seed, parameters=["8"], max_probes=12)

    torch.manual_seed(5)
    first = measure(1)
    torch.manual_seed(6)
    assert measure(1) == first
    assert measure(2) != first


@pytest.mark.parametrize("measure", [flatness.trace, flatness.top_eigenvalues, flatness.loss])
def test_network_is_left_as_it_was(measure):
    network = make_network().train()
    network[1].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    measure(network, make_batches((4,)))
    assert network.training
    assert [part.training for part in network][:3] == [True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


def test_loss_is_the_mean_over_samples():
    network = make_network().eval()
    batches = make_batches((1, 6, 2))
    inputs, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    together = nn.functional.cross_entropy(network(inputs), labels).item()
    assert flatness.loss(network, batches) == pytest.approx(together, rel=1e-12)
    assert flatness.loss(network, [(inputs, labels)]) == pytest.approx(together, rel=1e-12)


def test_inputs_with_segments_and_tuples_of_inputs():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = make_network()

        def forward(self, inputs):
            first, second = inputs
            return self.network((first + second).flatten(0, 1)).unflatten(0, first.shape[:2]).mean(1)

    clips = torch.randn(4, 2, 2, 9, 9, dtype=torch.float64)  # batch, segments, channels, height, width
    labels = torch.tensor([0, 1, 2, 0])
    model = Pair()
    (whole,) = flatness.top_eigenvalues(model, [((clips, clips), labels)], tolerance=1e-6)
    halves = [((clips[:1], clips[:1]), labels[:1]), ((clips[1:], clips[1:]), labels[1:])]
    (split,) = flatness.top_eigenvalues(model, halves, tolerance=1e-6)
    assert split.value == pytest.approx(whole.value, rel=1e-8)


def test_float32_agrees_with_float64():
    network, batches = make_network(), make_batches()
    (exact,) = flatness.top_eigenvalues(network, batches, tolerance=1e-6)
    (single,) = flatness.top_eigenvalues(network.float(), [(x.float(), y) for x, y in batches], tolerance=1e-3)
    assert single.value == pytest.approx(exact.value, rel=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu():
    network, batches = make_network(), make_batches()
    on_cpu = flatness.trace(network, batches, max_probes=20)
    on_cuda = flatness.trace(network.cuda(), batches, max_probes=20)
    assert on_cuda.value == pytest.approx(on_cpu.value, rel=1e-8)


def test_parts_are_named_by_whole_components():
    network = nn.Sequential()
    network.add_module("head", nn.Linear(162, 3))
    network.add_module("header", nn.Linear(3, 3))
    batches = [(x.flatten(1), y) for x, y in make_batches((4,))]
    network.double()
    with flatness.hessian(network, batches, ["head"]) as operator:
        assert operator.shape[0] == 162 * 3 + 3
    with flatness.hessian(network, batches, ["head.bias", "header"]) as operator:
        assert operator.shape[0] == 3 + 9 + 3
    with flatness.hessian(network, batches, ["header", "header.bias"]) as operator:
        assert operator.shape[0] == 9 + 3


@pytest.mark.parametrize("measure", [flatness.trace, flatness.top_eigenvalues])
class TestBadInput:
    def test_no_samples(self, measure):
        with pytest.raises(ValueError, match="no samples"):
            measure(make_network(), [])

    def test_unknown_part(self, measure):
        with pytest.raises(ValueError, match=r"none at 'haed'.*top-level parts: 0, 1, 3"):
            measure(make_network(), make_batches(), parameters=["haed"])

    def test_no_parameters(self, measure):
        with pytest.raises(ValueError, match="no parameters"):
            measure(make_network(), make_batches(), parameters=[])

    def test_frozen_parameters(self, measure):
        network = make_network()
        network[0].requires_grad_(False)
        with pytest.raises(ValueError, match=r"1 of 9 parameters take no gradient \(the first: '0.weight'\)"):
            measure(network, make_batches())
        assert measure(network, make_batches(), parameters=["8"])

    def test_parameters_without_effect(self, measure):
        network = make_network()
        network[1].unused = nn.Linear(2, 2)
        with pytest.raises(ValueError, match=r"depend on 2 of 11 parameters \(the first: '1.unused.weight'\)"):
            measure(network, make_batches())

    def test_loss_not_finite(self, measure):
        network = make_network()
        with torch.no_grad():
            network[8].bias[0] = math.nan
        with pytest.raises(ValueError, match="loss on these samples is nan"):
            measure(network, make_batches())

    def test_too_few_products(self, measure):
        limits = {"max_probes": 1} if measure is flatness.trace else {"max_iterations": 2, "k": 3}
        with pytest.raises(ValueError, match=r"max_probes is 1|k is 3"):
            measure(make_network(), make_batches(), **limits)
