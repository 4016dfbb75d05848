"""Combine a run's exits: WISE, its variants and its baselines, each a rule from logits and labels to weights."""

import functools
from collections.abc import Callable, Sequence

import numpy as np

from pkdlib.companion.experiments import training
from pkdlib.companion.experiments.counts import Rows, count
from pkdlib.companion.workspace import Run
from pkdlib.distillation import schedules
from pkdlib.ensemble import stacking, wise

Weights = Sequence[np.ndarray]
# The reference's strength of the L1 term from prefix 6 on, here for all prefixes.
L1_STRENGTH = 0.1
# From logits (N, exits, classes) and labels to a weight vector for each prefix.
RULES: dict[str, Callable[[np.ndarray, np.ndarray], Weights]] = {
    "wise": wise.fit_prefixes,
    "wise_train": wise.fit_prefixes,
    "wise_nonnegative": functools.partial(wise.fit_prefixes, nonnegative=True),
    "wise_l1": functools.partial(wise.fit_prefixes, l1=L1_STRENGTH),
    "tempered": wise.tempered_weights,
    "uniform": lambda logits, _: wise.uniform_weights(logits.shape[1]),
}
# Every rule fits on validation, but for the one that shows what the reference's choice does.
FITTED_ON = {"wise_train": "train"}
# Rules that are told for every prefix; the others are told once all exits are visited.
BY_PREFIX = ("wise", "uniform")
# Light classifiers are combined for these methods.
LIGHT_METHODS = ("ce", "pkd")


def cascades(run: Run) -> list[tuple[str, str]]:
    """List what cascades a run has.

    Args:
        run: Which.

    Returns:
        (kind, method) of the internal classifiers.
    """
    plan = run.parameters.plan
    paper = [(plan.paper, method) for method in schedules.selected(run.parameters.paper_methods)]
    return list(dict.fromkeys([*paper, *((plan.light, method) for method in LIGHT_METHODS)]))


@functools.lru_cache(maxsize=256)
def weights(
    run: Run, kind: str, method: str, rule: str = "wise", order: tuple[str, ...] = ()
) -> tuple[np.ndarray, ...]:
    """Fit a rule.

    Args:
        run: Which.
        kind: Of the internal classifiers.
        method: What trained them.
        rule: A key of RULES.
        order: As in `stacked`.

    Returns:
        A vector for each prefix of the exits.
    """
    part = FITTED_ON.get(rule, "validation")
    return tuple(RULES[rule](stacked(run, part, kind, method, order), training.labels(run, part)))


def stacked(run: Run, part: str, kind: str, method: str, order: tuple[str, ...] = ()) -> np.ndarray:
    """Stack the logits of all exits in the order of visiting.

    Args:
        run: Which.
        part: `train`, `validation` or `test`.
        kind: Of the internal classifiers.
        method: What trained them.
        order: The networks, in the order in which they are visited; the plan's first order where none is given.

    Returns:
        (clips, exits, classes).
    """
    visited = wise.visiting_order(order or run.parameters.plan.orders[0])
    return training.cascade_logits(training.logits(run), part, kind, method, visited)


def late_fusion(run: Run, segments: int) -> np.ndarray:
    """Fuse the bare networks' outputs on the test clips, with weights fitted on validation.

    Args:
        run: Which.
        segments: That the networks read.

    Returns:
        (clips, classes) scores.
    """
    vector = wise.fit(_finals(run, "validation", segments), training.labels(run, "validation"))
    return np.einsum("nkc,k->nc", _finals(run, "test", segments), vector)


def accuracies(run: Run) -> Rows:
    """Yield the test accuracy of combined exits, and of the late fusion of bare backbones.

    Args:
        run: Which.

    Yields:
        kind, method, rule, prefix, part, group, clips, correct. Rules of BY_PREFIX and `last` (the prefix's last exit
        alone) have prefixes from 1 to all exits; the other RULES, `stacking` and the reference's `no_scaling` and
        `no_lateral` have all; `late_equal` and `late_fitted` fuse the networks' final outputs and have prefix 0.
    """
    for kind, method in cascades(run):
        logits = stacked(run, "test", kind, method)
        last = logits.shape[1]
        scores = {rule: wise.scores(logits, weights(run, kind, method, rule)) for rule in RULES}
        scores |= {"last": logits} | wise.reference_variant_scores(logits)
        for rule, values in scores.items():
            for prefix in range(1 if rule in (*BY_PREFIX, "last") else last, last + 1):
                where = {"kind": kind, "method": method, "rule": rule, "prefix": prefix}
                yield from count(run, "test", values[:, prefix - 1], where)
        fitted = stacking.fit(stacked(run, "validation", kind, method), training.labels(run, "validation"))
        where = {"kind": kind, "method": method, "rule": "stacking", "prefix": last}
        yield from count(run, "test", fitted.scores(logits), where)
    finals = _finals(run, "test", run.parameters.segments)
    fused = {"late_equal": finals.mean(axis=1), "late_fitted": late_fusion(run, run.parameters.segments)}
    for rule, values in fused.items():
        where = {"kind": "none", "method": "backbone", "rule": rule, "prefix": 0}
        yield from count(run, "test", values, where)


def weight_rows(run: Run) -> Rows:
    """Yield the WISE weights of the paper's internal classifiers.

    Args:
        run: Which.

    Yields:
        method, prefix, member, weight.
    """
    plan = run.parameters.plan
    for method in schedules.selected(run.parameters.paper_methods):
        for vector in weights(run, plan.paper, method):
            for member, weight in zip(wise.visiting_order(plan.orders[0]), vector, strict=False):
                yield {"method": method, "prefix": len(vector), "member": member, "weight": weight}


def _finals(run: Run, part: str, segments: int) -> np.ndarray:
    values, wanted = training.logits(run), run.parameters.plan.networks
    return np.stack([values[f"{part}/{name}/backbone/segments{segments}"] for name in wanted], axis=1)
