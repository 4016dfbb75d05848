"""How flat the loss is around a trained network: its value, the trace and the top eigenvalues of its Hessian.

Each measure is put together from an `objective` (the loss on stated samples), one of the `operators` and an estimator
of `traces` or `spectra`; scale-aware measures are in `sharpness`, pictures of the loss in `landscape`.
`flatness_measures` takes all that the study compares.

A warning for readers of such figures: they change when a network's weights are rescaled even if what it
computes does not (Dinh et al., "Sharp minima can generalize for deep nets", ICML 2017), and they differ
between architectures.
"""

from __future__ import annotations

from collections.abc import Iterator

from pkdlib.flatness import sharpness, spectra, traces
from pkdlib.flatness.estimates import Estimate
from pkdlib.flatness.objective import Objective
from pkdlib.flatness.operators import GaussNewton, Hessian, InputHessian
from pkdlib.flatness.spectra import Eigenvalue

# Standard deviation and norm of the displacement relative to the weights, of adaptive sharpness.
AVERAGE_RADIUS, WORST_RADIUS = 0.05, 0.5
# Relative standard error and residual at which estimates stop.
TRACE_TARGET, EIGENVALUE_TARGET = 0.05, 0.01
ASCENT_STEPS = 20


def flatness_measures(
    objective: Objective, *, probes: int, seed: int, input_deviation: float = 1.0
) -> Iterator[dict[str, str | float]]:
    """Measure the flatness of a loss in all the ways that the study compares.

    Args:
        objective: The loss.
        probes: Products, or pairs of displacements, that no measure may exceed; at least 2.
        seed: Of all that is random.
        input_deviation: What inputs are measured in, for the curvature by them: without it, networks of inputs of other
            units cannot be compared by it.

    Yields:
        measure, value, standard_error (0 where there is none; of an eigenvalue the residual norm).

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from pkdlib import flatness_measures
        >>> from pkdlib.flatness import Objective
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double().eval()
        >>> batches = [(torch.randn(8, 3, dtype=torch.float64), torch.arange(8) % 2)]
        >>> rows = flatness_measures(Objective(net, batches), probes=4, seed=0)
        >>> [row["measure"] for row in rows][:3]
        ['loss', 'trace', 'top_eigenvalue']
    """
    hessian, inputs = Hessian(objective), InputHessian(objective, input_deviation)
    trace = {"target": TRACE_TARGET, "floor": 0.0, "max_probes": probes, "seed": seed}
    top = {"tolerance": EIGENVALUE_TARGET, "max_iterations": probes, "seed": seed}

    def row(measure: str, value: float, error: float = 0.0) -> dict[str, str | float]:
        return {"measure": measure, "value": value, "standard_error": error}

    def estimated(measure: str, estimate: Estimate) -> dict[str, str | float]:
        return row(measure, estimate.value, estimate.standard_error)

    def found(measure: str, eigenvalue: Eigenvalue) -> dict[str, str | float]:
        return row(measure, eigenvalue.value, eigenvalue.residual)

    yield row("loss", objective.loss())
    yield estimated("trace", traces.xtrace(hessian, **trace))
    yield found("top_eigenvalue", spectra.lanczos_eigenvalues(hessian, k=1, **top)[0])
    yield estimated("gauss_newton_trace", traces.xtrace(GaussNewton(objective), **trace))
    average = {"radius": AVERAGE_RADIUS, "target": TRACE_TARGET, "max_probes": probes, "seed": seed}
    yield estimated("average_sharpness", sharpness.average_sharpness(objective, **average))
    worst = sharpness.worst_sharpness(objective, radius=WORST_RADIUS, steps=ASCENT_STEPS, seed=seed)
    yield row("worst_sharpness", worst)
    yield row("fisher_rao_norm", sharpness.fisher_rao_norm(objective))
    yield estimated("input_trace", traces.hutchinson_trace(inputs, **trace))
    yield found("input_top_eigenvalue", spectra.mean_top_eigenvalue(inputs, **top))
