r"""WISE: a weighted sum of the logits of all exits visited so far, one weight vector for each prefix of exits.

At exit :math:`k` the score is :math:`\sum_{j \le k} w_{kj} z_j` with :math:`z_j` the logits of exit :math:`j`. The
weights minimise, over all of :math:`\mathbb{R}^k` or over :math:`w_k \ge 0`,

.. math::

   \frac{1}{N}\sum_n \mathrm{CE}\Big(\sum_j w_{kj} z_{nj}, y_n\Big)
   + \frac{\lambda}{2} \Big\lVert w_k - \frac{1}{k} \Big\rVert_2^2 + \alpha \lVert w_k \rVert_1,

a convex problem, solved to convergence by proximal Newton steps (Lee, Sun and Saunders 2014, "Proximal Newton-type
methods for minimizing composite functions"). The small ridge :math:`\lambda` towards the mean of the exits makes the
optimum finite and unique, which on separable logits or with two equal exits it is not without one.

The reference (Efstathia-Soufleri/PKD, commit e227377) has no ridge and stops after 500 SGD steps on *training* logits;
its :math:`\alpha` is 0 up to prefix 5 and 0.1 from there, and it leaves prefix 1 unweighted. Which logits to fit on is
the caller's choice here; weights for held-out clips belong on validation logits.

Every function refuses, with a ValueError that names the argument, logits that are not finite and shapes, labels or
strengths that do not fit.
"""

from collections.abc import Sequence

import numpy as np

from pkdlib.ensemble.logits import checked_labels, checked_logits, cross_entropy, require_ridge, softmax

RIDGE = 1e-2
TOLERANCE = 1e-8  # on the largest entry of the proximal gradient step, so weights are right to TOLERANCE / ridge
MAX_STEPS = 200
MAX_SWEEPS = 200
SUFFICIENT_DECREASE = 1e-4
ROUNDING = 1e-13  # of the objective, relative: a decrease smaller than this cannot be seen
EXITS = (1, 2, 3, 4)


class ConvergenceError(Exception):
    """The fit did not reach its tolerance."""


def visiting_order(networks: Sequence[str]) -> tuple[str, ...]:
    """Name the exits of some networks in the order in which a cascade visits them.

    Args:
        networks: What each reads, in the order of visiting.

    Returns:
        `network-exit` for the exits 1 to 4 of each network, all of one before the next.
    """
    return tuple(f"{name}-{exit_}" for name in networks for exit_ in EXITS)


def fit(
    logits: np.ndarray, labels: np.ndarray, *, ridge: float = RIDGE, l1: float = 0.0, nonnegative: bool = False
) -> np.ndarray:
    """Fit one weight vector for some exits.

    Args:
        logits: (N, exits, classes).
        labels: (N,) integers; a class may be missing.
        ridge: Strength of the pull towards the mean of the exits, above 0.
        l1: Strength of the L1 term, 0 or above.
        nonnegative: Whether the weights must be 0 or above.

    Returns:
        (exits,) float64 weights; those that the L1 term or the sign constraint puts to 0 are exactly 0.

    Raises:
        ConvergenceError: If an entry of the proximal gradient step is still TOLERANCE or above after MAX_STEPS steps.
        ValueError: If the L1 strength is below 0.
    """
    exits, labels = _exits_and_labels(logits, labels)
    require_ridge(ridge)
    if not 0 <= l1 < np.inf:
        raise ValueError(f"l1: {l1} must be 0 or above")
    # The penalty enters the optimality conditions by its slopes below and above 0 alone; a wall is an infinite slope.
    slopes = (-np.inf if nonnegative else -l1, l1)
    weights = np.full(len(exits), 1 / len(exits))
    for _ in range(MAX_STEPS):
        gradient, hessian = _derivatives(weights, exits, labels, ridge)
        residual = np.abs(weights - _prox(weights - gradient, slopes)).max()
        if residual < TOLERANCE:
            return weights
        target = _minimise_quadratic(hessian, gradient - hessian @ weights, weights, slopes)
        weights = _backtrack(weights, target, gradient, exits, labels, ridge, l1)
    raise ConvergenceError(f"no convergence in {MAX_STEPS} proximal Newton steps (residual {residual:.2e})")


def wise_weights(
    logits: np.ndarray, labels: np.ndarray, *, ridge: float = RIDGE, l1: float = 0.0, nonnegative: bool = False
) -> list[np.ndarray]:
    """Fit a weight vector for every prefix of the exits.

    The one weight of prefix 1, which the paper leaves at 1, scales logits: it changes confidences, never the answer
    (unless it is 0).

    Args:
        logits: (N, exits, classes), exits in the order in which they are visited.
        labels: (N,).
        ridge: As in `fit`.
        l1: As in `fit`.
        nonnegative: As in `fit`.

    Returns:
        For k = 1 .. exits, weights of shape (k,).

    Example:
        The first exit knows the answer, the second guesses: the sum of both leans on the first.

        >>> import numpy as np
        >>> from pkdlib import wise_weights
        >>> answers = np.arange(60) % 3
        >>> logits = np.stack([2 * np.eye(3)[answers], np.random.default_rng(0).normal(size=(60, 3))], axis=1)
        >>> one, both = wise_weights(logits, answers)
        >>> bool(both[0] > 5 * abs(both[1]))
        True
    """
    logits = checked_logits(logits, ("N", "exits", "classes"))
    prefixes = range(1, logits.shape[1] + 1)
    return [fit(logits[:, :k], labels, ridge=ridge, l1=l1, nonnegative=nonnegative) for k in prefixes]


def fit_temperature(logits: np.ndarray, labels: np.ndarray, *, ridge: float = RIDGE) -> float:
    """Fit the inverse temperature of one classifier: the scale by which to multiply its logits.

    Temperature scaling (Guo et al. 2017, "On calibration of modern neural networks") is WISE with one exit and a
    weight of 0 or above, pulled towards 1.

    Args:
        logits: (N, classes), for example the uniform mean of some exits.
        labels: (N,).
        ridge: As in `fit`.

    Returns:
        1 / temperature, 0 or above.
    """
    logits = checked_logits(logits, ("N", "classes"))
    return float(fit(logits[:, None], labels, ridge=ridge, nonnegative=True)[0])


def weighted_scores(logits: np.ndarray, weights: Sequence[np.ndarray]) -> np.ndarray:
    """Combine each prefix's logits.

    Args:
        logits: (N, exits, classes).
        weights: One vector a prefix, of lengths 1 .. exits.

    Returns:
        (N, exits, classes) float64: the score on which exit k would answer.

    Raises:
        ValueError: If the weights are not one vector of the right length for each prefix.

    Example:
        >>> import numpy as np
        >>> from pkdlib import weighted_scores
        >>> logits = np.array([[[1.0, 0.0], [0.0, 3.0]]])  # one sample, two exits, two classes
        >>> weighted_scores(logits, [np.array([1.0]), np.array([0.5, 0.5])]).tolist()
        [[[1.0, 0.0], [0.5, 1.5]]]
    """
    logits = checked_logits(logits, ("N", "exits", "classes"))
    if (lengths := [len(w) for w in weights]) != list(range(1, logits.shape[1] + 1)):
        raise ValueError(f"weights: vectors of lengths {lengths}; need 1 to {logits.shape[1]}, one for each prefix")
    return np.stack([np.tensordot(logits[:, : len(w)], w, axes=(1, 0)) for w in weights], axis=1)


def uniform_weights(num_exits: int) -> list[np.ndarray]:
    """Return the baseline's weights: the mean of all exits visited.

    Args:
        num_exits: How many exits there are.

    Returns:
        One vector a prefix.
    """
    return [np.full(k, 1 / k) for k in range(1, num_exits + 1)]


def tempered_weights(logits: np.ndarray, labels: np.ndarray, *, ridge: float = RIDGE) -> list[np.ndarray]:
    """Fit a baseline: the mean of all exits visited, each first scaled by a temperature of its own.

    Args:
        logits: (N, exits, classes).
        labels: (N,).
        ridge: As in `fit`.

    Returns:
        One vector a prefix.
    """
    logits = checked_logits(logits, ("N", "exits", "classes"))
    scales = np.array([fit_temperature(logits[:, k], labels, ridge=ridge) for k in range(logits.shape[1])])
    return [scales[:k] / k for k in range(1, len(scales) + 1)]


def reference_variant_scores(logits: np.ndarray) -> dict[str, np.ndarray]:
    """Score the reference's two ablations of WISE, each with the fallback that its code hard-codes at the last exit.

    Source: `no_scaling` and `no_scaling_no_lateral` in COVIAR_backbone/hmdb_wise.py of Efstathia-Soufleri/PKD, commit
    e227377. The fallbacks differ: three networks' sum against one network, so the two last scores compare fusions.

    Args:
        logits: (N, exits, classes), the four exits of each network in the order of visiting.

    Returns:
        Name -> (N, exits, classes). `no_scaling`: the plain sum of the exits so far, and last the sum of the networks'
        final outputs. `no_lateral`: each exit alone, and so last the last network's (of the reference's three, the
        I-frame's) final output alone.

    Raises:
        ValueError: If they are not the exits of whole networks.
    """
    logits = checked_logits(logits, ("N", "exits", "classes"))
    if logits.shape[1] % len(EXITS):
        raise ValueError(f"logits: {logits.shape[1]} exits; the reference's variants need {len(EXITS)} of each network")
    summed = logits.cumsum(axis=1)
    summed[:, -1] = logits[:, len(EXITS) - 1 :: len(EXITS)].sum(axis=1)
    return {"no_scaling": summed, "no_lateral": logits.copy()}


def _derivatives(weights, exits, labels, ridge) -> tuple[np.ndarray, np.ndarray]:
    # Return gradient (K,) and Hessian (K, K) of the smooth part: cross-entropy and ridge.
    num_exits, num_samples, _ = exits.shape
    probabilities = softmax(np.tensordot(weights, exits, 1))
    errors = probabilities.copy()
    errors[np.arange(num_samples), labels] -= 1
    gradient = np.tensordot(exits, errors, 2) / num_samples + ridge * (weights - 1 / num_exits)
    expected = np.einsum("knc,nc->kn", exits, probabilities)
    # A product with its own transpose, hence positive semidefinite even after rounding.
    deviations = ((exits - expected[:, :, None]) * np.sqrt(probabilities)).reshape(num_exits, -1)
    return gradient, deviations @ deviations.T / num_samples + ridge * np.eye(num_exits)


def _prox(values, slopes):
    # Apply the penalty's proximal map, by Moreau's decomposition: subtract the projection on its slopes at 0.
    # With slopes (-t, t) this is soft thresholding, with (-inf, t) its nonnegative form, with (0, 0) the identity.
    lower, upper = slopes
    return values - np.minimum(np.maximum(values, lower), upper)


def _minimise_quadratic(hessian, linear, start, slopes) -> np.ndarray:
    # Minimise v'Hv/2 + linear'v + penalty(v): coordinate descent finds the signs, a linear system the values.
    # Coordinate descent alone would be slow, since exits of one network have almost the same logits.
    if slopes == (0, 0):
        return np.linalg.solve(hessian, -linear)
    values = start.copy()
    curvatures = hessian.diagonal()
    for _ in range(MAX_SWEEPS):
        for j, curvature in enumerate(curvatures):
            lowest = values[j] - (hessian[j] @ values + linear[j]) / curvature
            values[j] = _prox(lowest, (slopes[0] / curvature, slopes[1] / curvature))
        values = _descend_with_signs(hessian, linear, values, slopes)
        if np.abs(values - _prox(values - hessian @ values - linear, slopes)).max() < TOLERANCE / 10:
            break
    return values  # if the sweeps ran out still a descent direction, and `fit` judges convergence


def _descend_with_signs(hessian, linear, values, slopes) -> np.ndarray:
    # Minimise over the nonzero values as far as none of them crosses 0; the first that would becomes 0.
    free = np.flatnonzero(values)
    kept = values[free]
    slope = linear[free] + np.where(kept > 0, slopes[1], slopes[0])
    move = np.linalg.solve(hessian[np.ix_(free, free)], -slope) - kept
    crossing = kept * (kept + move) < 0
    reach = np.where(crossing, kept / np.where(crossing, -move, 1), 1)
    moved = values.copy()
    moved[free] = kept + reach.min(initial=1) * move
    if crossing.any():
        moved[free[reach.argmin()]] = 0
    return moved


def _backtrack(weights, target, gradient, exits, labels, ridge, l1) -> np.ndarray:
    # Halve the way to the target until the objective falls enough.
    start = _objective(weights, exits, labels, ridge, l1)
    promised = gradient @ (target - weights) + l1 * (np.abs(target).sum() - np.abs(weights).sum())
    slack = ROUNDING * (1 + abs(start))
    size, candidate = 1.0, target
    while _objective(candidate, exits, labels, ridge, l1) > start + SUFFICIENT_DECREASE * size * promised + slack:
        size /= 2
        candidate = weights + size * (target - weights)
    return candidate


def _objective(weights, exits, labels, ridge, l1) -> float:
    loss = cross_entropy(np.tensordot(weights, exits, 1), labels)
    return loss + ridge / 2 * np.sum((weights - 1 / len(weights)) ** 2) + l1 * np.abs(weights).sum()


def _exits_and_labels(logits, labels) -> tuple[np.ndarray, np.ndarray]:
    # Check the data of a fit; return the logits as contiguous (exits, N, classes), where sums are matrix products.
    logits = checked_logits(logits, ("N", "exits", "classes"))
    exits = np.ascontiguousarray(logits.swapaxes(0, 1))
    return exits, checked_labels(labels, *exits.shape[1:])
