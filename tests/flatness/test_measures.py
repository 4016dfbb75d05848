"""The measures that the notebooks tabulate, from network and samples to figures."""

import math

import pytest
import torch
from torch import nn

from pkdlib.flatness import landscape, measures, sharpness, spectra, traces
from pkdlib.flatness.objective import Objective, mean_loss
from pkdlib.flatness.operators import GaussNewton, Hessian, InputHessian
from tests.flatness.tiny import dense_hessian, forward_mode, make_batches, make_network


@forward_mode
def test_measures_match_the_dense_hessian_of_a_part():
    network, batches = make_network(), make_batches()
    dense = dense_hessian(network, batches, "8")
    found = {
        row["measure"]: row for row in measures.flatness_measures(Objective(network, batches, ["8"]), probes=30, seed=0)
    }
    top, trace = found["top_eigenvalue"], found["trace"]
    assert abs(top["value"] - float(torch.linalg.eigvalsh(dense)[-1])) <= top["standard_error"]
    assert abs(trace["value"] - float(dense.trace())) < 3.5 * trace["standard_error"]


def test_closed_form_of_a_linear_model_at_zero():
    # There p = 1/C for each class, so H = (I/C - 11'/C^2) kron X'X/N: eigenvalues 1/C times those of X'X/N.
    classes, features = 4, 3
    x = torch.randn(20, features, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    y = torch.arange(20) % classes
    model = nn.Linear(features, classes, bias=False).double().eval()
    nn.init.zeros_(model.weight)
    covariance = x.T @ x / len(x)
    batches = [(x[:5], y[:5]), (x[5:], y[5:])]
    objective = Objective(model, batches)
    (top,) = spectra.lanczos_eigenvalues(Hessian(objective), k=1, tolerance=1e-8, max_iterations=100, seed=0)
    assert top.value == pytest.approx(float(torch.linalg.eigvalsh(covariance)[-1]) / classes, rel=1e-10)
    found = traces.hutchinson_trace(Hessian(objective), target=0.02, floor=0, max_probes=2000, seed=0)
    expected = (classes - 1) / classes * float(covariance.trace())
    assert abs(found.value - expected) < 3.5 * found.standard_error
    assert objective.loss() == pytest.approx(math.log(classes), rel=1e-12)


def measured(network, batches):
    return list(measures.flatness_measures(Objective(network, batches), probes=4, seed=0))


@forward_mode
class TestAllMeasures:
    def test_network_is_left_as_it_was(self):
        network = make_network()
        before = {name: value.clone() for name, value in network.state_dict().items()}
        measured(network, make_batches((4,)))
        assert not any(part.training for part in network.modules())
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
        assert all(p.grad is None for p in network.parameters())

    def test_batch_norm_in_training_mode_is_refused(self):
        with pytest.raises(ValueError, match=r"batch norm '1' .* call model.eval\(\)"):
            measured(make_network().train(), make_batches())

    def test_no_samples(self):
        with pytest.raises(ValueError, match="no samples"):
            measured(make_network(), [])

    def test_loss_not_finite(self):
        network = make_network()
        with torch.no_grad():
            network[8].bias[0] = math.nan
        with pytest.raises(ValueError, match="loss on these samples is nan"):
            measured(network, make_batches())


def test_frozen_parameters_have_a_loss_but_no_curvature():
    network = make_network().requires_grad_(False)
    assert mean_loss(network, make_batches(), {}) > 0
    with pytest.raises(ValueError, match="9 of 9 parameters take no gradient"):
        Objective(network, make_batches())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(
    "measure",
    [
        lambda objective: traces.hutchinson_trace(Hessian(objective), target=0, floor=0, max_probes=20, seed=0).value,
        lambda objective: traces.xtrace(GaussNewton(objective), target=0, floor=0, max_probes=4, seed=0).value,
        lambda objective: spectra.lanczos_quadrature(Hessian(objective), steps=4, probes=2, seed=0).moment(2)[0],
        lambda objective: (
            spectra.mean_top_eigenvalue(InputHessian(objective), tolerance=1e-8, max_iterations=9, seed=0).value
        ),
        lambda objective: sharpness.average_sharpness(objective, radius=0.2, max_probes=4).value,
        lambda objective: sharpness.worst_sharpness(objective, radius=0.2, steps=3),
        sharpness.fisher_rao_norm,
        lambda objective: landscape.slices(objective, [0.5], directions=1)[0, 0],
    ],
)
def test_cuda_agrees_with_the_cpu(measure):
    on_cpu = measure(Objective(make_network(), make_batches()))
    on_cuda = measure(Objective(make_network().cuda(), make_batches()))
    assert on_cuda == pytest.approx(on_cpu, rel=1e-8)
