"""How flat the loss is around a trained network: its value, the trace and the top eigenvalues of its Hessian.

Each measure is put together from an `objective` (the loss on stated samples), one of the `operators` and an estimator
of `traces` or `spectra`; scale-aware measures are in `sharpness`, pictures of the loss in `landscape`. `measures` gives
all that the study compares, the other functions the most usual ones in one call each.

A warning for readers of such figures: they change when a network's weights are rescaled even if what it
computes does not (Dinh et al., "Sharp minima can generalize for deep nets", ICML 2017), and they differ
between architectures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from torch import nn

from pkdlib.flatness import sharpness, spectra, traces
from pkdlib.flatness.estimates import Estimate
from pkdlib.flatness.objective import Batch, Objective, checked_samples, mean_loss
from pkdlib.flatness.operators import GaussNewton, Hessian, InputHessian
from pkdlib.flatness.spectra import Eigenvalue

# Standard deviation and norm of the displacement relative to the weights, of adaptive sharpness.
AVERAGE_RADIUS, WORST_RADIUS = 0.05, 0.5
# Relative standard error and residual at which estimates stop.
TRACE_TARGET, EIGENVALUE_TARGET = 0.05, 0.01
ASCENT_STEPS = 20


def measures(
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


def loss(model: nn.Module, batches: Iterable[Batch]) -> float:
    """Compute the mean cross-entropy over all samples.

    Args:
        model: In eval mode; called as `model(inputs)` for each batch; returns logits (batch, classes).
        batches: The samples, as (inputs, labels) batches of any sizes.

    Returns:
        The mean over samples (not over batches), in nats.
    """
    return mean_loss(model, checked_samples(model, batches), {})


def trace(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    parameters: Sequence[str] | None = None,
    target: float = 0.05,
    floor: float = 1e-3,
    max_probes: int = 500,
    seed: int = 0,
) -> Estimate:
    """Estimate the trace of the loss Hessian by Hutchinson's method.

    Args:
        model: In eval mode; called as `model(inputs)` for each batch; returns logits (batch, classes).
        batches: The samples, as (inputs, labels) batches of any sizes. Memory grows with the largest batch.
        parameters: Names of parameters, or of modules for all parameters in them; all parameters if None.
        target: Standard error to reach, relative to the trace.
        floor: Standard error that is small enough, whatever the trace.
        max_probes: Number of Hessian-vector products never to exceed.
        seed: Seed of the probes.

    Returns:
        The trace with its standard error.
    """
    operator = Hessian(Objective(model, batches, parameters))
    return traces.hutchinson_trace(operator, target=target, floor=floor, max_probes=max_probes, seed=seed)


def top_eigenvalues(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    k: int = 1,
    parameters: Sequence[str] | None = None,
    tolerance: float = 1e-2,
    max_iterations: int = 100,
    seed: int = 0,
) -> tuple[Eigenvalue, ...]:
    """Approximate the k algebraically largest eigenvalues of the loss Hessian by Lanczos' method.

    Args:
        model: In eval mode; called as `model(inputs)` for each batch; returns logits (batch, classes).
        batches: The samples, as (inputs, labels) batches of any sizes. Memory grows with the largest batch.
        k: Number of eigenvalues.
        parameters: Names of parameters, or of modules for all parameters in them; all parameters if None.
        tolerance: Residual norm to reach, relative to each eigenvalue.
        max_iterations: Number of Hessian-vector products never to exceed. Each keeps one vector of the
            parameters' size in memory.
        seed: Seed of the starting vector.

    Returns:
        The eigenvalues, largest first.
    """
    operator = Hessian(Objective(model, batches, parameters))
    return spectra.lanczos_eigenvalues(operator, k=k, tolerance=tolerance, max_iterations=max_iterations, seed=seed)
