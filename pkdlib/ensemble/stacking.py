"""Stacking: multinomial logistic regression on the logits of all exits, a baseline of WISE with many more weights.

Every function refuses, with a ValueError that names the argument, logits that are not finite and shapes, labels or
strengths that do not fit.
"""

import dataclasses

import numpy as np
import scipy.optimize

from pkdlib.ensemble.logits import checked_labels, checked_logits, cross_entropy, require_ridge, softmax
from pkdlib.ensemble.wise import RIDGE, ConvergenceError

TOLERANCE = 1e-6  # on the largest entry of the gradient; L-BFGS cannot reach far below in float64
MAX_STEPS = 20_000


@dataclasses.dataclass(frozen=True)
class Stacking:
    """Multinomial logistic regression on the concatenated logits of all exits.

    Args:
        matrix: (exits * classes, classes); row `exit * classes + class` belongs to one logit.
        bias: (classes,).
    """

    matrix: np.ndarray
    bias: np.ndarray

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Score clips.

        Args:
            logits: (N, exits, classes), of the exits that were fitted.

        Returns:
            (N, classes) float64.

        Raises:
            ValueError: If exits and classes are not those of the fit.
        """
        features = _features(logits)
        if features.shape[1] != len(self.matrix):
            raise ValueError(f"logits: {features.shape[1]} values a clip; this stacking takes {len(self.matrix)}")
        return features @ self.matrix + self.bias


def fit_stacking(logits: np.ndarray, labels: np.ndarray, *, ridge: float = RIDGE) -> Stacking:
    """Fit stacking: minimise mean cross-entropy + ridge / 2 * squared norm of the matrix by L-BFGS.

    Logits enter as they are, neither centred nor scaled, as in `wise.fit`. The bias is free, so that of a class without
    a label has its optimum at minus infinity: it ends where that class's mean probability is below TOLERANCE.

    Args:
        logits: (N, exits, classes).
        labels: (N,) integers.
        ridge: Strength of the penalty, above 0.

    Returns:
        The fitted stacking.

    Raises:
        ConvergenceError: If an entry of the gradient stays above TOLERANCE.

    Example:
        >>> import numpy as np
        >>> from pkdlib import fit_stacking
        >>> answers = np.arange(60) % 3
        >>> logits = np.roll(np.eye(3)[answers], 1, axis=1)[:, None]  # one exit, always off by one class
        >>> stacking = fit_stacking(logits, answers)
        >>> float((stacking.scores(logits).argmax(axis=1) == answers).mean())
        1.0
    """
    features = _features(logits)
    num_classes = np.shape(logits)[2]
    labels = checked_labels(labels, len(features), num_classes)
    require_ridge(ridge)
    fitted = scipy.optimize.minimize(
        _objective,
        np.zeros((features.shape[1] + 1) * num_classes),
        args=(np.column_stack([features, np.ones(len(features))]), labels, ridge),
        jac=True,
        method="L-BFGS-B",
        options={
            "gtol": TOLERANCE,
            "ftol": 0,
            "maxiter": MAX_STEPS,
            "maxfun": 2 * MAX_STEPS,
            "maxcor": 30,
        },
    )
    if (steepest := np.abs(fitted.jac).max()) > TOLERANCE:
        raise ConvergenceError(f"no convergence of the stacking in {fitted.nit} steps (gradient {steepest:.2e})")
    table = fitted.x.reshape(-1, num_classes)
    return Stacking(table[:-1], table[-1])


def _objective(parameters, features, labels, ridge) -> tuple[float, np.ndarray]:
    # Return value and gradient; the last feature is the constant 1, whose row is the bias.
    table = parameters.reshape(features.shape[1], -1)
    scores = features @ table
    errors = softmax(scores)
    errors[np.arange(len(labels)), labels] -= 1
    penalised = np.vstack([table[:-1], np.zeros_like(table[-1])])
    gradient = features.T @ errors / len(labels) + ridge * penalised
    return cross_entropy(scores, labels) + ridge / 2 * np.sum(penalised**2), gradient.ravel()


def _features(logits) -> np.ndarray:
    logits = checked_logits(logits, ("N", "exits", "classes"))
    return logits.reshape(len(logits), -1)
