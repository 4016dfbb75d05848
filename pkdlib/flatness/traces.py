"""Traces of square matrices that are known by their products alone.

Both functions take an operator or matrix with `@`, `shape`, `dtype` and `device`. Random vectors are drawn on the CPU
from a seed, so that a GPU sees the same ones. What each holds is said in units of one vector of its size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pkdlib.flatness.estimates import Estimate, accumulated, estimate_to_target, normal_vector
from pkdlib.flatness.spectra import orthogonal_part, require_finite_product

# Vectors multiplied at a time: operators share between them what does not depend on the vector.
BLOCK = 5


def hutchinson_trace(operator: Any, *, target: float, floor: float, max_probes: int, seed: int) -> Estimate:
    """Estimate the trace of a square operator from random signs: tr A = E[v' A v] for independent v_i = +-1.

    Hutchinson, "A stochastic estimator of the trace of the influence matrix for Laplacian smoothing splines",
    Communications in Statistics 18 (1989). Probes are drawn until the standard error reaches `target` times
    the estimate, or `floor`, BLOCK at a time. The variance of a probe is 2 sum_(i != j) A_ij^2. Holds 2 BLOCK vectors.

    Args:
        operator: A linear operator or matrix.
        target: Standard error to reach, relative to the trace.
        floor: Standard error that is small enough, whatever the trace.
        max_probes: Number of products never to exceed; at least 2, for a standard error.
        seed: Seed of the probes.

    Returns:
        The trace with its standard error.
    """
    generator = torch.Generator().manual_seed(seed)

    def draws() -> Iterator[list[float]]:
        for begin in range(0, max_probes, BLOCK):
            count = min(BLOCK, max_probes - begin)
            signs = torch.randint(0, 2, (count, operator.shape[0]), generator=generator) * 2 - 1
            probes = signs.to(operator.device, operator.dtype)
            products = require_finite_product(operator @ probes.T)
            yield (probes.T.double() * products.double()).sum(dim=0).tolist()

    return estimate_to_target(
        accumulated(draws()), target=target, floor=floor, max_probes=max_probes, description="trace (Hutchinson)"
    )


def xtrace(operator: Any, *, target: float, floor: float, max_probes: int, seed: int) -> Estimate:
    """Estimate the trace of a symmetric operator by XTrace, which takes the large eigenvalues out of the chance.

    Epperly, Tropp and Webber, "XTrace: Making the most of every sample in stochastic trace estimation", SIAM Journal
    on Matrix Analysis and Applications 45 (2024). For test vectors w_1 ... w_m of length sqrt(n), Q_i an orthonormal
    basis of {A w_j, j != i} and r_i = (I - Q_i Q_i') w_i, the trace is the mean over i of

        tr(Q_i' A Q_i) + (n - m + 1) r_i' A r_i / norm(r_i)^2,

    each an unbiased estimate; all come from one basis by changes of rank one. The estimates are not independent; the
    standard error is the authors' error estimate, formed as if they were: near the true one where the operator is much
    larger than m, up to a third too small where its eigenvalues decay geometrically. Each test vector costs two
    products and two more vectors to hold.

    Args:
        operator: A symmetric linear operator or matrix.
        target: Standard error to reach, relative to the trace.
        floor: Standard error that is small enough, whatever the trace.
        max_probes: Number of test vectors never to exceed, each of two products; at least 2.
        seed: Seed of the test vectors.

    Returns:
        The trace with its standard error, which is 0 if the test vectors' images span the operator's whole range.
    """
    return estimate_to_target(
        _xtrace_estimates(operator, max_probes, torch.Generator().manual_seed(seed)),
        target=target,
        floor=floor,
        max_probes=max_probes,
        description="trace (XTrace)",
    )


def _xtrace_estimates(operator: Any, max_probes: int, generator: torch.Generator) -> Iterator[np.ndarray]:
    size = operator.shape[0]
    tests: list[Tensor] = []
    basis: list[Tensor] = []
    # In the basis Q: R = Q'Y of the images Y = A W, H = Q'AQ, and the test vectors' own coordinates Q'W.
    images, inner, coordinates = np.zeros((3, 0, 0))
    while len(tests) < max_probes:
        for _ in range(min(BLOCK, max_probes - len(tests))):
            test = normal_vector(size, generator, operator.device, operator.dtype)
            tests.append(test * (math.sqrt(size) / test.norm()))
        known = len(basis)
        new_images = _products(operator, tests[known:])
        for image in new_images:
            rest = orthogonal_part(image[None], [q[None] for q in basis])[0]
            if rest.norm() <= 100 * torch.finfo(rest.dtype).eps * image.norm():
                break
            basis.append(rest / rest.norm())
        for last, product in enumerate(_products(operator, basis[known:]), start=known):
            among = basis[: last + 1]
            images = _bordered(images, [float(q @ new_images[last - known]) for q in among], [0.0] * last)
            column = [float(q @ product) for q in among]
            inner = _bordered(inner, column, column[:-1])
            row = [float(basis[last] @ test) for test in tests[:last]]
            coordinates = _bordered(coordinates, [float(q @ tests[last]) for q in among], row)
        if len(basis) < len(tests):
            # Nothing of the range is left outside the basis: there the trace is known.
            yield np.full(len(tests), np.trace(inner))
            return
        yield _leave_one_out(images, inner, coordinates, size)


def _products(operator: Any, vectors: list[Tensor]) -> list[Tensor]:
    if not vectors:
        return []
    return list(require_finite_product(operator @ torch.stack(vectors, dim=1)).T.contiguous())


def _leave_one_out(images: np.ndarray, inner: np.ndarray, coordinates: np.ndarray, size: int) -> np.ndarray:
    # Column i of `omitted` is the unit vector of span Q that Q_i lacks, being orthogonal to all images but the i-th.
    omitted = np.linalg.inv(images).T
    omitted /= np.linalg.norm(omitted, axis=0)
    inside = coordinates - omitted * (omitted * coordinates).sum(axis=0)  # Q' Q_i Q_i' w_i
    outside = size - (inside**2).sum(axis=0)  # |r_i|^2
    curvature = (
        (coordinates * images).sum(axis=0)
        - 2 * (inside * images).sum(axis=0)
        + (inside * (inner @ inside)).sum(axis=0)  # r_i' A r_i
    )
    captured = np.trace(inner) - (omitted * (inner @ omitted)).sum(axis=0)
    return captured + (size - len(images) + 1) * curvature / outside


def _bordered(matrix: np.ndarray, column: list[float], row: list[float]) -> np.ndarray:
    return np.block([[matrix, np.array(column[:-1])[:, None]], [np.array([*row, column[-1]])]])
