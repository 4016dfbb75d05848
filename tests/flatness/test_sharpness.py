"""Scale-aware sharpness against second-order truths, and its invariance that the plain trace lacks."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from pkdlib.flatness.objective import Objective
from pkdlib.flatness.sharpness import average_sharpness, fisher_rao_norm, worst_sharpness
from tests.flatness.tiny import (
    dense_gradient,
    dense_hessian,
    forward_mode,
    logits_of,
    make_batches,
    make_network,
    make_objective,
    rescale,
)

SMALL = 1e-4


def quadratic(objective):
    """Gradient and Hessian by e, where the parameters are theta + |theta| * e."""
    scale = objective.point().abs()
    gradient = scale * dense_gradient(objective.model, objective.batches)
    hessian = scale[:, None] * dense_hessian(objective.model, objective.batches) * scale
    return gradient.numpy(), hessian.numpy()


@forward_mode
def test_average_to_second_order():
    objective = make_objective()
    _, hessian = quadratic(objective)
    found = average_sharpness(objective, radius=SMALL, target=0.05, floor=0, max_probes=3000)
    assert found.converged
    assert abs(found.value - SMALL**2 / 2 * np.trace(hessian)) < 3.5 * found.standard_error


def test_stated_standard_error_of_the_average_is_that_of_many_seeds():
    objective = make_objective(["8"])
    runs = [average_sharpness(objective, radius=0.5, target=0, floor=0, max_probes=20, seed=seed) for seed in range(60)]
    values, stated = np.array([(r.value, r.standard_error) for r in runs]).T
    assert values.std() == pytest.approx(np.sqrt((stated**2).mean()), rel=0.3)


def ball_maximum(gradient, hessian, radius):
    """max of g'e + e'He / 2 over |e| <= radius on its boundary: (mu - H) e = g with mu >= lambda_max, by bisection."""
    values, vectors = np.linalg.eigh(hessian)
    g = vectors.T @ gradient
    low, high = max(values[-1], 0) + 1e-12, values[-1] + np.linalg.norm(g) / radius + 1
    for _ in range(200):
        mu = (low + high) / 2
        low, high = (mu, high) if np.linalg.norm(g / (mu - values)) > radius else (low, mu)
    e = g / (high - values)
    return g @ e + e @ (values * e) / 2


@forward_mode
@pytest.mark.parametrize("radius", [3e-4, 3e-3])
def test_worst_case_is_the_maximum_over_the_ball(radius):
    objective = make_objective()
    gradient, hessian = quadratic(objective)
    expected = ball_maximum(gradient, hessian, radius)
    assert worst_sharpness(objective, radius=radius, steps=30) == pytest.approx(expected, rel=0.01)


def test_worst_case_of_one_step_is_near_asams():
    objective, radius = make_objective(), 1e-3
    scale = objective.point().abs()
    _, gradient = objective.loss_and_gradient(objective.point())
    move = radius * scale**2 * gradient / (scale * gradient).norm()
    expected = objective.loss(objective.point() + move) - objective.loss()
    assert worst_sharpness(objective, radius=radius, steps=1) == pytest.approx(expected, rel=0.02)


def test_worst_case_is_above_any_random_displacement_and_grows_with_the_ball():
    objective = make_objective()
    rises = [worst_sharpness(objective, radius=radius) for radius in (0.1, 0.5, 1.0)]
    assert rises == sorted(rises)
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        e = torch.randn(objective.size, generator=generator, dtype=torch.float64)
        point = objective.point() + 0.5 / e.norm() * e * objective.point().abs()
        assert objective.loss(point) - objective.loss() < rises[1]


@forward_mode
def test_fisher_rao_norm_is_the_expected_squared_score_along_the_weights():
    network, batches = make_network(), make_batches()
    logits, point = logits_of(network, batches)
    log_p = torch.log_softmax(logits(point), -1)
    scores = torch.func.jacrev(lambda flat: torch.log_softmax(logits(flat), -1))(point) @ point  # (N, classes)
    expected = float((log_p.exp() * scores**2).sum(-1).mean().detach())
    assert fisher_rao_norm(Objective(network, batches)) ** 2 == pytest.approx(expected, rel=1e-9)


def test_fisher_rao_norm_of_a_linear_model_in_closed_form():
    # Two classes of opposite weights w and -w: the norm is the root of the mean of 4 p (1 - p) (w'x)^2.
    model = nn.Linear(3, 2, bias=False).double().eval()
    with torch.no_grad():
        model.weight[1] = -model.weight[0]
    x = torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    z = (x @ model.weight[0]).detach()
    p = torch.sigmoid(2 * z)
    expected = math.sqrt(float((4 * p * (1 - p) * z**2).mean()))
    found = fisher_rao_norm(Objective(model, [(x, torch.zeros(8, dtype=torch.int64))]))
    assert found == pytest.approx(expected, rel=1e-10)


@forward_mode
def test_rescaling_of_relu_layers_changes_the_trace_but_not_these():
    plain, rescaled = make_objective(), Objective(rescale(make_network()), make_batches())
    assert rescaled.loss() == pytest.approx(plain.loss(), rel=1e-12)
    traces = [float(dense_hessian(o.model, o.batches).trace()) for o in (plain, rescaled)]
    assert traces[1] > 1.5 * traces[0]
    assert fisher_rao_norm(rescaled) == pytest.approx(fisher_rao_norm(plain), rel=1e-10)
    averages = [average_sharpness(o, radius=0.2, max_probes=15) for o in (plain, rescaled)]
    assert averages[1].value == pytest.approx(averages[0].value, rel=1e-9)
    worst = [worst_sharpness(o, radius=0.2, steps=5) for o in (plain, rescaled)]
    assert worst[1] == pytest.approx(worst[0], rel=1e-9)


@pytest.mark.parametrize("measure", [average_sharpness, worst_sharpness])
class TestAdaptive:
    def test_deterministic_in_the_seed_and_leaves_the_network_alone(self, measure):
        objective = make_objective(["3", "8"])
        before = {name: value.clone() for name, value in objective.model.state_dict().items()}
        torch.manual_seed(5)
        first = measure(objective, radius=0.3, seed=1)
        torch.manual_seed(6)
        assert measure(objective, radius=0.3, seed=1) == first
        assert measure(objective, radius=0.3, seed=2) != first
        assert all(torch.equal(value, before[name]) for name, value in objective.model.state_dict().items())
        assert all(p.grad is None for p in objective.model.parameters())

    @pytest.mark.parametrize("radius", [0.0, -1.0, math.nan])
    def test_radius_not_above_zero(self, measure, radius):
        with pytest.raises(ValueError, match=r"radius is .* must be above 0"):
            measure(make_objective(), radius=radius)

    def test_parameters_all_zero(self, measure):
        network = make_network()
        nn.init.zeros_(network[8].bias)
        with pytest.raises(ValueError, match="parameters are zero"):
            measure(Objective(network, make_batches(), ["8.bias"]), radius=0.1)


def test_limits():
    with pytest.raises(ValueError, match="max_probes is 1"):
        average_sharpness(make_objective(), radius=0.1, max_probes=1)
    with pytest.raises(ValueError, match="steps is 0"):
        worst_sharpness(make_objective(), radius=0.1, steps=0)
