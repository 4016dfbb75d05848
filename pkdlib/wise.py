r"""WISE: a weighted sum of the logits of all exits visited so far, one weight vector for each prefix of exits.

At exit :math:`k` the score is :math:`\sum_{j \le k} w_{kj} z_j` with :math:`z_j` the logits of exit :math:`j`. The
weights minimise

.. math:: \frac{1}{N}\sum_n \mathrm{CE}\Big(\sum_j w_{kj} z_{nj}, y_n\Big) + \frac{\lambda}{2} \lVert w_k - u \rVert^2,

with :math:`u = 1/k`, a convex problem solved to convergence by Newton's method. The small ridge :math:`\lambda`
towards the uniform mean makes the optimum finite, which on separable logits it is not without one. The reference
minimises this cross-entropy on *training* logits by 500 steps of SGD with an L1 term; here the weights are fitted on
validation logits.
"""

from collections.abc import Sequence

import numpy as np

RIDGE = 1e-2
TOLERANCE = 1e-9
MAX_ITERATIONS = 100
# The reference's order on both data sets (CoViAR variant).
ORDER = tuple(f"{modality}-{exit_}" for modality in ("residual", "motion", "iframe") for exit_ in (1, 2, 3, 4))


class ConvergenceError(Exception):
    """The fit did not reach its tolerance."""


def fit(logits: np.ndarray, labels: np.ndarray, *, ridge: float = RIDGE) -> np.ndarray:
    """Fit one weight vector for some exits.

    Args:
        logits: (N, exits, classes), of samples that did not train the networks.
        labels: (N,) integers.
        ridge: The strength of the pull towards the uniform mean, above 0.

    Returns:
        (exits,) float64 weights.

    Raises:
        ConvergenceError: If Newton's decrement does not fall below TOLERANCE.
        ValueError: If the ridge is not positive.
    """
    if ridge <= 0:
        raise ValueError(f"ridge = {ridge} must be above 0: separable logits have no finite optimum without one")
    logits = np.asarray(logits, dtype=np.float64)
    uniform = np.full(logits.shape[1], 1 / logits.shape[1])
    weights = uniform.copy()
    chosen = logits[np.arange(len(labels)), :, labels]
    for _ in range(MAX_ITERATIONS):
        probabilities = _softmax(np.einsum("nkc,k->nc", logits, weights))
        expected = np.einsum("nkc,nc->nk", logits, probabilities)
        gradient = (expected - chosen).mean(0) + ridge * (weights - uniform)
        centred = logits - expected[:, :, None]
        weighted = centred * probabilities[:, None, :]
        hessian = np.einsum("nkc,njc->kj", weighted, centred, optimize=True) / len(labels)
        hessian += ridge * np.eye(len(weights))
        step = np.linalg.solve(hessian, gradient)
        decrement = gradient @ step
        if decrement < TOLERANCE:
            return weights
        weights = _backtrack(weights, step, decrement, lambda w: objective(w, logits, labels, ridge))
    raise ConvergenceError(f"no convergence in {MAX_ITERATIONS} Newton steps (decrement {decrement:.2e})")


def objective(weights: np.ndarray, logits: np.ndarray, labels: np.ndarray, ridge: float) -> float:
    """Evaluate what `fit` minimises.

    Args:
        weights: (exits,).
        logits: (N, exits, classes).
        labels: (N,).
        ridge: Its strength.

    Returns:
        Mean cross-entropy plus the ridge term.
    """
    scores = np.einsum("nkc,k->nc", logits, weights)
    shifted = scores - scores.max(1, keepdims=True)
    log_normaliser = np.log(np.exp(shifted).sum(1))
    cross_entropy = log_normaliser - shifted[np.arange(len(labels)), labels]
    return float(cross_entropy.mean() + ridge / 2 * np.sum((weights - 1 / len(weights)) ** 2))


def fit_prefixes(logits: np.ndarray, labels: np.ndarray, *, ridge: float = RIDGE) -> list[np.ndarray]:
    """Fit a weight vector for every prefix of the exits.

    Args:
        logits: (N, exits, classes), exits in the order in which they are visited.
        labels: (N,).
        ridge: Its strength.

    Returns:
        For k = 1 .. exits, weights of shape (k,).
    """
    return [fit(logits[:, :k], labels, ridge=ridge) for k in range(1, logits.shape[1] + 1)]


def scores(logits: np.ndarray, weights: Sequence[np.ndarray]) -> np.ndarray:
    """Combine each prefix's logits.

    Args:
        logits: (N, exits, classes).
        weights: One vector a prefix, of lengths 1 .. exits.

    Returns:
        (N, exits, classes): the score on which exit k would answer.
    """
    return np.stack([np.einsum("nkc,k->nc", logits[:, : len(w)], w) for w in weights], axis=1)


def uniform_weights(num_exits: int) -> list[np.ndarray]:
    """Return the baseline's weights: the mean of all exits visited.

    Args:
        num_exits: How many exits there are.

    Returns:
        One vector a prefix.
    """
    return [np.full(k, 1 / k) for k in range(1, num_exits + 1)]


def _softmax(values: np.ndarray) -> np.ndarray:
    exponentials = np.exp(values - values.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def _backtrack(weights, step, decrement, evaluate) -> np.ndarray:
    start, size = evaluate(weights), 1.0
    while evaluate(weights - size * step) > start - 1e-4 * size * decrement and size > 1e-8:
        size /= 2
    return weights - size * step
