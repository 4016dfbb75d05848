"""Combine a run's exits: WISE, its variants and its baselines, each a rule from logits and labels to weights."""

import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from pkdlib.companion.experiments.counts import Rows, count, labels
from pkdlib.companion.experiments.exits import Exits
from pkdlib.distillation import schedules
from pkdlib.ensemble import rules as ensemble_rules
from pkdlib.ensemble import stacking, wise
from pkdlib.ensemble.rules import Rule

# Every rule fits on validation, but for the one that shows what the reference's choice does.
RULES: dict[str, Rule] = {"wise": wise.wise_weights, "wise_train": wise.wise_weights, **ensemble_rules.RULES}
FITTED_ON = {"wise_train": "train"}
# Rules that are told for every prefix; the others are told once all exits are visited.
BY_PREFIX = ("wise", "uniform")
# Light classifiers are combined for these methods.
LIGHT_METHODS = ("ce", "pkd")


def cascades(exits: Exits) -> list[tuple[str, str]]:
    """List the cascades that the parameters name.

    Args:
        exits: The exits.

    Returns:
        (kind, method) of the internal classifiers.
    """
    p = exits.run.parameters
    paper = [(p.plan.paper, method) for method in schedules.selected(p.paper_methods)]
    return list(dict.fromkeys([*paper, *((p.plan.light, method) for method in LIGHT_METHODS)]))


@functools.lru_cache(maxsize=256)
def weights(
    exits: Exits,
    kind: str,
    method: str,
    fit: Rule = wise.wise_weights,
    order: tuple[str, ...] = (),
    part: str = "validation",
) -> tuple[np.ndarray, ...]:
    """Fit the weights of a cascade's exits.

    Args:
        exits: Whose logits.
        kind: Of the internal classifiers.
        method: What trained them.
        fit: The rule.
        order: As in `stacked`.
        part: On which part of the data it is fitted.

    Returns:
        A vector for each prefix of the exits.
    """
    return tuple(fit(stacked(exits, part, kind, method, order), labels(exits.run, part)))


def stacked(exits: Exits, part: str, kind: str, method: str, order: tuple[str, ...] = ()) -> np.ndarray:
    """Stack the logits of all exits in the order of visiting.

    Args:
        exits: Whose logits.
        part: `train`, `validation` or `test`.
        kind: Of the internal classifiers.
        method: What trained them.
        order: The networks, in the order in which they are visited; the plan's first order where none is given.

    Returns:
        (clips, exits, classes).
    """
    return exits.stacked(part, kind, method, wise.visiting_order(order or exits.run.parameters.plan.orders[0]))


def late_fusion(exits: Exits, segments: int) -> np.ndarray:
    """Fuse the bare networks' outputs on the test clips, with weights fitted on validation.

    Args:
        exits: Of whose networks.
        segments: That the networks read.

    Returns:
        (clips, classes) scores.
    """
    held_out, test = (_finals(exits, part, segments) for part in ("validation", "test"))
    return ensemble_rules.late_fusion(held_out, labels(exits.run, "validation"), test)


def accuracies(
    exits: Exits, wanted: Sequence[tuple[str, str]], rules: Mapping[str, Rule] = MappingProxyType(RULES)
) -> Rows:
    """Yield the test accuracy of combined exits.

    Args:
        exits: The exits.
        wanted: Kind and method of each cascade.
        rules: Name -> rule; its weights are fitted on validation clips, but for those in FITTED_ON.

    Yields:
        kind, method, rule, prefix, part, group, clips, correct; with the run. Rules of BY_PREFIX and `last` (the
        prefix's last exit alone) have prefixes from 1 to all exits; the other rules, `stacking` and the reference's
        `no_scaling` and `no_lateral` have all.
    """
    run = exits.run
    for kind, method in wanted:
        logits = stacked(exits, "test", kind, method)
        last = logits.shape[1]
        scores = {
            rule: wise.weighted_scores(
                logits, weights(exits, kind, method, fit, part=FITTED_ON.get(rule, "validation"))
            )
            for rule, fit in rules.items()
        }
        scores |= {"last": logits} | wise.reference_variant_scores(logits)
        for rule, values in scores.items():
            for prefix in range(1 if rule in (*BY_PREFIX, "last") else last, last + 1):
                where = {"kind": kind, "method": method, "rule": rule, "prefix": prefix}
                yield from count(run, "test", values[:, prefix - 1], where)
        fitted = stacking.fit_stacking(stacked(exits, "validation", kind, method), labels(run, "validation"))
        where = {"kind": kind, "method": method, "rule": "stacking", "prefix": last}
        yield from count(run, "test", fitted.scores(logits), where)


def late_accuracies(exits: Exits) -> Rows:
    """Yield the test accuracy of the late fusion of bare backbones.

    Args:
        exits: Of whose networks.

    Yields:
        The columns of `accuracies`, of rules `late_equal` and `late_fitted`, whose prefix is 0.
    """
    segments = exits.run.parameters.segments
    fused = {"late_equal": _finals(exits, "test", segments).mean(axis=1), "late_fitted": late_fusion(exits, segments)}
    for rule, values in fused.items():
        where = {"kind": "none", "method": "backbone", "rule": rule, "prefix": 0}
        yield from count(exits.run, "test", values, where)


def weight_rows(exits: Exits, kind: str, methods: Sequence[str], fit: Rule = wise.wise_weights) -> Rows:
    """Yield the weights of internal classifiers of one kind.

    Args:
        exits: The exits.
        kind: Theirs.
        methods: What trained them.
        fit: The rule.

    Yields:
        method, prefix, member, weight; with the run.
    """
    members = wise.visiting_order(exits.run.parameters.plan.orders[0])
    for method in methods:
        for vector in weights(exits, kind, method, fit):
            for member, weight in zip(members, vector, strict=False):
                where = {"method": method, "prefix": len(vector), "member": member, "weight": weight}
                yield {**exits.run.columns, **where}


def _finals(exits: Exits, part: str, segments: int) -> np.ndarray:
    values, wanted = exits.backbones.logits, exits.run.parameters.plan.networks
    return np.stack([values[f"{part}/{name}/backbone/segments{segments}"] for name in wanted], axis=1)
