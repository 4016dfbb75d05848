"""Logits as numpy arrays: probabilities, cross-entropy, and the checks before a fit."""

import numpy as np


def softmax(scores: np.ndarray) -> np.ndarray:
    """Turn scores into probabilities.

    Args:
        scores: (..., classes).

    Returns:
        (..., classes) that sum to 1.
    """
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def cross_entropy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Compute the mean cross-entropy.

    Args:
        scores: (N, classes).
        labels: (N,).

    Returns:
        Nats.
    """
    shifted = scores - scores.max(axis=1, keepdims=True)
    return float((np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]).mean())


def checked_logits(logits: np.ndarray, axes: tuple[str, ...]) -> np.ndarray:
    """Refuse logits that cannot be fitted.

    Args:
        logits: Anything like an array.
        axes: Names of its axes, for the message.

    Returns:
        float64.

    Raises:
        ValueError: If the shape does not fit, or a value is not finite.
    """
    logits = np.asarray(logits, dtype=np.float64)
    if logits.ndim != len(axes) or not logits.size:
        raise ValueError(f"logits: shape {logits.shape}; need ({', '.join(axes)}), none of them 0")
    if not np.isfinite(logits).all():
        raise ValueError("logits: infinite or NaN logits are refused; the network diverged")
    return logits


def checked_labels(labels: np.ndarray, num_samples: int, num_classes: int) -> np.ndarray:
    """Refuse labels that do not belong to logits.

    Args:
        labels: Anything like an array.
        num_samples: Of the logits.
        num_classes: Of the logits.

    Returns:
        (N,) integers.

    Raises:
        ValueError: If they are not integers of these classes, one for each sample.
    """
    labels = np.asarray(labels)
    if labels.shape != (num_samples,):
        raise ValueError(f"labels: shape {labels.shape}; need ({num_samples},), one for each sample of the logits")
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(f"labels: need integers from 0 to {num_classes - 1}, the classes of the logits")
    return labels


def require_ridge(ridge: float) -> None:
    """Refuse a ridge that is not above 0.

    Args:
        ridge: Strength.

    Raises:
        ValueError: If it is not above 0, or infinite.
    """
    if not 0 < ridge < np.inf:
        raise ValueError(f"ridge: {ridge} must be above 0: separable logits have no finite optimum without one")
