"""Eigenvalues and densities against dense Hessians, closed forms and matrices of known spectrum."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from pkdlib.flatness import spectra
from pkdlib.flatness.objective import Objective
from pkdlib.flatness.operators import Hessian, InputHessian
from tests.flatness.test_operators import dense_input_hessians
from tests.flatness.tiny import dense_hessian, forward_mode, known_matrix, make_objective


def top(operator, *, k=1, tolerance=1e-7, max_iterations=200, seed=0):
    return spectra.lanczos_eigenvalues(operator, k=k, tolerance=tolerance, max_iterations=max_iterations, seed=seed)


@forward_mode
@pytest.mark.parametrize("prefix", ["", "8", "3"])
def test_top_eigenvalues_match_the_dense_hessian(prefix):
    objective = make_objective([prefix] if prefix else None)
    expected = torch.linalg.eigvalsh(dense_hessian(objective.model, objective.batches, prefix)).flip(0)[:3]
    found = top(Hessian(objective), k=3)
    assert [e.value for e in found] == pytest.approx(expected.tolist(), rel=1e-9)
    assert all(e.converged and e.residual <= 1e-7 * e.value for e in found)


@forward_mode
def test_residual_bounds_the_error():
    objective = make_objective()
    spectrum = torch.linalg.eigvalsh(dense_hessian(objective.model, objective.batches)).numpy()
    for tolerance in (0.3, 0.1, 0.01):
        (found,) = top(Hessian(objective), tolerance=tolerance)
        assert np.abs(spectrum - found.value).min() <= found.residual + 1e-12
        assert found.residual <= tolerance * found.value
    assert found.value == pytest.approx(spectrum[-1], rel=0.01)


def test_eigenvalues_of_a_known_spectrum():
    spectrum = [-50.0, *np.linspace(-1, 1, 60), 7.0, 9.0, 30.0]
    found = top(known_matrix(spectrum), k=3, tolerance=1e-9, max_iterations=64)
    assert [e.value for e in found] == pytest.approx([30, 9, 7], rel=1e-9)


@pytest.mark.parametrize(("spectrum", "k"), [([2.0] * 6, 3), ([0.0] * 5, 1), ([5.0, 0, 0, 0, 0, 0, 0], 1)])
def test_eigenvalues_of_degenerate_matrices(spectrum, k):
    found = top(known_matrix(spectrum), k=k, tolerance=1e-6)
    assert [e.value for e in found] == pytest.approx(sorted(spectrum, reverse=True)[:k], abs=1e-9)


def test_unfinished_lanczos_says_so():
    (found,) = top(known_matrix(np.linspace(0.9, 1, 200)), tolerance=1e-8, max_iterations=3)
    assert not found.converged
    assert found.iterations == 3
    assert found.residual > 1e-8


def mean_top(objective, **settings):
    return spectra.mean_top_eigenvalue(
        InputHessian(objective), **{"tolerance": 1e-6, "max_iterations": 50, "seed": 0} | settings
    )


@forward_mode
def test_mean_top_eigenvalue_of_the_input_hessians():
    objective = make_objective()
    expected = [float(torch.linalg.eigvalsh(block)[-1]) for block in dense_input_hessians(objective)]
    found = mean_top(objective)
    assert found.value == pytest.approx(np.mean(expected), rel=1e-8)
    assert found.converged
    assert found.iterations <= 4  # rank 2 for 3 classes, and one to see that nothing is left
    rough = mean_top(objective, max_iterations=1)
    assert not rough.converged
    assert abs(rough.value - np.mean(expected)) <= rough.residual * 1.01 + np.mean(expected)


def test_input_eigenvalue_of_a_linear_model_in_closed_form():
    # At p = (1/2, 1/2) the Hessian by the input is (w_1 - w_2)(w_1 - w_2)' / 4 for every sample.
    model = nn.Linear(5, 2, bias=False).double().eval()
    with torch.no_grad():
        model.weight[0] = -model.weight[1]
    inputs = torch.zeros(7, 5, dtype=torch.float64)
    objective = Objective(model, [(inputs[:3], torch.tensor([0, 1, 1])), (inputs[3:], torch.tensor([0, 1, 1, 0]))])
    expected = float(model.weight[0].detach().square().sum())  # w_2 = -w_1
    assert mean_top(objective).value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("spectrum", [np.linspace(-1, 2, 80), [*np.linspace(0, 1, 75), 10.0, 20.0, 40.0]])
def test_quadrature_moments_match_traces_of_powers(spectrum):
    matrix = known_matrix(spectrum)
    scores = []
    for seed in range(40):
        found = spectra.lanczos_quadrature(matrix, steps=6, probes=12, seed=seed)
        assert found.weights.sum(axis=1) == pytest.approx(np.ones(12))
        for power in (1, 2, 5):
            value, error = found.moment(power)
            scores.append((value - np.mean(np.array(spectrum) ** power)) / error)
    assert np.mean(np.abs(scores) < 2.2) > 0.85  # 0.95 by Student's t with 11 degrees of freedom
    assert np.abs(np.mean(scores)) < 0.5


def test_a_probe_sees_powers_exactly():
    # Degree 5 is below twice 3 steps: then sum_k w_k t_k^p = v' A^p v for the probe v itself.
    matrix = known_matrix(np.linspace(-1, 2, 30))
    found = spectra.lanczos_quadrature(matrix, steps=3, probes=2, seed=4)
    draws = torch.randn(60, generator=torch.Generator().manual_seed(4), dtype=torch.float64).view(2, 30)
    for draw, nodes, weights in zip(draws, found.nodes, found.weights, strict=True):
        probe = draw / draw.norm()
        for power in range(6):
            expected = float(probe @ torch.linalg.matrix_power(matrix, power) @ probe)
            assert (nodes**power * weights).sum() == pytest.approx(expected, rel=1e-9)


def test_density_is_the_blurred_spectrum():
    spectrum = np.concatenate([np.linspace(-1, 1, 150), [5.0] * 50])
    found = spectra.lanczos_quadrature(known_matrix(spectrum), steps=60, probes=20, seed=0)
    grid, width = np.linspace(-3, 7, 400), 0.2
    density, error = found.density(grid, width)
    expected = np.exp(-((grid[:, None] - spectrum) ** 2) / (2 * width**2)).mean(1) / (width * np.sqrt(2 * np.pi))
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=1e-6)
    assert np.all(np.abs(density - expected) < 4.5 * error + 1e-6)
    assert error.max() < 0.1 * expected.max()


def test_quadrature_of_a_low_rank_matrix_has_no_stray_weight():
    found = spectra.lanczos_quadrature(known_matrix([5.0, *[0.0] * 9]), steps=8, probes=30, seed=1)
    assert found.moment(2)[0] == pytest.approx(2.5, abs=4 * found.moment(2)[1])
    assert np.allclose(found.weights.sum(1), 1)
    assert found.nodes.min() > -1e-9


@pytest.mark.parametrize("measure", [top, partial(spectra.lanczos_quadrature, steps=3, probes=2)])
def test_deterministic_in_the_seed(measure):
    def outcome(seed):
        return repr(measure(Hessian(make_objective(["8"])), seed=seed))

    torch.manual_seed(5)
    first = outcome(1)
    torch.manual_seed(6)
    assert outcome(1) == first
    assert outcome(2) != first


class TestBadInput:
    @pytest.mark.parametrize("k", [0, 4])
    def test_number_of_eigenvalues(self, k):
        with pytest.raises(ValueError, match=f"k is {k}: must lie between 1 and 3"):
            top(known_matrix([1.0, 2.0, 3.0]), k=k)

    def test_no_iterations(self):
        with pytest.raises(ValueError, match="max_iterations is 0"):
            mean_top(make_objective(), max_iterations=0)

    @pytest.mark.parametrize(("steps", "probes"), [(0, 5), (5, 1)])
    def test_quadrature_without_steps_or_spread(self, steps, probes):
        with pytest.raises(ValueError, match=f"steps is {steps} and probes {probes}"):
            spectra.lanczos_quadrature(known_matrix([1.0, 2.0]), steps=steps, probes=probes, seed=0)

    def test_density_without_width(self):
        found = spectra.lanczos_quadrature(known_matrix([1.0, 2.0]), steps=2, probes=2, seed=0)
        with pytest.raises(ValueError, match="width is 0"):
            found.density(np.zeros(3), 0)

    def test_a_matrix_that_is_not_finite(self):
        matrix = known_matrix([1.0, 2.0])
        matrix[0, 0] = torch.nan
        with pytest.raises(ValueError, match="not finite"):
            top(matrix)
