"""Trade accuracy for computation: what a run's cascades answer when they leave early, computed from saved logits."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from pkdlib.companion.experiments import costs, fusion
from pkdlib.companion.experiments.counts import Rows, by_group, count, labels
from pkdlib.companion.experiments.exits import Exits
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

    def scores(self, exits: Exits, part: str) -> np.ndarray:
        """Compute the scores on which each exit would answer.

        Args:
            exits: Whose logits.
            part: `validation` or `test`.

        Returns:
            (clips, exits, classes).
        """
        return wise.weighted_scores(
            fusion.stacked(exits, part, self.kind, self.method, self.order), self.weights(exits)
        )

    def weights(self, exits: Exits) -> tuple[np.ndarray, ...]:
        """Fit the weights of the exits.

        Args:
            exits: Whose logits.

        Returns:
            A vector for each prefix.
        """
        return fusion.weights(
            exits,
            self.kind,
            self.method,
            fusion.RULES[self.rule],
            self.order,
            part=fusion.FITTED_ON.get(self.rule, "validation"),
        )

    def costs(self, exits: Exits) -> np.ndarray:
        """Measure what leaving at each exit costs.

        Args:
            exits: Whose logits.

        Returns:
            (exits,) GMAC a clip.
        """
        return exits.cascade_costs(self.kind, self.order)

    def columns(self) -> dict[str, str]:
        """Describe the system in a table.

        Returns:
            kind, method, order, rule and criterion.
        """
        return dataclasses.asdict(self) | {"order": " ".join(self.order)}


def systems(exits: Exits) -> list[System]:
    """List the cascades that the parameters compare: every method, and light classifiers with one change at a time.

    Args:
        exits: Whose logits.

    Returns:
        The systems, without doubles.
    """
    plan = exits.run.parameters.plan
    first, *others = plan.orders
    light = System(plan.light, "ce", first)
    return [
        *(System(kind, method, first) for kind, method in fusion.cascades(exits)),
        *(dataclasses.replace(light, order=order) for order in others),
        *(dataclasses.replace(light, criterion=name) for name in list(early_exit.CRITERIA)[1:]),
        *(dataclasses.replace(light, rule=rule) for rule in ("uniform", "tempered", "wise_train")),
    ]


def curves(exits: Exits, wanted: Sequence[System]) -> Rows:
    """Yield accuracy against cost: each cascade at each threshold.

    Args:
        exits: Whose logits.
        wanted: The cascades.

    Yields:
        system (`cascade`), kind, method, order, rule, criterion, setting (threshold), group, gmac (mean a clip),
        accuracy, clips; a row for each group of test clips; with the run.
    """
    truth, groups = labels(exits.run, "test"), by_group(exits.run, "test")
    for system in wanted:
        scores, prices = system.scores(exits, "test"), system.costs(exits)
        where = {**exits.run.columns, "system": "cascade", **system.columns()}
        for group, members in groups:
            for row in early_exit.trade_off(scores[members], truth[members], prices, criterion=system.criterion):
                yield {**where, "group": group, **row}


def fewer_segments(exits: Exits) -> Rows:
    """Yield accuracy against cost of the late fusion of bare networks that read fewer segments.

    Args:
        exits: Of whose networks.

    Yields:
        The columns of `curves`, of system `fewer_segments`, whose setting is the number of segments.
    """
    run, p = exits.run, exits.run.parameters
    truth = labels(run, "test")
    measured = costs.of(run, exits.kinds[p.plan.light], exits.backbones.networks)
    bare = sum(own.bare for own in measured.values()) / cost.GMAC
    for segments in range(1, p.segments + 1):
        right = fusion.late_fusion(exits, segments).argmax(axis=1) == truth
        for group, members in by_group(run, "test"):
            yield {
                **run.columns,
                "system": "fewer_segments",
                **dict.fromkeys(("kind", "method", "order", "rule", "criterion"), "none"),
                "group": group,
                "setting": float(segments),
                "gmac": bare * segments / p.segments,
                "accuracy": float(right[members].mean()),
                "clips": len(members),
            }


@functools.lru_cache(maxsize=64)
def choose(exits: Exits, kind: str, method: str, share: float) -> Policy:
    """Choose a policy for a budget on the validation clips.

    Among all orders, criteria and thresholds whose mean cost there is at most the budget it takes the most accurate,
    the cheapest among equals. The weights are fitted on the same clips.

    Args:
        exits: Whose logits.
        kind: Of the internal classifiers.
        method: What trained them.
        share: The budget, as a share of the cost of running everything; at 1 the policy is to run everything, in the
            reference's order.

    Returns:
        The policy.
    """
    orders = exits.run.parameters.plan.orders
    if share == 1:
        whole = System(kind, method, orders[0])
        return Policy(order=whole.order, weights=whole.weights(exits))
    systems = [System(kind, method, order) for order in orders]
    orders_scored = [
        early_exit.ScoredOrder(own.order, own.weights(exits), own.scores(exits, "validation"), own.costs(exits))
        for own in systems
    ]
    return early_exit.choose_policy(orders_scored, labels(exits.run, "validation"), share=share)


def policies(exits: Exits, wanted: Sequence[tuple[str, str]], shares: Sequence[float] = SHARES) -> Rows:
    """Yield what the chosen policies answer and cost on the test clips, and running everything beside them.

    Args:
        exits: Whose logits.
        wanted: Kind and method of the cascades.
        shares: Budgets, as shares of the cost of running everything.

    Yields:
        kind, method, share, order, criterion, part, group, clips, correct, gmac (mean a clip of a group); with the run.
    """
    for kind, method in wanted:
        for share in (*shares, 1.0):
            policy = choose(exits, kind, method, share)
            system = System(kind, method, policy.order, criterion=policy.criterion)
            scores, prices = system.scores(exits, "test"), system.costs(exits)
            left = early_exit.leave_at(scores, policy.threshold, policy.criterion)
            paid = {group: float(prices[left[members]].mean()) for group, members in by_group(exits.run, "test")}
            where = {"kind": kind, "method": method, "share": share}
            where |= {"order": " ".join(policy.order), "criterion": policy.criterion}
            for row in count(exits.run, "test", scores[np.arange(len(left)), left], where):
                yield row | {"gmac": paid[row["group"]]}
