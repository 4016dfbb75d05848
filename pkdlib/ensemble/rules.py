"""Ways to weigh exits, by name, and the late fusion of networks that have none."""

import functools
from collections.abc import Callable, Sequence

import numpy as np

from pkdlib.ensemble import wise
from pkdlib.ensemble.logits import checked_logits

# From logits (N, exits, classes) and labels to a weight vector for each prefix of the exits.
Rule = Callable[[np.ndarray, np.ndarray], Sequence[np.ndarray]]
# The reference's strength of the L1 term from prefix 6 on, here for all prefixes.
L1_STRENGTH = 0.1
RULES: dict[str, Rule] = {
    "wise": wise.wise_weights,
    "wise_nonnegative": functools.partial(wise.wise_weights, nonnegative=True),
    "wise_l1": functools.partial(wise.wise_weights, l1=L1_STRENGTH),
    "tempered": wise.tempered_weights,
    "uniform": lambda logits, _: wise.uniform_weights(logits.shape[1]),
}


def late_fusion(held_out: np.ndarray, labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Fuse the final outputs of several networks, with one weight each, which WISE fits on held-out samples.

    Args:
        held_out: (M, networks, classes), logits of samples that trained none of the networks.
        labels: (M,), theirs.
        logits: (N, networks, classes), of the samples to be answered.

    Returns:
        (N, classes) float64 scores.

    Raises:
        ValueError: If logits are not finite, or the labels do not fit.

    Example:
        The second network knows nothing, and gets next to no weight.

        >>> import numpy as np
        >>> from pkdlib import ensemble
        >>> labels = np.arange(100) % 4
        >>> knows, guesses = 3 * np.eye(4)[labels], np.random.default_rng(0).normal(size=(100, 4))
        >>> logits = np.stack([knows, guesses], axis=1)
        >>> scores = ensemble.late_fusion(logits[:50], labels[:50], logits[50:])
        >>> float((scores.argmax(axis=1) == labels[50:]).mean())
        1.0
    """  # noqa: DOC502
    logits = checked_logits(logits, ("N", "networks", "classes"))
    return np.einsum("nkc,k->nc", logits, wise.fit(held_out, labels))
