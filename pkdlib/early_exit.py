"""Early exit: a cascade of three multi-exit networks that really stops computing once an exit is sure.

Exits are visited in `wise.ORDER`; at each, the WISE score of the exits so far is tested against a threshold on its
largest probability, and the first sure exit answers. The last exit always answers.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from pkdlib import wise
from pkdlib.networks import NUM_EXITS, MultiExitNetwork

# Fixed beforehand for every accuracy-cost curve; 1 never leaves early.
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 1.0)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a cascade says of one clip.

    Args:
        label: The class.
        confidence: Its probability, 0..1.
        exit: Index of the exit that answered, from 0, in the order of visiting.
    """

    label: int
    confidence: float
    exit: int


@torch.no_grad()
def classify(
    networks: Mapping[str, MultiExitNetwork],
    clip: Mapping[str, Tensor],
    weights: Sequence[np.ndarray],
    threshold: float,
) -> Answer:
    """Classify one clip, computing nothing behind the exit that answers.

    Args:
        networks: One for each modality, in eval mode.
        clip: Modality -> (1, segments, C, H, W).
        weights: One WISE vector a prefix of `wise.ORDER`.
        threshold: Leave at the first exit whose largest probability is above this.

    Returns:
        The answer.
    """
    in_order = (networks[modality].iterate(clip[modality]) for modality in modalities_in_order())
    visited: list[np.ndarray] = []
    for logits in itertools.chain.from_iterable(in_order):
        visited.append(logits[0].double().numpy())
        probabilities = _softmax(weights[len(visited) - 1] @ np.stack(visited))
        if probabilities.max() > threshold:
            break
    return Answer(int(probabilities.argmax()), float(probabilities.max()), len(visited) - 1)


def leave_at(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Say where each clip would leave, given all exits' scores.

    Args:
        scores: (N, exits, classes).
        threshold: As in `classify`.

    Returns:
        (N,) indices of exits.
    """
    sure = _softmax(scores).max(axis=2) > threshold
    sure[:, -1] = True
    return sure.argmax(axis=1)


def trade_off(
    scores: np.ndarray, labels: np.ndarray, costs: np.ndarray, thresholds: Sequence[float] = THRESHOLDS
) -> list[dict[str, float]]:
    """Compute accuracy and cost at each threshold; every clip is charged for the exit where it leaves, right or wrong.

    Args:
        scores: (N, exits, classes).
        labels: (N,).
        costs: (exits,) GMAC to leave at each exit, all that was computed before included.
        thresholds: To try.

    Returns:
        A row a threshold: setting, gmac (mean a clip), accuracy (0..1), clips.
    """
    rows = []
    for threshold in thresholds:
        exits = leave_at(scores, threshold)
        answers = scores[np.arange(len(labels)), exits].argmax(axis=1)
        rows.append(
            {
                "setting": threshold,
                "gmac": float(costs[exits].mean()),
                "accuracy": float((answers == labels).mean()),
                "clips": len(labels),
            }
        )
    return rows


def cascade_costs(exit_costs: Mapping[str, Sequence[float]]) -> np.ndarray:
    """Add up what it costs to leave at each exit of the cascade.

    Args:
        exit_costs: Modality -> cumulative cost of its four exits.

    Returns:
        (12,): a later network's exits also pay for the whole of the networks before.
    """
    paid, costs = 0.0, []
    for name in modalities_in_order():
        costs += [paid + cost for cost in exit_costs[name]]
        paid += exit_costs[name][-1]
    return np.array(costs)


def modalities_in_order() -> list[str]:
    """Return the modalities in the order in which the cascade visits them.

    Returns:
        Three names.
    """
    return [member.split("-")[0] for member in wise.ORDER[::NUM_EXITS]]


def _softmax(scores: np.ndarray) -> np.ndarray:
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
