"""How sure an exit is: criteria, each from scores to confidences, and the thresholds that curves are drawn at."""

import math
from collections.abc import Callable

import numpy as np

from pkdlib.ensemble.logits import softmax

NEVER = math.inf
# Fixed beforehand for every accuracy-cost curve; the last never leaves early.
THRESHOLDS = {
    "max_softmax": (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 1.0),
    "margin": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0),
    "entropy": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0),
    "patience": (*(number + 0.5 for number in range(1, 11)), NEVER),
}


def max_softmax(scores: np.ndarray) -> np.ndarray:
    """Return the largest probability.

    Args:
        scores: (N, exits, classes).

    Returns:
        (N, exits).
    """
    return softmax(scores).max(axis=-1)


def margin(scores: np.ndarray) -> np.ndarray:
    """Return the largest probability less the second largest.

    Args:
        scores: (N, exits, classes).

    Returns:
        (N, exits).
    """
    second, first = np.moveaxis(np.sort(softmax(scores), axis=-1)[..., -2:], -1, 0)
    return first - second


def entropy(scores: np.ndarray) -> np.ndarray:
    """Return 1 less the entropy of the probabilities as a share of its largest value.

    Args:
        scores: (N, exits, classes).

    Returns:
        (N, exits), 0..1.
    """
    probabilities = softmax(scores)
    terms = probabilities * np.log(np.where(probabilities > 0, probabilities, 1))
    return 1 + terms.sum(axis=-1) / np.log(scores.shape[-1])


def patience(scores: np.ndarray) -> np.ndarray:
    """Count the latest exits in a row, up to each, that give the same class (PABEE, Zhou et al., 2020).

    Args:
        scores: (N, exits, classes).

    Returns:
        (N, exits), from 1.
    """
    answers = scores.argmax(axis=-1)
    count = np.ones(answers.shape)
    for exit_ in range(1, answers.shape[1]):
        same = answers[:, exit_] == answers[:, exit_ - 1]
        count[:, exit_] = np.where(same, count[:, exit_ - 1] + 1, 1)
    return count


# How sure an exit is: from the scores of the exits so far to a number that is higher the surer it is.
CRITERIA: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "max_softmax": max_softmax,
    "margin": margin,
    "entropy": entropy,
    "patience": patience,
}
