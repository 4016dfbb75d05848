"""What is subtracted from what for each claim: from result tables to paired differences.

Each function takes the result tables by name and gives the comparisons of one claim; `verdicts` turns them into
intervals and words. Accuracies are compared on test clips, in percentage points.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from pkdlib.companion.claims import flatness_comparisons
from pkdlib.companion.presets import LIGHT_KINDS, PAPER_KINDS, PLANS
from pkdlib.distillation.schedules import METHODS, canonical
from pkdlib.statistics import intervals
from pkdlib.statistics.differences import Comparison, NotMeasured, Tables, required
from pkdlib.statistics.intervals import CELL, RUN

EXIT = ["modality", "exit"]
LAST_TEACHER = METHODS["pkd"].stages[-1].teacher


def compare(claim: str, tables: Tables) -> list[Comparison]:
    """Give the comparisons that a claim is judged by.

    Args:
        claim: id of a claim that is measured, such as "ic-gain".
        tables: the result tables by name; those missing are said in `Comparison.missing`.

    Returns:
        At least one comparison. Where none is possible, a single one without a name says why.
    """
    try:
        return _COMPARISONS[claim](tables)
    except NotMeasured as reason:
        return [Comparison("", missing=str(reason))]


def matched_difference(
    x_a: np.ndarray, y_a: np.ndarray, x_b: np.ndarray, y_b: np.ndarray
) -> tuple[float, float, float]:
    """Average the vertical distance of two curves, a minus b, over the range of x that both cover.

    Each curve is its points joined by straight lines (for accuracy against cost: what choosing at random between
    two neighbouring settings would give); points of equal x are averaged first.

    Args:
        x_a: (n,), cost of the first curve's points, in any order.
        y_a: (n,), their heights.
        x_b: (m,), the second curve's.
        y_b: (m,), the second curve's.

    Returns:
        The mean difference, and the two ends of the common range.

    Raises:
        NotMeasured: If the ranges of x do not meet.
    """
    x_a, y_a = _curve(x_a, y_a)
    x_b, y_b = _curve(x_b, y_b)
    start, end = max(x_a[0], x_b[0]), min(x_a[-1], x_b[-1])
    if start > end:
        ranges = f"{x_a[0]:.3g} to {x_a[-1]:.3g} against {x_b[0]:.3g} to {x_b[-1]:.3g} GMAC"
        raise NotMeasured(f"the two curves have no cost in common: {ranges}")
    knots = np.union1d(x_a, x_b)
    grid = np.unique(np.concatenate([[start], knots[(knots > start) & (knots < end)], [end]]))
    gap = np.interp(grid, x_a, y_a) - np.interp(grid, x_b, y_b)
    mean = gap[0] if start == end else np.trapezoid(gap, grid) / (end - start)
    return float(mean), float(start), float(end)


def at_equal_cost(name: str, system: pd.DataFrame, rival: pd.DataFrame) -> Comparison:
    """Compare two curves of accuracy against cost, averaged over the costs that both reach.

    Args:
        name: of the comparison.
        system: rows of the table `early_exit`, one for each setting in each run and group.
        rival: the same of what it is compared with.

    Returns:
        The differences in accuracy of each run and group, system minus rival.

    Raises:
        NotMeasured: If the rival lacks a run, or the costs do not meet.
    """
    found = []
    for run, rows in system.groupby(RUN):
        rivals = rival[(rival["split"] == run[0]) & (rival["seed"] == run[1])]
        if rivals.empty:
            raise NotMeasured(f"split {run[0]}, seed {run[1]} has no rows of {name.split(' - ')[-1]} in 'early_exit'")
        found += [dict(zip(RUN, run, strict=True)) | gain for gain in _gains(rows, rivals)]
    gains = pd.DataFrame(found)
    start, end = gains["start"].mean(), gains["end"].mean()
    details = {"costs that both reach, GMAC a clip": f"{start:.3g} to {end:.3g}"}
    if "group" not in gains:
        details["chance left out"] = "in the choice of test clips, which runs share"
    return Comparison(name, (gains.drop(columns=["start", "end"]),), details)


def _internal_classifiers(tables: Tables) -> dict[str, pd.DataFrame]:
    table = required(tables, "exits", [*CELL, "modality", "method", "exit", "part", "clips", "correct"])
    table = table[(table["part"] == "test") & table["exit"].between(1, 3)]
    pkd, ce = _of_shared_exits(*(table[table["method"] == method] for method in ("pkd", "ce")))
    if pkd.empty:
        raise NotMeasured("the table 'exits' does not hold both methods, 'pkd' and 'ce', on test clips")
    found = intervals.group_differences(pkd, ce, by=EXIT)
    return {f"{modality} exit {exit_}": own for (modality, exit_), own in found.groupby(EXIT)}


def _of_shared_exits(a: pd.DataFrame, b: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    # Only the rows of exits that both tables hold.
    places = [pd.MultiIndex.from_frame(rows[EXIT]) for rows in (a, b)]
    return a[places[0].isin(places[1])], b[places[1].isin(places[0])]


def _exits(tables: Tables) -> list[Comparison]:
    differences = _internal_classifiers(tables)
    each = [Comparison(f"PKD - CE, {name}", (table,)) for name, table in differences.items()]
    mean = Comparison("PKD - CE, mean over all exits", (_mean(list(differences.values())),), _advantages(tables))
    return [mean, *each]


def _advantages(tables: Tables) -> dict[str, str]:
    # What PKD's last teacher knows more than the students: without it, a verdict on it says little.
    table = tables["exits"]
    ends = table[(table["part"] == "validation") & (table["method"] == "backbone")]
    sums = ends.groupby("modality")[["correct", "clips"]].sum()
    accuracy = 100 * sums["correct"] / sums["clips"]
    if LAST_TEACHER not in accuracy:
        return {}
    return {
        f"validation points of the {LAST_TEACHER} network, the last teacher, over the {name} network": f"{gap:+.1f}"
        for name, gap in (accuracy[LAST_TEACHER] - accuracy.drop(LAST_TEACHER)).items()
    }


def _largest_exit(tables: Tables) -> list[Comparison]:
    return [_largest("PKD - CE, largest over the exits", _internal_classifiers(tables))]


def _largest(name: str, differences: dict[str, pd.DataFrame]) -> Comparison:
    best = max(differences, key=lambda key: differences[key]["difference"].mean())
    return Comparison(name, tuple(differences.values()), {f"largest of {len(differences)}": best})


def _curriculum(tables: Tables) -> list[Comparison]:
    table = required(tables, "trials", [*CELL, "modality", "kind", "method", "lr_factor", "exit", "part", "correct"])
    table = table[(table["part"] == "test") & (table["lr_factor"] == 1)]
    found = []
    for kind, rows in table.groupby("kind", sort=False):
        by_method = dict(iter(rows.groupby("method")))
        for rival in rows["method"].unique() if "pkd" in by_method else ():
            # Where a method coincides with another for a modality, it stands under the other's name and counts there.
            pkd, other = _of_shared_exits(by_method["pkd"], by_method[rival])
            if rival == "pkd" or pkd.empty:
                continue
            exits = [own for _, own in intervals.group_differences(pkd, other, by=EXIT).groupby(EXIT)]
            details = {"mean over the exits of": ", ".join(sorted(pkd["modality"].unique()))}
            found.append(Comparison(f"PKD - {rival}, {kind} classifiers", (_mean(exits),), details))
    if not found:
        raise NotMeasured("the table 'trials' does not hold 'pkd' and another method on test clips")
    return found


def _mean(exits: list[pd.DataFrame]) -> pd.DataFrame:
    # The exits' differences are of the same cells, in the same order.
    return exits[0].assign(difference=np.mean([exit_["difference"] for exit_ in exits], axis=0))


def _cross_fitted(tables: Tables) -> list[Comparison]:
    where = [*CELL, "modality", "kind", "method", "exit", "part", "clips", "correct"]
    taught = required(tables, "crossfit", where)
    ordinary = required(tables, "trials", [*where, "lr_factor"])
    ordinary = ordinary[(ordinary["part"] == "test") & (ordinary["lr_factor"] == 1)]
    taught = taught[(taught["part"] == "test") & (taught["exit"] <= 3)]
    runs = taught[RUN].drop_duplicates()  # a study may have cross-fitted the teacher in some of its runs alone
    ordinary = ordinary.merge(runs, on=RUN)
    found = []
    for method, rival in (("iframe", "iframe"), ("pkd", "pkd"), ("iframe", "ce"), ("pkd", "ce")):
        exits = {
            (modality, number): intervals.group_differences(
                rows[rows["method"] == method],
                ordinary[
                    (ordinary["kind"] == kind)
                    & (ordinary["method"] == canonical(rival, modality))
                    & _is_exit(ordinary, modality, number)
                ],
            )
            for (kind, modality, number), rows in taught.groupby(["kind", "modality", "exit"], sort=False)
        }
        name = f"{method} with a cross-fitted teacher - {rival}"
        found.append(Comparison(f"{name}, mean over all exits", (_mean(list(exits.values())),)))
        for modality in dict.fromkeys(modality for modality, _ in exits):
            own = [difference for (reads, _), difference in exits.items() if reads == modality]
            found.append(Comparison(f"{name}, {modality} exits", (_mean(own),)))
    return found


def _is_exit(rows: pd.DataFrame, modality: str, number: int) -> pd.Series:
    return (rows["modality"] == modality) & (rows["exit"] == number)


def _ensemble(tables: Tables, rule: str, method: str = "pkd") -> pd.DataFrame:
    table = required(tables, "ensembles", [*CELL, "kind", "method", "rule", "prefix", "part", "clips", "correct"])
    rows = table[(table["rule"] == rule) & (table["part"] == "test") & (table["kind"] != "light")]
    # Bare networks have no internal classifiers, so their rows are the same under any method's name.
    rows = rows.drop_duplicates(CELL) if rule.startswith("late") else rows[rows["method"] == method]
    if rows.empty:
        raise NotMeasured(f"the table 'ensembles' has no test rows of rule {rule!r}, method {method!r}")
    return rows


def _by_prefix(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, pd.DataFrame]:
    # A single exit is no ensemble, so prefixes start at 2.
    prefixes = [prefix for prefix in set(a["prefix"]) & set(b["prefix"]) if prefix >= 2]
    if not prefixes:
        raise NotMeasured("the table 'ensembles' has no two exits to combine")
    found = intervals.group_differences(*(own[own["prefix"].isin(prefixes)] for own in (a, b)), by=["prefix"])
    return {f"the first {prefix} exits": own for prefix, own in found.groupby("prefix")}


def _wise_largest(tables: Tables) -> list[Comparison]:
    wise = _ensemble(tables, "wise")
    rivals: dict[str, Callable[[], pd.DataFrame]] = {
        "WISE on PKD exits - WISE on CE exits": lambda: _ensemble(tables, "wise", "ce"),
        "WISE - its last exit alone": lambda: _ensemble(tables, "last"),
        "WISE - equal weights": lambda: _ensemble(tables, "uniform"),
    }
    return [
        _attempt(f"{name}, largest over the prefixes", lambda n, r=rival: _largest(n, _by_prefix(wise, r())))
        for name, rival in rivals.items()
    ]


def _wise_fusion(tables: Tables) -> list[Comparison]:
    wise = _all_exits(_ensemble(tables, "wise"))
    rivals: dict[str, Callable[[], pd.DataFrame]] = {
        "the last exit alone": lambda: _all_exits(_ensemble(tables, "last")),
        "equal weights": lambda: _all_exits(_ensemble(tables, "uniform")),
        "the mean at own temperatures": lambda: _all_exits(_ensemble(tables, "tempered")),
        "stacking": lambda: _all_exits(_ensemble(tables, "stacking")),
        "late fusion of bare networks, fitted weights": lambda: _ensemble(tables, "late_fitted"),
    }
    return [
        _attempt(
            f"WISE over all exits - {name}",
            lambda n, r=rival: Comparison(n, (intervals.group_differences(wise, r()),)),
        )
        for name, rival in rivals.items()
    ]


def _bare_fusion(tables: Tables) -> list[Comparison]:
    wise, late = _all_exits(_ensemble(tables, "wise")), _ensemble(tables, "late_fitted")
    name = "late fusion of bare networks, fitted weights - WISE over all exits"
    return [Comparison(name, (intervals.group_differences(late, wise),))]


def _all_exits(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["prefix"] == rows["prefix"].max()]


def _attempt(name: str, build: Callable[[str], Comparison]) -> Comparison:
    # One rival that was not run must not hide the others.
    try:
        return build(name)
    except NotMeasured as reason:
        return Comparison(name, missing=str(reason))


# How a cascade leaves where its classifiers alone are compared: in each backbone's first order.
PLAIN = {
    "order": tuple(" ".join(plan.orders[0]) for plan in PLANS.values()),
    "rule": ("wise",),
    "criterion": ("max_softmax",),
}
_CASCADES = {
    "cascade of the paper's classifiers, by PKD": {"kind": PAPER_KINDS, "method": ("pkd",)},
    "cascade of light classifiers, by cross-entropy": {"kind": LIGHT_KINDS, "method": ("ce",)},
}


def _early_exit(tables: Tables) -> list[Comparison]:
    columns = [*RUN, "system", "kind", "method", *PLAIN, "setting", "gmac", "accuracy", "clips"]
    table = required(tables, "early_exit", columns)
    if not table["accuracy"].between(0, 1).all():
        raise ValueError("table 'early_exit': accuracy must be a fraction from 0 to 1")
    fewer = table[table["system"] == "fewer_segments"]
    if fewer.empty:
        raise NotMeasured("the table 'early_exit' does not hold the system fewer_segments")
    return [
        _attempt(
            f"{name} - fewer segments, at equal cost",
            lambda n, w=wanted: at_equal_cost(n, _rows_where(table, {"system": ("cascade",), **w, **PLAIN}), fewer),
        )
        for name, wanted in _CASCADES.items()
    ]


def _rows_where(table: pd.DataFrame, wanted: dict[str, tuple[object, ...]]) -> pd.DataFrame:
    rows = table
    for name, values in wanted.items():
        rows = rows[rows[name].isin(values)]
    if rows.empty:
        told = (f"{name} = {' or '.join(map(str, values))}" for name, values in wanted.items())
        raise NotMeasured(f"no rows with {', '.join(told)}")
    return rows


def _half_cost(tables: Tables) -> list[Comparison]:
    table = required(tables, "policies", [*CELL, "kind", "share", "clips", "correct", "gmac"])
    everything = _rows_where(table, {"kind": LIGHT_KINDS, "share": (1.0,)})
    found = []
    for share in sorted(set(table["share"]) - {1.0}):
        policy = _rows_where(table, {"kind": LIGHT_KINDS, "share": (share,)})
        costs = [np.average(rows["gmac"], weights=rows["clips"]) for rows in (policy, everything)]
        spent = {"multiply-accumulates, of running everything's": f"{100 * costs[0] / costs[1]:.0f} %"}
        name = f"policy for at most {100 * share:.0f} % of the cost on validation - running everything"
        differences = intervals.group_differences(policy, everything)
        found.append(Comparison(name, (differences,), spent | _times(tables, share)))
    return found


def _times(tables: Tables, share: float) -> dict[str, str]:
    # The part of running everything's wall time that the policies take, over the runs where it was measured.
    if (table := tables.get("latency")) is None or table.empty:
        return {}
    light = table[(table["system"] == "policy") & table["kind"].isin(LIGHT_KINDS)]
    times = {}
    for batch, rows in light.groupby("batch"):
        wide = rows.pivot(index=RUN, columns="setting", values="milliseconds")
        ratios = 100 * wide[share] / wide[1.0]
        times[f"wall time at a batch of {batch}, decoding apart, of running everything's"] = (
            f"{ratios.median():.0f} % ({ratios.min():.0f} to {ratios.max():.0f} over runs)"
        )
    return times


def _transfer(tables: Tables) -> list[Comparison]:
    if "joint" not in set(required(tables, "exits", [*CELL, "modality"])["modality"]):
        raise NotMeasured("these runs are of separate networks; it is judged on runs of TEAM-Net")
    return [*_exits(tables), *_wise_fusion(tables)]


def _protocol(tables: Tables) -> list[Comparison]:
    table = required(tables, "audit", [*CELL, "gain", "switch", "difference"])
    found = []
    for gain, rows in table.groupby("gain", sort=False):
        clean, *_, last = rows["switch"].unique()
        wide = rows.pivot(index=CELL, columns="switch", values="difference")
        difference = (wide[last] - wide[clean]).rename("difference").reset_index()
        unit = {"unit": "% of the cost of running everything"} if gain == "cost saved" else {}
        found.append(Comparison(f"{gain}: {last} - {clean}", (difference,), unit))
    return found


def _gains(cascade: pd.DataFrame, fewer: pd.DataFrame) -> list[dict[str, object]]:
    by_group = [_curves(rows) for rows in (cascade, fewer)]
    gains = []
    for group, curve in by_group[0].items():
        if group not in by_group[1]:
            raise NotMeasured(f"the group {group} is tested by one of the two systems alone")
        difference, start, end = matched_difference(*curve, *by_group[1][group])
        gain = {"difference": difference, "start": start, "end": end}
        gains.append(gain if group is None else gain | {"group": group})
    return gains


def _curves(rows: pd.DataFrame) -> dict[str | None, tuple[np.ndarray, np.ndarray]]:
    # Each group's costs and accuracies in per cent; without groups, those of all clips, under None.
    # A setting has one cost in a run, that of its mean clip, also where accuracy is told by group.
    costs, accuracies = rows["setting"].map(_setting_costs(rows)).to_numpy(), 100 * rows["accuracy"].to_numpy()
    groups = rows.groupby("group").indices if "group" in rows else {None: np.arange(len(rows))}
    return {group: (costs[own], accuracies[own]) for group, own in groups.items()}


def _setting_costs(rows: pd.DataFrame) -> pd.Series:
    totals = rows.assign(total=rows["gmac"] * rows["clips"]).groupby("setting")[["total", "clips"]].sum()
    return totals["total"] / totals["clips"]


def _curve(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    places, index = np.unique(np.asarray(x, float), return_inverse=True)
    return places, np.bincount(index, weights=np.asarray(y, float)) / np.bincount(index)


_COMPARISONS: dict[str, Callable[[Tables], list[Comparison]]] = {
    **flatness_comparisons.COMPARISONS,
    "ic-gain-largest": _largest_exit,
    "ic-gain": _exits,
    "ic-curriculum": _curriculum,
    "wise-gain-largest": _wise_largest,
    "wise-fusion": _wise_fusion,
    "bare-fusion": _bare_fusion,
    "early-exit": _early_exit,
    "early-exit-half": _half_cost,
    "transfer": _transfer,
    "protocol": _protocol,
    "cross-fitted": _cross_fitted,
}
