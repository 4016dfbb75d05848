"""Top eigenvalues and spectral densities of symmetric matrices that are known by their products alone.

Every function takes an operator or matrix with `@`, `shape`, `dtype` and `device`. Random vectors are drawn on the
CPU from a seed, so that a GPU sees the same ones. What each holds is said in units of one vector of its size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pkdlib._progress import tqdm
from pkdlib.flatness.estimates import normal_vector
from pkdlib.flatness.operators import InputHessian
from pkdlib.flatness.quadrature import Quadrature


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


def lanczos_eigenvalues(
    operator: Any, *, k: int, tolerance: float, max_iterations: int, seed: int
) -> tuple[Eigenvalue, ...]:
    """Approximate the k largest eigenvalues of a symmetric operator by Lanczos' method.

    Golub and Van Loan, "Matrix Computations", chapter 10, with every vector orthogonalised against all the
    others, since rounding would otherwise bring back copies of eigenvalues already found. An eigenvalue that
    repeats exactly may be found once. Holds one vector an iteration.

    Args:
        operator: A symmetric linear operator or matrix.
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
    with tqdm(total=steps, desc="eigenvalues", unit="product", disable=None) as progress:
        for values, _, residuals in _ritz_pairs(*_single(operator), torch.Generator().manual_seed(seed)):
            progress.update()
            iterations = values.shape[1]
            found = [
                Eigenvalue(float(v), float(r), iterations, bool(r <= tolerance * abs(v)))
                for v, r in zip(values[0, : -k - 1 : -1], residuals[0, : -k - 1 : -1], strict=True)
            ]
            if iterations == steps or (len(found) == k and all(e.converged for e in found)):
                break
    return tuple(found)


def mean_top_eigenvalue(operator: InputHessian, *, tolerance: float, max_iterations: int, seed: int) -> Eigenvalue:
    """Average the largest eigenvalue of each sample's input Hessian, 1/N sum_n lambda_max(H_n), by Lanczos' method.

    The samples of a batch iterate side by side, each on its own. Holds one batch's inputs an iteration.

    Args:
        operator: The input Hessian.
        tolerance: Residual norm to reach for each sample, relative to its eigenvalue.
        max_iterations: Number of products with each batch never to exceed; at least 1.
        seed: Seed of the starting vectors.

    Returns:
        The mean, with the mean of the residuals, the largest number of iterations, and whether all converged.

    Raises:
        ValueError: If max_iterations is below 1.
    """
    if max_iterations < 1:
        raise ValueError(f"max_iterations is {max_iterations}: must be at least 1")
    generator = torch.Generator().manual_seed(seed)
    tops, errors, most = [], [], 0
    for inputs, multiply in tqdm(operator.per_batch(), desc="input eigenvalues", unit="batch", disable=None):
        steps = min(max_iterations, inputs.shape[1])
        for values, _, residuals in _ritz_pairs(inputs, multiply, generator):
            top, error = values[:, -1], residuals[:, -1]
            if values.shape[1] == steps or np.all(error <= tolerance * np.abs(top)):
                break
        tops.append(top)
        errors.append(error)
        most = max(most, values.shape[1])
    top, error = np.concatenate(tops), np.concatenate(errors)
    return Eigenvalue(float(top.mean()), float(error.mean()), most, bool(np.all(error <= tolerance * np.abs(top))))


def lanczos_quadrature(operator: Any, *, steps: int, probes: int, seed: int) -> Quadrature:
    """Estimate the whole spectrum of a symmetric operator by stochastic Lanczos quadrature.

    Ubaru, Chen and Saad, "Fast estimation of tr(f(A)) via stochastic Lanczos quadrature", SIAM Journal on Matrix
    Analysis and Applications 38 (2017); for networks, Ghorbani, Krishnan and Xiao, "An investigation into neural net
    optimization via Hessian eigenvalue density", ICML 2019. From each of some random unit vectors, `steps` Lanczos
    iterations give the eigenvalues t_k of a tridiagonal matrix, and as weights w_k the squared first coordinates of
    its eigenvectors. Averages of polynomials below degree 2 steps are unbiased. Holds one vector a step and
    probe.

    Args:
        operator: A symmetric linear operator or matrix.
        steps: Products a probe; no more are made than the operator has rows.
        probes: Number of random vectors; at least 2, for a standard error.
        seed: Seed of these vectors.

    Returns:
        Nodes and weights.

    Raises:
        ValueError: If there is no step, or fewer than two probes.
    """
    if steps < 1 or probes < 2:
        raise ValueError(f"steps is {steps} and probes {probes}: must be at least 1 and 2")
    steps = min(steps, operator.shape[0])
    like = torch.empty(probes, operator.shape[0], device=operator.device, dtype=operator.dtype)
    # Side by side: operators share between the vectors what does not depend on them.
    pairs = _ritz_pairs(like, lambda vectors: (operator @ vectors.T).T, torch.Generator().manual_seed(seed))
    progress = tqdm(pairs, total=steps, desc="spectral density", unit="product", disable=None)
    *_, (values, vectors, _) = islice(progress, steps)
    return Quadrature(values, vectors[:, 0] ** 2)


def _single(operator: Any) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    # A whole operator as a batch of one, for `_ritz_pairs`.
    like = torch.empty(1, operator.shape[0], device=operator.device, dtype=operator.dtype)
    return like, lambda vectors: (operator @ vectors[0])[None]


def _ritz_pairs(
    like: Tensor, multiply: Callable[[Tensor], Tensor], generator: torch.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Run Lanczos' method on B symmetric matrices side by side, each from a random unit vector.

    Args:
        like: A tensor of the vectors' shape (B, D), device and type.
        multiply: From one vector a matrix, (B, D), to its products, (B, D).
        generator: On the CPU.

    Yields:
        After m products: Ritz values in rising order (B, m), the eigenvectors of the tridiagonal matrices as columns
        (B, m, m), and residual norms (B, m).
    """
    basis: list[Tensor] = []
    vector = _new_directions(like, generator, basis)
    tridiagonal, lengths = np.zeros((len(like), 0, 0)), np.zeros(len(like))
    while True:
        product = require_finite_product(multiply(vector))
        basis.append(vector)
        last = len(basis) - 1
        tridiagonal = np.pad(tridiagonal, ((0, 0), (0, 1), (0, 1)))
        tridiagonal[:, last, last] = _row_dots(vector, product)
        if last:
            tridiagonal[:, last - 1, last] = tridiagonal[:, last, last - 1] = lengths
        rest = orthogonal_part(product, basis)
        lengths = rest.double().norm(dim=1).cpu().numpy()
        values, vectors = np.linalg.eigh(tridiagonal)
        # A start in an invariant subspace sees nothing beyond it: go on from a new direction.
        exhausted = lengths <= 100 * torch.finfo(rest.dtype).eps * np.abs(values).max(axis=1)
        lengths = np.where(exhausted, 0.0, lengths)
        # The residual of a Ritz pair is read off the last coordinate of its vector, without a product.
        yield values, vectors, lengths[:, None] * np.abs(vectors[:, -1])
        vector = rest / rest.norm(dim=1, keepdim=True)
        if exhausted.any():
            rows = torch.as_tensor(exhausted, device=rest.device)
            vector = torch.where(rows[:, None], _new_directions(like, generator, basis), vector)


def _new_directions(like: Tensor, generator: torch.Generator, basis: list[Tensor]) -> Tensor:
    draw = normal_vector(like.numel(), generator, like.device, like.dtype).view_as(like)
    part = orthogonal_part(draw, basis)
    return part / part.norm(dim=1, keepdim=True)


def orthogonal_part(vectors: Tensor, basis: list[Tensor]) -> Tensor:
    """Take out of vectors their components along orthonormal ones, row by row.

    Twice, since rounding in the first round leaves a little of each direction behind.

    Args:
        vectors: (B, D).
        basis: Tensors of the same shape, whose rows of one number are orthonormal.

    Returns:
        (B, D).
    """
    rest = vectors.clone()
    for _ in range(2):
        for directions in basis:
            rest.addcmul_(directions, torch.linalg.vecdot(directions, rest)[:, None], value=-1)
    return rest


def _row_dots(a: Tensor, b: Tensor) -> np.ndarray:
    return (a.double() * b.double()).sum(dim=1).cpu().numpy()


def require_finite_product(product: Tensor) -> Tensor:
    """Refuse a product that is not finite.

    Args:
        product: Of an operator and a vector.

    Returns:
        The same.

    Raises:
        ValueError: If a value is not finite.
    """
    if not product.isfinite().all():
        raise ValueError("a Hessian-vector product is not finite: the loss overflows at these weights")
    return product
