"""How flat the loss is around a trained network: the trace and the top eigenvalues of its Hessian.

The Hessian is that of the mean cross-entropy over a stated set of samples,

    H = 1/N sum_n d^2 CE(f(x_n; theta), y_n) / d theta^2,

with respect to all parameters or a named part of them, batch norm in eval mode. It is never formed:
curvlinops gives its product with a vector, one batch at a time, and the estimators below need nothing else.
Random vectors are drawn on the CPU from a seed, so that a GPU sees the same ones.

A warning for readers of such figures: they change when a network's weights are rescaled even if what it
computes does not (Dinh et al., "Sharp minima can generalize for deep nets", ICML 2017), and they differ
between architectures.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from torch import Tensor, nn
from tqdm import tqdm

from pkdlib.cost import evaluation_mode

with warnings.catch_warnings():
    # A dependency of curvlinops uses torch.jit.script, of which recent torch warns.
    warnings.filterwarnings("ignore", message=".*torch.jit.script")
    from curvlinops import HessianLinearOperator

# Below this number of probes their own spread is too badly known to stop by it.
FEWEST_PROBES = 10

# (inputs, labels): a tensor of shape (batch, ...) or a tuple of such, and int64 (batch,).
Batch = tuple[Tensor | tuple[Tensor, ...], Tensor]


@dataclass(frozen=True)
class Estimate:
    """A quantity estimated from random probes.

    Attributes:
        value: The estimate, the mean over the probes.
        standard_error: Standard error of that mean.
        probes: Number of probes drawn.
        converged: Whether the standard error came down to its target.
    """

    value: float
    standard_error: float
    probes: int
    converged: bool


@dataclass(frozen=True)
class Eigenvalue:
    """An approximate eigenvalue.

    Attributes:
        value: The eigenvalue.
        residual: Norm of H v - value v for its unit vector v: H has an eigenvalue within this distance of
            `value`.
        iterations: Number of Hessian-vector products spent.
        converged: Whether the residual came down to its target.
    """

    value: float
    residual: float
    iterations: int
    converged: bool


def loss(model: nn.Module, batches: Iterable[Batch]) -> float:
    """Compute the mean cross-entropy over all samples, the model in eval mode.

    Args:
        model: Called as `model(inputs)` for each batch; returns logits (batch, classes).
        batches: The samples, as (inputs, labels) batches of any sizes.

    Returns:
        The mean over samples (not over batches), in nats.

    Raises:
        ValueError: If there is no sample, or the loss is not finite.
    """
    batches = _on_device(model, batches)
    with evaluation_mode(model), torch.no_grad():
        sums = [float(nn.functional.cross_entropy(model(x), y, reduction="sum")) for x, y in batches]
    mean = sum(sums) / _num_samples(batches)
    if not math.isfinite(mean):
        raise ValueError(f"the loss on these samples is {mean}: check the inputs and the trained weights")
    return mean


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
        model: Called as `model(inputs)` for each batch; returns logits (batch, classes).
        batches: The samples, as (inputs, labels) batches of any sizes. Memory grows with the largest batch.
        parameters: Names of parameters, or of modules for all parameters in them; all parameters if None.
        target: Standard error to reach, relative to the trace.
        floor: Standard error that is small enough, whatever the trace.
        max_probes: Number of Hessian-vector products never to exceed.
        seed: Seed of the probes.

    Returns:
        The trace with its standard error.
    """
    with hessian(model, batches, parameters) as operator:
        return hutchinson_trace(operator, target=target, floor=floor, max_probes=max_probes, seed=seed)


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
        model: Called as `model(inputs)` for each batch; returns logits (batch, classes).
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
    with hessian(model, batches, parameters) as operator:
        return lanczos_eigenvalues(operator, k=k, tolerance=tolerance, max_iterations=max_iterations, seed=seed)


@contextmanager
def hessian(model: nn.Module, batches: Iterable[Batch], parameters: Sequence[str] | None = None) -> Iterator[Any]:
    """Give the loss Hessian as a linear operator, holding the model in eval mode as long as it is used.

    Refused with a ValueError: no samples, a loss that is not finite, an unknown part, and parameters that take no
    gradient or have no effect on the loss, since rows of zeros would pass for flatness.

    Args:
        model: Called as `model(inputs)` for each batch; returns logits (batch, classes).
        batches: The samples, as (inputs, labels) batches of any sizes.
        parameters: Names of parameters, or of modules for all parameters in them; all parameters if None.

    Yields:
        A `curvlinops.HessianLinearOperator` of shape (P, P): `operator @ v` for a vector v of shape (P,).
    """
    chosen = _choose(model, parameters)
    batches = _on_device(model, batches)
    loss(model, batches)  # so that samples without a finite loss are refused before any product
    with evaluation_mode(model):
        _require_dependence(model, batches[0], chosen)
        yield _Hessian(
            model,
            nn.CrossEntropyLoss(),
            list(chosen.values()),
            batches,
            # Eval mode and a fixed list of batches make it deterministic; checking costs several products.
            check_deterministic=False,
            num_data=_num_samples(batches),
            batch_size_fn=lambda inputs: len(inputs[0] if isinstance(inputs, tuple) else inputs),
        )


def hutchinson_trace(operator: Any, *, target: float, floor: float, max_probes: int, seed: int) -> Estimate:
    """Estimate the trace of a square operator from random signs: tr A = E[v' A v] for independent v_i = +-1.

    Hutchinson, "A stochastic estimator of the trace of the influence matrix for Laplacian smoothing splines",
    Communications in Statistics 18 (1989). Probes are drawn until the standard error reaches `target` times
    the estimate, or `floor`.

    Args:
        operator: A linear operator or matrix with `@`, `shape`, `dtype` and `device`.
        target: Standard error to reach, relative to the trace.
        floor: Standard error that is small enough, whatever the trace.
        max_probes: Number of products never to exceed; at least 2, for a standard error.
        seed: Seed of the probes.

    Returns:
        The trace with its standard error.

    Raises:
        ValueError: If max_probes is below 2.
    """
    if max_probes < 2:
        raise ValueError(f"max_probes is {max_probes}: a standard error needs at least 2 probes")
    generator = torch.Generator().manual_seed(seed)
    samples: list[float] = []
    with tqdm(total=max_probes, desc="Hessian trace", unit="probe", disable=None) as progress:
        while True:
            signs = torch.randint(0, 2, (operator.shape[0],), generator=generator) * 2 - 1
            probe = signs.to(operator.device, operator.dtype)
            samples.append(_dot(probe, operator @ probe))
            progress.update()
            if len(samples) < min(FEWEST_PROBES, max_probes):
                continue
            value = float(np.mean(samples))
            error = float(np.std(samples, ddof=1)) / math.sqrt(len(samples))
            converged = error <= max(target * abs(value), floor)
            if converged or len(samples) == max_probes:
                return Estimate(value, error, len(samples), converged)


def lanczos_eigenvalues(
    operator: Any, *, k: int, tolerance: float, max_iterations: int, seed: int
) -> tuple[Eigenvalue, ...]:
    """Approximate the k largest eigenvalues of a symmetric operator by Lanczos' method.

    Golub and Van Loan, "Matrix Computations", chapter 10, with every vector orthogonalised against all the
    others, since rounding would otherwise bring back copies of eigenvalues already found. An eigenvalue that
    repeats exactly may be found once.

    Args:
        operator: A linear operator or matrix with `@`, `shape`, `dtype` and `device`.
        k: Number of eigenvalues.
        tolerance: Residual norm to reach, relative to each eigenvalue.
        max_iterations: Number of products never to exceed; at least k.
        seed: Seed of the starting vector.

    Returns:
        The eigenvalues, largest first.

    Raises:
        ValueError: If k eigenvalues cannot be had from this operator in so many iterations.
    """
    steps = min(max_iterations, operator.shape[0])
    if not 1 <= k <= steps:
        raise ValueError(f"k is {k}: must lie between 1 and {steps}, the lesser of max_iterations and the parameters")
    generator = torch.Generator().manual_seed(seed)
    basis: list[Tensor] = []
    diagonal: list[float] = []
    off_diagonal: list[float] = []
    vector = _new_direction(operator, generator, basis)
    with tqdm(total=steps, desc="Hessian eigenvalues", unit="product", disable=None) as progress:
        while True:
            product = operator @ vector
            diagonal.append(_dot(vector, product))
            basis.append(vector)
            progress.update()
            rest = _orthogonal_part(product, basis)
            length = float(rest.norm())
            values, coordinates = eigh_tridiagonal(diagonal, off_diagonal)
            exhausted = length <= 100 * torch.finfo(rest.dtype).eps * float(np.abs(values).max())
            # The residual of a Ritz pair is read off the last coordinate of its vector, without a product.
            residuals = np.zeros(len(values)) if exhausted else length * np.abs(coordinates[-1])
            found = [
                Eigenvalue(float(v), float(r), len(basis), bool(r <= tolerance * abs(v)))
                for v, r in zip(values[: -k - 1 : -1], residuals[: -k - 1 : -1], strict=True)
            ]
            if len(basis) == steps or (len(found) == k and all(e.converged for e in found)):
                return tuple(found)
            # A start in an invariant subspace sees nothing beyond it: go on from a new direction.
            vector = _new_direction(operator, generator, basis) if exhausted else rest / length
            off_diagonal.append(0.0 if exhausted else length)


class _Hessian(HessianLinearOperator):
    """The Hessian by differentiating the gradient once more (reverse over reverse).

    curvlinops' own product goes forward over reverse under `vmap`. Same result, but on small networks on a CPU
    it takes 1.3 times (large batches) to 8 times (tiny ones) as long.
    """

    def _matmat_batch(self, X: Any, y: Tensor, M: list[Tensor]) -> list[Tensor]:
        with torch.enable_grad():
            batch_loss = self._loss_func(self._model_func(X), y)
            gradient = torch.autograd.grad(batch_loss, self._params, create_graph=True)
        count = M[0].shape[-1]
        columns = [
            torch.autograd.grad(
                gradient,
                self._params,
                [m[..., column] for m in M],
                retain_graph=column < count - 1,
                materialize_grads=True,
            )
            for column in range(count)
        ]
        return [torch.stack(parts, dim=-1) for parts in zip(*columns, strict=True)]


def _choose(model: nn.Module, names: Sequence[str] | None) -> dict[str, nn.Parameter]:
    # Those called `names` or inside the modules called so, in the model's order.
    everything = dict(model.named_parameters())
    chosen = everything
    if names is not None:
        parts = [{p for p in everything if f"{p}.".startswith(f"{name}.")} for name in names]
        for name, part in zip(names, parts, strict=True):
            if not part:
                known = ", ".join(dict.fromkeys(p.split(".")[0] for p in everything))
                raise ValueError(f"`parameters`: the model has none at {name!r}; its top-level parts: {known}")
        chosen = {name: p for name, p in everything.items() if any(name in part for part in parts)}
    if not chosen:
        raise ValueError("no parameters to differentiate by: the model, or the list `parameters`, is empty")
    frozen = [name for name, p in chosen.items() if not p.requires_grad]
    if frozen:
        raise ValueError(
            f"{len(frozen)} of {len(chosen)} parameters take no gradient (the first: {frozen[0]!r}): "
            "unfreeze them, or name a part of the model without them in `parameters`"
        )
    return chosen


def _require_dependence(model: nn.Module, batch: Batch, chosen: dict[str, nn.Parameter]) -> None:
    inputs, labels = batch
    with torch.enable_grad():
        batch_loss = nn.functional.cross_entropy(model(inputs), labels)
        gradient = torch.autograd.grad(batch_loss, list(chosen.values()), allow_unused=True)
    unused = [name for name, g in zip(chosen, gradient, strict=True) if g is None]
    if unused:
        raise ValueError(
            f"the loss does not depend on {len(unused)} of {len(chosen)} parameters (the first: {unused[0]!r}): "
            "name a part of the model without them in `parameters`"
        )


def _on_device(model: nn.Module, batches: Iterable[Batch]) -> list[Batch]:
    device = next((p.device for p in model.parameters()), torch.device("cpu"))

    def move(x: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
        return tuple(map(move, x)) if isinstance(x, tuple) else x.to(device)

    moved = [(move(inputs), labels.to(device)) for inputs, labels in batches]
    if not _num_samples(moved):
        raise ValueError("no samples: `batches` is empty, and flatness is a property of a loss on samples")
    return moved


def _num_samples(batches: Iterable[Batch]) -> int:
    return sum(len(labels) for _, labels in batches)


def _dot(a: Tensor, b: Tensor) -> float:
    value = float(a.double() @ b.double())
    if not math.isfinite(value):
        raise ValueError("a Hessian-vector product is not finite: the loss overflows at these weights")
    return value


def _new_direction(operator: Any, generator: torch.Generator, basis: list[Tensor]) -> Tensor:
    draw = torch.randn(operator.shape[0], generator=generator, dtype=torch.float64)
    part = _orthogonal_part(draw.to(operator.device, operator.dtype), basis)
    return part / part.norm()


def _orthogonal_part(vector: Tensor, basis: list[Tensor]) -> Tensor:
    # Twice, since rounding in the first round leaves a little of each direction behind.
    for _ in range(2):
        for direction in basis:
            vector = vector - (direction @ vector) * direction
    return vector
