"""Products with curvature against dense float64 matrices by automatic differentiation of another kind."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pkdlib.flatness.objective import Objective
from pkdlib.flatness.operators import GaussNewton, Hessian, InputHessian
from tests.flatness.tiny import (
    dense_hessian,
    forward_mode,
    joined,
    logits_of,
    make_batches,
    make_network,
    make_objective,
)


def dense_gauss_newton(network, batches, prefix=""):
    logits, point = logits_of(network, batches, prefix)
    jacobian = torch.func.jacrev(logits)(point).detach()  # (N, classes, P)
    p = logits(point).detach().softmax(-1)
    curvature = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    return torch.einsum("ncp,ncd,ndq->pq", jacobian, curvature, jacobian) / len(p)


@forward_mode
@pytest.mark.parametrize("prefix", ["", "8", "3"])
@pytest.mark.parametrize(("operator", "dense"), [(Hessian, dense_hessian), (GaussNewton, dense_gauss_newton)])
def test_products_are_the_dense_matrix_whatever_the_batches(operator, dense, prefix):
    objective = make_objective([prefix] if prefix else None)
    product = operator(objective) @ torch.eye(objective.size, dtype=torch.float64)
    expected = dense(objective.model, objective.batches, prefix)
    torch.testing.assert_close(product, expected, rtol=1e-8, atol=1e-12)


def test_gauss_newton_is_the_hessian_of_a_linear_model():
    batches = [(x.flatten(1), y) for x, y in make_batches()]
    objective = Objective(nn.Linear(162, 3).double().eval(), batches)
    vector = torch.randn(objective.size, dtype=torch.float64)
    torch.testing.assert_close(GaussNewton(objective) @ vector, Hessian(objective) @ vector, rtol=1e-9, atol=1e-14)


class Pair(nn.Module):
    """Segments, and a tuple of two inputs."""

    def __init__(self):
        super().__init__()
        self.network = make_network()

    def forward(self, inputs):
        first, second = inputs
        return self.network((first + second**2).flatten(0, 1)).unflatten(0, first.shape[:2]).mean(1)


def make_pair():
    generator = torch.Generator().manual_seed(2)
    clips = torch.randn(4, 2, 2, 9, 9, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0])
    model = Pair().eval()
    whole = Objective(model, [((clips, clips + 1), labels)])
    halves = Objective(model, [((clips[:1], clips[:1] + 1), labels[:1]), ((clips[1:], clips[1:] + 1), labels[1:])])
    return whole, halves


@pytest.mark.parametrize("operator", [Hessian, GaussNewton])
def test_inputs_with_segments_and_tuples_of_inputs(operator):
    whole, halves = make_pair()
    vector = torch.randn(whole.size, dtype=torch.float64)
    torch.testing.assert_close(operator(halves) @ vector, operator(whole) @ vector, rtol=1e-9, atol=1e-14)


def dense_input_hessians(objective):
    """(N, D, D), of each sample's own loss by its own input."""
    inputs, labels = joined(objective.batches)

    def loss(flat, label):
        return nn.functional.cross_entropy(objective.model(flat.view(1, *inputs.shape[1:])), label[None])

    return [torch.func.hessian(loss)(x.flatten(), y).detach() for x, y in zip(inputs, labels, strict=True)]


@forward_mode
def test_input_hessian_is_block_diagonal_in_the_samples_own():
    objective = make_objective()
    operator = InputHessian(objective)
    blocks = [block / objective.num_samples for block in dense_input_hessians(objective)]
    for shape in [(operator.shape[0],), (operator.shape[0], 2)]:
        vector = torch.randn(shape, dtype=torch.float64)
        torch.testing.assert_close(operator @ vector, torch.block_diag(*blocks) @ vector, rtol=1e-8, atol=1e-13)


class Units(nn.Module):
    """A network that takes its inputs in another unit."""

    def __init__(self, network, unit):
        super().__init__()
        self.network, self.unit = network, unit

    def forward(self, inputs):
        return self.network(inputs * self.unit)


@pytest.mark.slow
@given(unit=st.floats(0.01, 100))
def test_curvature_per_deviation_does_not_change_with_the_inputs_unit(unit):
    objective = make_objective()
    deviation = torch.cat([x for x, _ in objective.batches]).std().item()
    others = [(x / unit, labels) for x, labels in objective.batches]
    changed = Objective(Units(objective.model, unit).eval(), others)
    vector = torch.randn(InputHessian(objective).shape[0], dtype=torch.float64)
    expected = deviation**2 * (InputHessian(objective) @ vector)
    for own, its_deviation in ((objective, deviation), (changed, deviation / unit)):
        torch.testing.assert_close(InputHessian(own, its_deviation) @ vector, expected, rtol=1e-6, atol=1e-12)


@forward_mode
def test_batch_norm_without_weights():
    network = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, affine=False), nn.Flatten(), nn.Linear(147, 3)
    ).double()
    network(make_batches()[1][0])
    objective = Objective(network.eval(), make_batches(), ["0"])
    expected = dense_hessian(network, objective.batches, "0")
    product = Hessian(objective) @ torch.eye(objective.size, dtype=torch.float64)
    torch.testing.assert_close(product, expected, rtol=1e-8, atol=1e-12)


@forward_mode
def test_input_hessian_of_a_tuple_of_inputs():
    _, halves = make_pair()
    (first, second), labels = halves.batches[0]
    operator = InputHessian(halves)
    assert operator.shape[0] == 4 * 2 * (2 * 2 * 9 * 9)

    def loss(flat):
        inputs = tuple(part.view_as(first) for part in flat.split(first.numel()))
        return nn.functional.cross_entropy(halves.model(inputs), labels)

    dense = torch.func.hessian(loss)(torch.cat([first.flatten(), second.flatten()]))
    vector = torch.randn(operator.shape[0], dtype=torch.float64)
    expected = dense @ vector[: len(dense)] / halves.num_samples
    torch.testing.assert_close((operator @ vector)[: len(dense)], expected, rtol=1e-8, atol=1e-13)


def test_float32_agrees_with_float64():
    objective = make_objective()
    vector = torch.randn(objective.size, dtype=torch.float64)
    single = Objective(make_network().float(), [(x.float(), y) for x, y in make_batches()])
    for operator in (Hessian, GaussNewton):
        exact = operator(objective) @ vector
        torch.testing.assert_close((operator(single) @ vector.float()).double(), exact, rtol=1e-3, atol=1e-5)
