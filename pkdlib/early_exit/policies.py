r"""Early exit: a cascade of multi-exit networks that really stops computing once an exit is sure.

Exits are visited in the order of a policy; at each, the confidence of the weighted score of the exits so far is set
against a threshold, and the first sure exit answers. The last exit always answers. `leave_at` says from saved scores
where samples would leave; `execute` makes them leave: they are taken out of the batch, later stages run on the rest
alone, and a modality that no sample reaches is never asked for.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from pkdlib.early_exit.criteria import CRITERIA, NEVER, THRESHOLDS
from pkdlib.models.backbones import MultiExitNetwork

# The candidates of `choose_threshold` are at most so many of the confidences seen.
MOST_CANDIDATES = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """When a cascade stops.

    Args:
        order: Networks, named by what they read, in the order in which they are visited.
        weights: One vector a prefix of the exits, of lengths 1, 2, ...
        criterion: A key of CRITERIA.
        threshold: A sample leaves at the first exit whose confidence is above this; infinite is never.

    Example:
        Two networks of two exits each: leave as soon as the mean of the exits so far gives 90 % to one class.

        >>> import numpy as np
        >>> from pkdlib import Policy
        >>> from pkdlib.ensemble import uniform_weights
        >>> policy = Policy(order=("motion", "iframe"), weights=tuple(uniform_weights(4)), threshold=0.9)
        >>> policy.criterion
        'max_softmax'
    """

    order: tuple[str, ...]
    weights: tuple[np.ndarray, ...]
    criterion: str = "max_softmax"
    threshold: float = NEVER

    def __post_init__(self):
        """Refuse what makes no sense.

        Raises:
            ValueError: If the criterion is unknown, the threshold not a number, or a weight vector missing.
        """
        if self.criterion not in CRITERIA:
            raise ValueError(f"criterion = {self.criterion!r} is not known; the criteria are: {', '.join(CRITERIA)}")
        if math.isnan(self.threshold):
            raise ValueError("threshold is not a number")
        lengths = [len(vector) for vector in self.weights]
        if not lengths or lengths != list(range(1, len(lengths) + 1)):
            raise ValueError(
                f"weights: vectors of lengths {lengths}; need one for each prefix of the exits of {self.order}"
            )


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a cascade says of a batch.

    Args:
        labels: (N,) classes.
        confidences: (N,) of the policy's criterion, at the exit that answered.
        exits: (N,) indices of the exits that answered, from 0, in the order of visiting.
        distances: (N,) from the threshold to the nearest confidence met: below rounding, another machine may decide
            otherwise.
    """

    labels: np.ndarray
    confidences: np.ndarray
    exits: np.ndarray
    distances: np.ndarray


def exit_counts(networks: Mapping[str, MultiExitNetwork], policy: Policy) -> dict[str, int]:
    """Count the exits of a policy's networks, their own ends among them.

    Args:
        networks: Name -> network.
        policy: Which says in what order they are visited.

    Returns:
        Name -> exits, in that order.

    Raises:
        ValueError: If the policy has not a weight vector for each of them.
    """
    counts = {name: len(networks[name].exits) + 1 for name in policy.order}
    if len(policy.weights) != sum(counts.values()):
        raise ValueError(f"weights: {len(policy.weights)} vectors; {policy.order} have {sum(counts.values())} exits")
    return counts


@torch.no_grad()
def execute(
    networks: Mapping[str, MultiExitNetwork],
    load: Callable[[str, np.ndarray], Tensor],
    count: int,
    policy: Policy,
) -> Answers:
    """Classify a batch, computing nothing for a sample behind the exit that answers it.

    Args:
        networks: Those of the policy, in eval mode.
        load: From what a network reads and the positions (0..count - 1) of the samples that still need it to these
            samples, such as clips (positions, segments, C, H, W), on the network's device. It is not called for a
            network that no sample reaches.
        count: Samples in the batch.
        policy: When to stop.

    Returns:
        The answers.

    Raises:
        ValueError: If a logit is not finite, or the policy has not a weight vector for each exit of its networks.
    """
    counts = exit_counts(networks, policy)
    labels, exits = np.zeros(count, int), np.zeros(count, int)
    confidences, distances = np.zeros(count), np.full(count, np.inf)
    left = np.arange(count)
    logits: list[np.ndarray] = []  # of the exits visited, and their scores: of the samples that are left
    scores: list[np.ndarray] = []
    number = 0
    for modality in policy.order:
        if not len(left):
            break
        outputs = networks[modality].iterate(load(modality, left))
        keep: Tensor | None = None
        for exit_ in range(1, counts[modality] + 1):
            logits.append(outputs.send(keep).cpu().double().numpy())
            if not np.isfinite(logits[-1]).all():
                raise ValueError(f"exit {modality}-{exit_}: infinite or NaN logits are refused")
            scores.append(np.tensordot(policy.weights[number], np.stack(logits), axes=1))
            confidence = CRITERIA[policy.criterion](np.stack(scores, axis=1))[:, -1]
            distances[left] = np.minimum(distances[left], np.abs(confidence - policy.threshold))
            sure = confidence > policy.threshold
            if number == len(policy.weights) - 1:
                sure[:] = True
            gone = left[sure]
            labels[gone], confidences[gone] = scores[-1][sure].argmax(axis=1), confidence[sure]
            exits[gone] = number
            number += 1
            left = left[~sure]
            logits, scores = ([values[~sure] for values in kept] for kept in (logits, scores))
            keep = torch.from_numpy(np.flatnonzero(~sure)) if sure.any() else None
            if not len(left):
                break
        outputs.close()
    return Answers(labels, confidences, exits, distances)


def leave_at(scores: np.ndarray, threshold: float, criterion: str = "max_softmax") -> np.ndarray:
    """Say where each sample would leave, given all exits' scores.

    Args:
        scores: (N, exits, classes).
        threshold: As in `Policy`.
        criterion: As in `Policy`.

    Returns:
        (N,) indices of exits.

    Raises:
        ValueError: If a score is not finite.
    """
    if not np.isfinite(scores).all():
        raise ValueError("scores: infinite or NaN scores are refused")
    return _first_sure(CRITERIA[criterion](scores), threshold)


def trade_off(
    scores: np.ndarray,
    labels: np.ndarray,
    costs: np.ndarray,
    thresholds: Sequence[float] | None = None,
    criterion: str = "max_softmax",
) -> list[dict[str, float]]:
    """Compute accuracy and cost at each threshold; every clip is charged for the exit where it leaves, right or wrong.

    Args:
        scores: (N, exits, classes).
        labels: (N,).
        costs: (exits,) GMAC to leave at each exit, all that was computed before included.
        thresholds: To try; THRESHOLDS of the criterion where none are given, or, of one's own, of `max_softmax`.
        criterion: As in `Policy`.

    Returns:
        A row a threshold: setting, gmac (mean a clip), accuracy (0..1), clips.
    """
    rows = []
    for threshold in THRESHOLDS.get(criterion, THRESHOLDS["max_softmax"]) if thresholds is None else thresholds:
        exits = leave_at(scores, threshold, criterion)
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


def choose_threshold(
    scores: np.ndarray,
    labels: np.ndarray,
    costs: np.ndarray,
    *,
    criterion: str = "max_softmax",
    accuracy: float | None = None,
    budget: float | None = None,
) -> float:
    """Choose a threshold on samples that did not train the networks, for a target accuracy or a budget.

    Candidates lie between neighbouring confidences of these samples, at most MOST_CANDIDATES of them, beside leaving
    at once and never.

    Args:
        scores: (N, exits, classes).
        labels: (N,).
        costs: (exits,) GMAC to leave at each exit.
        criterion: As in `Policy`.
        accuracy: Find the cheapest that is at least so accurate (0..1).
        budget: Find the most accurate that costs at most so many GMAC a clip; the cheapest among equals.

    Returns:
        The threshold.

    Raises:
        ValueError: If not exactly one aim is given, or none of the candidates meets it.

    Example:
        >>> import numpy as np
        >>> from pkdlib import choose_threshold
        >>> from pkdlib.early_exit import leave_at
        >>> answers = np.array([0, 1, 0, 1])
        >>> first = np.array([[5, 0], [0, 5], [0, 0.5], [0.5, 0]])  # sure of two samples, and wrong about the others
        >>> scores = np.stack([first, 9 * np.eye(2)[answers]], axis=1)
        >>> threshold = choose_threshold(scores, answers, np.array([1.0, 3.0]), budget=2.0)
        >>> leave_at(scores, threshold).tolist()
        [0, 0, 1, 1]
    """
    if (accuracy is None) == (budget is None):
        raise ValueError("give either accuracy or budget, not both and not neither")
    confidences = CRITERIA[criterion](scores)
    seen = np.unique(confidences[:, :-1])
    between = (seen[1:] + seen[:-1]) / 2
    if len(between) > MOST_CANDIDATES:
        between = between[np.linspace(0, len(between) - 1, MOST_CANDIDATES).round().astype(int)]
    candidates = np.array([-np.inf, *between, NEVER])
    leaving = [_first_sure(confidences, threshold) for threshold in candidates]
    right = scores.argmax(axis=2) == labels[:, None]
    found = np.array([right[np.arange(len(labels)), exits].mean() for exits in leaving])
    paid = np.array([costs[exits].mean() for exits in leaving])
    meets = found >= accuracy if accuracy is not None else paid <= budget
    if not meets.any():
        aim = f"accuracy = {accuracy}" if accuracy is not None else f"budget = {budget} GMAC"
        raise ValueError(
            f"{aim} cannot be met: thresholds reach accuracies up to {found.max():.3f} and costs "
            f"down to {paid.min():.3g}"
        )
    keys = (-found, paid) if accuracy is not None else (paid, -found)  # lexsort's last key counts first
    best = next(index for index in np.lexsort(keys) if meets[index])
    return float(candidates[best])


@dataclasses.dataclass(frozen=True)
class ScoredOrder:
    """An order in which networks may be visited, and what it answers on some samples.

    Args:
        order: The networks.
        weights: One vector a prefix of their exits.
        scores: (N, exits, classes), of the samples.
        costs: (exits,) GMAC to leave at each exit.
    """

    order: tuple[str, ...]
    weights: tuple[np.ndarray, ...]
    scores: np.ndarray
    costs: np.ndarray


def choose_policy(orders: Sequence[ScoredOrder], labels: np.ndarray, *, share: float) -> Policy:
    """Choose a policy for a budget on samples that did not train the networks.

    Among all orders, CRITERIA and thresholds whose mean cost is at most the budget it takes the most accurate, the
    cheapest among equals, the first among those.

    Args:
        orders: In which the networks may be visited.
        labels: (N,).
        share: The budget, as a share of the cost of running everything.

    Returns:
        The policy.

    Raises:
        ValueError: If none is so cheap.
    """  # noqa: DOC502
    found = []
    for own in orders:
        for criterion in CRITERIA:
            budget = share * own.costs[-1]
            threshold = choose_threshold(own.scores, labels, own.costs, criterion=criterion, budget=budget)
            (row,) = trade_off(own.scores, labels, own.costs, [threshold], criterion)
            policy = Policy(order=own.order, weights=own.weights, criterion=criterion, threshold=threshold)
            found.append((-row["accuracy"], row["gmac"], len(found), policy))
    return min(found)[-1]


def cascade_costs(exit_costs: Mapping[str, Sequence[float]], order: Sequence[str]) -> np.ndarray:
    """Add up what it costs to leave at each exit of the cascade.

    Args:
        exit_costs: Network -> cumulative cost of its exits.
        order: Networks in the order in which they are visited.

    Returns:
        (exits,): a later network's exits also pay for the whole of the networks before.
    """
    paid, costs = 0.0, []
    for name in order:
        costs += [paid + cost for cost in exit_costs[name]]
        paid += exit_costs[name][-1]
    return np.array(costs)


def _first_sure(confidences: np.ndarray, threshold: float) -> np.ndarray:
    sure = confidences > threshold
    sure[:, -1] = True
    return sure.argmax(axis=1)
