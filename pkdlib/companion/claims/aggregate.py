"""Summaries of the tables, to draw or to read: accuracies with intervals, modalities by position."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from pkdlib.companion import results
from pkdlib.companion.claims import claims, verdicts
from pkdlib.companion.claims.comparisons import PLAIN
from pkdlib.companion.flatness_controls import MEASURES
from pkdlib.companion.names import (
    CRITERION_NAMES,
    DATASET_LABELS,
    KIND_NAMES,
    METHOD_NAMES,
    MODALITY_NAMES,
    RULE_NAMES,
    Names,
    order_name,
    study_name,
)
from pkdlib.companion.presets import LIGHT_KINDS
from pkdlib.statistics import intervals
from pkdlib.video import reader


def modality_profile(path: Path) -> pd.DataFrame:
    """Measure how much motion and residual there is by position in the GOP, over all GOPs of a clip.

    Args:
        path: A compressed video.

    Returns:
        position, motion (mean length of the accumulated motion, pixels), residual (mean size of the accumulated
        residual, grey levels).
    """
    with reader.CompressedVideo(path) as video:
        rows = [
            {
                "position": frame.position,
                "motion": float(np.hypot(*np.moveaxis(frame.motion.astype(np.float32), 2, 0)).mean()),
                "residual": float(np.abs(frame.residual).mean()),
            }
            for frame in video.frames()
        ]
    return pd.DataFrame(rows).groupby("position", as_index=False).mean()


def accuracy_summary(exits: pd.DataFrame, part: str = "test") -> pd.DataFrame:
    """Summarise the accuracy of every exit with its interval.

    The backbone's own end is repeated for every method, so that each line of a chart has four points.

    Args:
        exits: The table `exits`.
        part: `test` or `validation`.

    Returns:
        modality, method, exit, accuracy, low, high; fractions in 0..1.
    """
    rows = []
    chosen = exits[exits["part"] == part]
    methods = [method for method in chosen["method"].unique() if method != "backbone"] or ["backbone"]
    for (modality, method, number), counts in chosen.groupby(["modality", "method", "exit"], sort=False):
        figures = fractions(counts)
        for name in methods if method == "backbone" else [method]:
            rows.append({"modality": modality, "method": name, "exit": number, **figures})
    return pd.DataFrame(rows).sort_values(["modality", "method", "exit"], ignore_index=True)


def kind_summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Summarise the test accuracy of exits that learned from labels by their kind, beside the network's own end.

    Args:
        rows: Of the tables `trials` and `exits`, together.

    Returns:
        modality, method (the kind of the exits), exit, accuracy, low, high; fractions in 0..1.
    """
    plain = (rows["method"] == "ce") & (rows["lr_factor"] == 1) & (rows["epochs_factor"] == 1)  # of `trials` alone
    ends = rows[rows["method"] == "backbone"]
    return accuracy_summary(pd.concat([rows[plain].assign(method=rows.loc[plain, "kind"]), ends]))


def method_summary(trials: pd.DataFrame) -> pd.DataFrame:
    """Summarise the accuracy of light internal classifiers by what trained them, the mean over the three exits.

    Args:
        trials: The table `trials`.

    Returns:
        modality, method, accuracy, low, high; fractions in 0..1.
    """
    light = _light(trials)
    return _mean_over_exits(light[light["lr_factor"] == 1].assign(name=lambda rows: rows["method"].map(METHOD_NAMES)))


def rate_summary(trials: pd.DataFrame) -> pd.DataFrame:
    """Summarise the accuracy of light internal classifiers by learning rate, of the methods that were tried at several.

    Args:
        trials: The table `trials`.

    Returns:
        modality, method (with the factor on the learning rate), accuracy, low, high; fractions in 0..1.
    """
    light = _light(trials)
    light = light[light.groupby("method")["lr_factor"].transform("nunique") > 1]
    light = light.sort_values(["method", "lr_factor"], kind="stable")
    factors = light["lr_factor"].map("{:.2g}".format)
    return _mean_over_exits(light.assign(name=light["method"].map(METHOD_NAMES) + " × " + factors))


def compared_methods(curves: pd.DataFrame) -> pd.DataFrame:
    """Choose the curves of both kinds of classifiers by cross-entropy and PKD, and of bare networks.

    Args:
        curves: The table `early_exit`.

    Returns:
        The rows of these, with the column series.
    """
    base = curves[_is_base(curves, "order", "rule", "criterion") & curves["method"].isin(["ce", "pkd"])]
    named = base["kind"].map(KIND_NAMES) + ", " + base["method"].map(METHOD_NAMES)
    bare = curves[curves["system"] == "fewer_segments"]
    return pd.concat([base.assign(series=named), bare.assign(series="bare networks, fewer segments")])


def compared_variants(curves: pd.DataFrame, what: str) -> pd.DataFrame:
    """Choose the curves of light classifiers by cross-entropy that differ in one thing.

    Args:
        curves: The table `early_exit`.
        what: `order`, `rule` or `criterion`.

    Returns:
        The rows of these, with the column series.
    """
    others = [name for name in PLAIN if name != what]
    chosen = curves[_is_base(curves, *others) & curves["kind"].isin(LIGHT_KINDS) & (curves["method"] == "ce")]
    names = {"rule": RULE_NAMES, "criterion": CRITERION_NAMES, "order": lambda order: order_name(order.split())}
    named = chosen[what].map(names[what])
    return chosen.assign(series=named)


def operating_points(curves: pd.DataFrame, policies: pd.DataFrame, latency: pd.DataFrame) -> pd.DataFrame:
    """Summarise what each policy and each number of segments costs and answers, averaged over runs.

    Args:
        curves: The table `early_exit`.
        policies: The table `policies`.
        latency: The table `latency`.

    Returns:
        system, setting (share of the cost, or segments), gmac, milliseconds_1 and milliseconds_32 (of the networks, a
        clip, at these batch sizes), decoding (milliseconds), accuracy, low, high (fractions in 0..1).
    """
    chosen = policies.assign(system="policy", setting=policies["share"])
    bare = curves[curves["system"] == "fewer_segments"]
    bare = bare.assign(correct=bare["accuracy"] * bare["clips"])
    times = latency.groupby(["system", "kind", "setting", "batch"])[["milliseconds", "decoding"]].mean()
    rows = []
    for (system, kind, setting), counts in pd.concat([chosen, bare]).groupby(["system", "kind", "setting"], sort=False):
        spent = times.loc[system, kind, setting]
        name = f"policy, {KIND_NAMES[kind]}" if system == "policy" else "bare networks, fused late"
        figures = {f"milliseconds_{batch}": row["milliseconds"] for batch, row in spent.iterrows()}
        figures |= {"decoding": spent["decoding"].mean(), "gmac": np.average(counts["gmac"], weights=counts["clips"])}
        rows.append({"system": name, "setting": setting, **figures, **fractions(counts)})
    return pd.DataFrame(rows)


def audit_summary(audit: pd.DataFrame) -> pd.DataFrame:
    """Summarise each gain under each switch of the protocol with its interval.

    Args:
        audit: The table `audit`.

    Returns:
        gain, switch, unit, difference, low, high.
    """
    rows = []
    for (gain, switch), table in audit.groupby(["gain", "switch"], sort=False):
        interval = intervals.two_way_interval(table)
        unit = "% of the cost of running everything" if gain == "cost saved" else "percentage points"
        ends = {"difference": interval.estimate, "low": interval.low, "high": interval.high}
        rows.append({"gain": gain, "switch": switch, "unit": unit, **ends})
    return pd.DataFrame(rows)


def audited_studies() -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield what the protocol does to each gain in every committed study that measured it.

    Yields:
        The data's name, and its `audit_summary`.
    """
    for profile, dataset in results.published_sets(verdicts.MIN_SEEDS):
        found = results.published(profile, dataset)
        if "audit" in found:
            yield study_name(profile, dataset), audit_summary(found["audit"])


def flatness_correlations(flatness: pd.DataFrame) -> pd.DataFrame:
    """Relate each measure of flatness to the gap between test and training loss, within each modality and across.

    Args:
        flatness: The table `flatness`, of one control.

    Returns:
        measure, and for each modality and all together Spearman's rank correlation over networks with its interval
        (95 %, Fisher's z with the variance 1.06 / (n - 3): Fieller, Hartley and Pearson, Biometrika 44, 1957), as text.
    """
    fit = flatness.pivot(index=["split", "seed", "modality"], columns="measure", values="value")
    gap = (fit["test_loss"] - fit["train_loss"]).rename("gap")
    rows = []
    for measure, title in MEASURES.items():
        both = pd.concat([fit[measure].rename("value"), gap], axis=1).reset_index("modality")
        groups = {MODALITY_NAMES[name]: rows_ for name, rows_ in both.groupby("modality")} | {"all": both}
        rows.append({"measure": title} | {name: _rank_correlation(own) for name, own in groups.items()})
    return pd.DataFrame(rows)


def _rank_correlation(both: pd.DataFrame) -> str:
    count = len(both)
    if count < 5:
        return f"{count} networks: too few"
    found = float(both["value"].rank().corr(both["gap"].rank()))
    half = 1.96 * np.sqrt(1.06 / (count - 3))
    # A perfect one counts as half way to the next: infinity has no interval.
    most = 1 - 6 / (count**3 - count)
    low, high = np.tanh(np.arctanh(np.clip(found, -most, most)) + np.array([-half, half]))
    return f"{found:+.2f} ({low:+.2f} to {high:+.2f})"


def fractions(counts: pd.DataFrame) -> dict[str, float]:
    """Estimate an accuracy with its interval.

    Args:
        counts: Clips and right answers of each split, seed and group.

    Returns:
        accuracy, low and high, in 0..1.
    """
    interval = intervals.accuracy_interval(counts)
    return {"accuracy": interval.estimate / 100, "low": interval.low / 100, "high": interval.high / 100}


def _in_order(names: Names, column: pd.Series) -> list[str]:
    # Those that a column holds: the named ones first, in their order.
    found = set(column)
    return [name for name in names if name in found] + sorted(found - names.keys())


def _is_base(curves: pd.DataFrame, *names: str) -> pd.Series:
    return pd.concat([curves[name].isin(PLAIN[name]) for name in names], axis=1).all(axis=1)


def _light(trials: pd.DataFrame) -> pd.DataFrame:
    return trials[trials["kind"].isin(LIGHT_KINDS) & (trials["part"] == "test")]


def _mean_over_exits(trials: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (modality, name), group in trials.groupby(["modality", "name"], sort=False):
        counts = group.groupby(intervals.CELL, as_index=False)[["clips", "correct"]].sum()
        rows.append({"modality": modality, "method": name, **fractions(counts)})
    return pd.DataFrame(rows)


def rule_summary(ensembles: pd.DataFrame) -> pd.DataFrame:
    """Summarise the test accuracy of every rule that combines all exits trained by PKD, and of late fusion.

    Args:
        ensembles: The table `ensembles`.

    Returns:
        cascade (whose classifiers), rule, accuracy, low, high; fractions in 0..1. Late fusion stands in every cascade.
    """
    test = ensembles[(ensembles["part"] == "test") & ensembles["prefix"].isin([0, ensembles["prefix"].max()])]
    rows = []
    for kind in _in_order(KIND_NAMES, test.loc[test["prefix"] > 0, "kind"]):
        chosen = test[((test["kind"] == kind) & (test["method"] == "pkd")) | (test["prefix"] == 0)]
        for rule in _in_order(RULE_NAMES, chosen["rule"]):
            figures = fractions(chosen[chosen["rule"] == rule])
            rows.append({"cascade": f"{KIND_NAMES[kind]}, PKD", "rule": RULE_NAMES[rule], **figures})
    return pd.DataFrame(rows)


def accuracy_table(found: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Summarise the test accuracy of every system of some results, each with its interval.

    Args:
        found: The tables `exits` and `ensembles`.

    Returns:
        system, accuracy, low, high (per cent), runs, groups.
    """
    rows = []
    exits = found["exits"][found["exits"]["part"] == "test"]
    for (modality, method, number), counts in exits.groupby(["modality", "method", "exit"], sort=False):
        name = f"{MODALITY_NAMES[modality]} network"
        rows.append((name if method == "backbone" else f"{name}, exit {number}, {METHOD_NAMES[method]}", counts))
    ensembles = found["ensembles"]
    ensembles = ensembles[(ensembles["part"] == "test") & (ensembles["kind"] != "light")]
    for (_, rule), counts in ensembles[ensembles["prefix"] == 0].groupby(["method", "rule"], sort=False):
        rows.append((RULE_NAMES[rule], counts))
    whole = ensembles[(ensembles["prefix"] == ensembles["prefix"].max()) & ensembles["rule"].isin(["wise", "uniform"])]
    for (method, rule), counts in whole.groupby(["method", "rule"], sort=False):
        rows.append((f"{RULE_NAMES[rule]} of all exits, {METHOD_NAMES[method]}", counts))
    figures = []
    for name, counts in rows:
        interval = intervals.accuracy_interval(counts)
        figures.append(
            {
                "system": name,
                "accuracy": interval.estimate,
                "low": interval.low,
                "high": interval.high,
                "runs": interval.num_runs,
                "groups": interval.num_groups,
            }
        )
    return pd.DataFrame(figures)


def published_table() -> pd.DataFrame:
    """Set the published operating points beside ours on the same data, of which there may be none.

    Returns:
        data, system, setting, accuracy (%), GMAC a clip, protocol, source, ours; all words and rounded figures.
    """
    rows = []
    for result in claims.PUBLISHED:
        measured = bool(results.published("paper", result.dataset))
        rows.append(
            {
                "data": DATASET_LABELS[result.dataset],
                "system": result.system,
                "setting": result.setting,
                "accuracy (%)": f"{result.accuracy:.2f}",
                "GMAC a clip": f"{result.gmac:.1f}",
                "protocol": result.protocol,
                "source": result.source,
                "ours": "in the table of accuracies" if measured else "not run",
            }
        )
    return pd.DataFrame(rows)


def published_points() -> pd.DataFrame:
    """Return the published operating points to draw.

    Returns:
        dataset, system, setting, accuracy (per cent), gmac (per video), source.
    """
    return pd.DataFrame([dataclasses.asdict(result) | {"gmac": result.gmac} for result in claims.PUBLISHED])
