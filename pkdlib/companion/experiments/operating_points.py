"""Trade accuracy for computation: what a run's cascades answer when they leave early, computed from saved logits."""

import dataclasses
import functools

import numpy as np

from pkdlib.companion.experiments import fusion, training
from pkdlib.companion.experiments.counts import Rows, by_group, count
from pkdlib.companion.workspace import Run
from pkdlib.early_exit import policies as early_exit
from pkdlib.early_exit.policies import Policy
from pkdlib.ensemble import wise
from pkdlib.models import cost

# Shares of the cost of running everything, for each of which a policy is chosen on validation.
SHARES = (0.25, 0.5, 0.75)


@dataclasses.dataclass(frozen=True)
class System:
    """A cascade that leaves early.

    Args:
        kind: Of the internal classifiers.
        method: What trained them.
        order: The networks, in the order in which they are visited.
        rule: Of the weights, a key of `fusion.RULES`.
        criterion: A key of `policies.CRITERIA`.
    """

    kind: str
    method: str
    order: tuple[str, ...]
    rule: str = "wise"
    criterion: str = "max_softmax"

    def scores(self, run: Run, part: str) -> np.ndarray:
        """Compute the scores on which each exit would answer.

        Args:
            run: Which.
            part: `validation` or `test`.

        Returns:
            (clips, exits, classes).
        """
        return wise.scores(fusion.stacked(run, part, self.kind, self.method, self.order), self.weights(run))

    def weights(self, run: Run) -> tuple[np.ndarray, ...]:
        """Fit the weights of the exits.

        Args:
            run: Which.

        Returns:
            A vector for each prefix.
        """
        return fusion.weights(run, self.kind, self.method, self.rule, self.order)

    def costs(self, run: Run) -> np.ndarray:
        """Measure what leaving at each exit costs.

        Args:
            run: Which.

        Returns:
            (exits,) GMAC a clip.
        """
        return training.cascade_costs(run, self.kind, self.order)

    def columns(self) -> dict[str, str]:
        """Describe the system in a table.

        Returns:
            kind, method, order, rule and criterion.
        """
        return dataclasses.asdict(self) | {"order": " ".join(self.order)}


def systems(run: Run) -> list[System]:
    """List the cascades whose curves are drawn: every method, and light classifiers with one thing changed at a time.

    Args:
        run: Which.

    Returns:
        The systems, without doubles.
    """
    plan = run.parameters.plan
    first, *others = plan.orders
    light = System(plan.light, "ce", first)
    return [
        *(System(kind, method, first) for kind, method in fusion.cascades(run)),
        *(dataclasses.replace(light, order=order) for order in others),
        *(dataclasses.replace(light, criterion=name) for name in list(early_exit.CRITERIA)[1:]),
        *(dataclasses.replace(light, rule=rule) for rule in ("uniform", "tempered", "wise_train")),
    ]


def curves(run: Run) -> Rows:
    """Yield accuracy against cost: each cascade at each threshold, and bare late fusion with fewer segments.

    Args:
        run: Which.

    Yields:
        system (`cascade` or `fewer_segments`), kind, method, order, rule, criterion, setting (threshold or segments),
        group, gmac (mean a clip), accuracy, clips; a row for each group of test clips.
    """
    truth, groups = training.labels(run, "test"), by_group(run, "test")
    for system in systems(run):
        scores, prices = system.scores(run, "test"), system.costs(run)
        for group, members in groups:
            for row in early_exit.trade_off(scores[members], truth[members], prices, criterion=system.criterion):
                yield {"system": "cascade", **system.columns(), "group": group, **row}
    bare = sum(figures.bare for figures in training.costs(run, run.parameters.plan.light).values()) / cost.GMAC
    for segments in range(1, run.parameters.segments + 1):
        right = fusion.late_fusion(run, segments).argmax(axis=1) == truth
        for group, members in groups:
            yield {
                "system": "fewer_segments",
                **dict.fromkeys(("kind", "method", "order", "rule", "criterion"), "none"),
                "group": group,
                "setting": float(segments),
                "gmac": bare * segments / run.parameters.segments,
                "accuracy": float(right[members].mean()),
                "clips": len(members),
            }


@functools.lru_cache(maxsize=64)
def choose(run: Run, kind: str, method: str, share: float) -> Policy:
    """Choose a policy for a budget on the validation clips.

    Among all orders, criteria and thresholds whose mean cost there is at most the budget it takes the most accurate,
    the cheapest among equals. The weights are fitted on the same clips.

    Args:
        run: Which.
        kind: Of the internal classifiers.
        method: What trained them.
        share: The budget, as a share of the cost of running everything; at 1 the policy is to run everything, in the
            reference's order.

    Returns:
        The policy.
    """
    orders = run.parameters.plan.orders
    if share == 1:
        whole = System(kind, method, orders[0])
        return Policy(order=whole.order, weights=whole.weights(run))
    truth, found = training.labels(run, "validation"), []
    for order in orders:
        for criterion in early_exit.CRITERIA:
            system = System(kind, method, order, criterion=criterion)
            scores, prices = system.scores(run, "validation"), system.costs(run)
            threshold = early_exit.choose_threshold(
                scores, truth, prices, criterion=criterion, budget=share * prices[-1]
            )
            (row,) = early_exit.trade_off(scores, truth, prices, [threshold], criterion)
            policy = Policy(order=order, weights=system.weights(run), criterion=criterion, threshold=threshold)
            found.append((-row["accuracy"], row["gmac"], len(found), policy))
    return min(found)[-1]


def policies(run: Run) -> Rows:
    """Yield what the chosen policies answer and cost on the test clips, and running everything beside them.

    Args:
        run: Which.

    Yields:
        kind, method, share, order, criterion, part, group, clips, correct, gmac (mean a clip of the group).
    """
    for kind, method in run.parameters.plan.chosen:
        for share in (*SHARES, 1.0):
            policy = choose(run, kind, method, share)
            system = System(kind, method, policy.order, criterion=policy.criterion)
            scores, prices = system.scores(run, "test"), system.costs(run)
            exits = early_exit.leave_at(scores, policy.threshold, policy.criterion)
            paid = {group: float(prices[exits[members]].mean()) for group, members in by_group(run, "test")}
            where = {"kind": kind, "method": method, "share": share}
            where |= {"order": " ".join(policy.order), "criterion": policy.criterion}
            for row in count(run, "test", scores[np.arange(len(exits)), exits], where):
                yield row | {"gmac": paid[row["group"]]}
