"""Traces against dense Hessians and matrices of known spectrum, and stated errors against those that are made."""

import numpy as np
import pytest
import torch

from pkdlib.flatness.estimates import FEWEST_PROBES, Estimate
from pkdlib.flatness.operators import Hessian, InputHessian
from pkdlib.flatness.traces import BLOCK, hutchinson_trace, xtrace
from tests.flatness.test_operators import dense_input_hessians
from tests.flatness.tiny import dense_hessian, forward_mode, known_matrix, make_objective

OUTLIERS = [*np.linspace(0, 1, 50), 10.0, 20.0, 40.0]
both = pytest.mark.parametrize("trace", [hutchinson_trace, xtrace])


@forward_mode
@both
@pytest.mark.parametrize("prefix", ["", "8"])
def test_trace_matches_the_dense_hessian(trace, prefix):
    objective = make_objective([prefix] if prefix else None)
    expected = float(dense_hessian(objective.model, objective.batches, prefix).trace())
    found = trace(Hessian(objective), target=0.1, floor=0, max_probes=1000, seed=0)
    assert found.converged
    assert found.standard_error <= 0.1 * abs(found.value)
    assert abs(found.value - expected) < 3.5 * found.standard_error + 1e-9


@forward_mode
@both
def test_trace_of_the_input_hessian_is_the_mean_over_samples(trace):
    objective = make_objective()
    expected = np.mean([float(block.trace()) for block in dense_input_hessians(objective)])
    found = trace(InputHessian(objective), target=0.02, floor=0, max_probes=2000, seed=0)
    assert found.converged
    assert abs(found.value - expected) < 3.5 * found.standard_error + 1e-9


def test_hutchinson_on_a_diagonal_needs_no_more_than_the_fewest_probes():
    # z_i^2 = 1, so Rademacher probes are exact on diagonal matrices.
    matrix = torch.diag(torch.arange(6.0, dtype=torch.float64))
    found = hutchinson_trace(matrix, target=0.05, floor=0, max_probes=100, seed=0)
    assert found == Estimate(15.0, 0.0, FEWEST_PROBES, True)


def test_stated_standard_error_of_hutchinson_covers_the_truth():
    matrix = known_matrix(OUTLIERS)
    truth = float(matrix.trace())
    runs = [hutchinson_trace(matrix, target=0.05, floor=0, max_probes=1000, seed=seed) for seed in range(200)]
    assert all(r.converged and r.standard_error <= 0.05 * r.value for r in runs)
    scores = np.array([(r.value - truth) / r.standard_error for r in runs])
    assert np.mean(np.abs(scores) < 1.96) > 0.88  # 0.95 less 4 standard deviations of this share
    assert np.std([r.value for r in runs]) == pytest.approx(0.05 * truth, rel=0.25)


@pytest.mark.parametrize(
    "spectrum",
    [[*np.linspace(-0.2, 0.3, 290), *np.linspace(1, 40, 10)], np.linspace(-1, 3, 300), 0.8 ** np.arange(300)],
)
def test_stated_standard_error_of_xtrace_is_that_of_many_seeds(spectrum):
    matrix = known_matrix(spectrum)
    runs = [xtrace(matrix, target=0, floor=0, max_probes=14, seed=seed) for seed in range(150)]
    errors = np.array([r.value for r in runs]) - float(matrix.trace())
    stated = np.array([r.standard_error for r in runs])
    assert np.abs(errors.mean()) < 4 * errors.std() / np.sqrt(len(runs))
    assert 0.85 < np.sqrt((errors**2).mean() / (stated**2).mean()) < 1.4
    assert np.mean(np.abs(errors) < 1.96 * stated) > 0.8


def by_definition(matrix, tests):
    # Each basis without one image is made anew, by another factorisation.
    size, count = tests.shape
    estimates = []
    for i in range(count):
        others = [j for j in range(count) if j != i]
        basis, _, _ = torch.linalg.svd(matrix @ tests[:, others], full_matrices=False)
        rest = tests[:, i] - basis @ (basis.T @ tests[:, i])
        scale = (size - count + 1) / rest.square().sum()
        estimates.append(float((basis.T @ matrix @ basis).trace() + scale * (rest @ matrix @ rest)))
    return Estimate(
        float(np.mean(estimates)), float(np.std(estimates, ddof=1) / np.sqrt(count)), count, pytest.approx(False)
    )


def test_xtrace_is_what_its_definition_says():
    matrix, count = known_matrix(np.linspace(-1, 2, 40)), 12
    generator = torch.Generator().manual_seed(3)
    draws = [torch.randn(40, generator=generator, dtype=torch.float64) for _ in range(count)]
    expected = by_definition(matrix, torch.stack([40**0.5 * d / d.norm() for d in draws], dim=1))
    found = xtrace(matrix, target=0, floor=0, max_probes=count, seed=3)
    assert found.value == pytest.approx(expected.value, rel=1e-9)
    assert found.standard_error == pytest.approx(expected.standard_error, rel=1e-9)


def test_xtrace_needs_fewer_products_where_few_eigenvalues_stand_out():
    matrix = known_matrix(OUTLIERS)
    xtraces = [xtrace(matrix, target=0.02, floor=0, max_probes=500, seed=seed).probes for seed in range(20)]
    plain = [hutchinson_trace(matrix, target=0.02, floor=0, max_probes=5000, seed=seed).probes for seed in range(20)]
    assert 2 * np.mean(xtraces) < np.mean(plain) / 5


@pytest.mark.parametrize("rank", [0, 1, 4, 11])
def test_xtrace_is_exact_once_it_has_the_range(rank):
    spectrum = [*np.arange(1.0, rank + 1), *[0.0] * (30 - rank)]
    found = xtrace(known_matrix(spectrum), target=0, floor=1e-9, max_probes=100, seed=0)
    assert found.value == pytest.approx(sum(spectrum), abs=1e-9)
    assert found.converged
    assert found.probes <= rank + BLOCK


@both
def test_stops_at_the_floor_or_at_the_cap(trace):
    matrix = known_matrix(np.linspace(-1, 1, 40))  # a trace of zero: no relative target can be met
    stopped = trace(matrix, target=0.05, floor=0.5, max_probes=1000, seed=0)
    assert stopped.converged
    assert stopped.standard_error <= 0.5
    capped = trace(matrix, target=1e-9, floor=0, max_probes=12, seed=0)
    assert not capped.converged
    assert capped.probes == 12


@both
def test_deterministic_in_the_seed(trace):
    def outcome(seed):
        return trace(Hessian(make_objective(["8"])), target=0.05, floor=0, max_probes=12, seed=seed)

    torch.manual_seed(5)
    first = outcome(1)
    torch.manual_seed(6)
    assert outcome(1) == first
    assert outcome(2) != first


@both
def test_too_few_probes(trace):
    with pytest.raises(ValueError, match="max_probes is 1"):
        trace(known_matrix([1.0, 2.0]), target=0.1, floor=0, max_probes=1, seed=0)


@both
def test_a_matrix_that_is_not_finite(trace):
    with pytest.raises(ValueError, match="not finite"):
        trace(known_matrix([1.0, 2.0]) * torch.inf, target=0.1, floor=0, max_probes=9, seed=0)
