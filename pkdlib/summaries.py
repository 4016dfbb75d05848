"""Summaries of the tables, to draw or to read: accuracies with intervals, modalities by position."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from pkdlib import bitstream, claims, results, statistics

MODALITY_NAMES = {"iframe": "I-frame", "motion": "motion-vector", "residual": "residual"}
METHOD_NAMES = {
    "ce": "cross-entropy",
    "pkd": "PKD",
    "self": "own end",
    "iframe": "I-frame teacher",
    "anti": "PKD reversed",
    "swapped": "PKD, residual first",
    "pkd_reference": "PKD, own end last",
    "motion_only": "motion teacher",
    "residual_only": "residual teacher",
    "pkd+labels": "PKD with labels",
}
RULE_NAMES = {
    "wise": "WISE",
    "uniform": "uniform mean",
    "late_equal": "late fusion, equal weights",
    "late_fitted": "late fusion, fitted weights",
}


def modality_profile(path: Path) -> pd.DataFrame:
    """Measure how much motion and residual there is by position in the GOP, over all GOPs of a clip.

    Args:
        path: A compressed video.

    Returns:
        position, motion (mean length of the accumulated motion, pixels), residual (mean size of the accumulated
        residual, grey levels).
    """
    with bitstream.CompressedVideo(path) as video:
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
        interval = statistics.accuracy_interval(counts)
        figures = {name: getattr(interval, name) / 100 for name in ("estimate", "low", "high")}
        figures["accuracy"] = figures.pop("estimate")
        for name in methods if method == "backbone" else [method]:
            rows.append({"modality": modality, "method": name, "exit": number, **figures})
    return pd.DataFrame(rows).sort_values(["modality", "method", "exit"], ignore_index=True)


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


def _light(trials: pd.DataFrame) -> pd.DataFrame:
    return trials[(trials["kind"] == "light") & (trials["part"] == "test")]


def _mean_over_exits(trials: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (modality, name), group in trials.groupby(["modality", "name"], sort=False):
        interval = statistics.accuracy_interval(
            group.groupby(statistics.CELL, as_index=False)[["clips", "correct"]].sum()
        )
        ends = {"low": interval.low / 100, "high": interval.high / 100}
        rows.append({"modality": modality, "method": name, "accuracy": interval.estimate / 100, **ends})
    return pd.DataFrame(rows)


def ensemble_summary(ensembles: pd.DataFrame, part: str = "test") -> pd.DataFrame:
    """Summarise the accuracy of every rule at its last prefix, and of late fusion.

    Args:
        ensembles: The table `ensembles`.
        part: `test` or `validation`.

    Returns:
        method, rule, exits (how many are combined), accuracy, low, high; per cent.
    """
    rows = []
    chosen = ensembles[ensembles["part"] == part]
    last = chosen["prefix"].max()
    for (method, rule), counts in chosen[chosen["prefix"].isin([0, last])].groupby(["method", "rule"], sort=False):
        interval = statistics.accuracy_interval(counts)
        combined = 1 if rule == "last" else 3 if method == "backbone" else last
        rows.append(
            {
                "method": method,
                "rule": rule,
                "exits": combined,
                "accuracy": interval.estimate,
                "low": interval.low,
                "high": interval.high,
            }
        )
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
    ensembles = found["ensembles"][found["ensembles"]["part"] == "test"]
    for (_, rule), counts in ensembles[ensembles["prefix"] == 0].groupby(["method", "rule"], sort=False):
        rows.append((RULE_NAMES[rule], counts))
    whole = ensembles[(ensembles["prefix"] == ensembles["prefix"].max()) & (ensembles["rule"] != "last")]
    for (method, rule), counts in whole.groupby(["method", "rule"], sort=False):
        rows.append((f"{RULE_NAMES[rule]} of all exits, {METHOD_NAMES[method]}", counts))
    figures = []
    for name, counts in rows:
        interval = statistics.accuracy_interval(counts)
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


def accuracy_tables() -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the accuracies of every set of committed results, rounded for reading.

    Yields:
        The data's name, and its table.
    """
    for profile, dataset in results.published_sets():
        frame = accuracy_table(results.published(profile, dataset)).set_index("system").round(1)
        yield f"{dataset} ({profile})", frame


def published_points() -> pd.DataFrame:
    """Return the published operating points to draw.

    Returns:
        dataset, system, setting, accuracy (per cent), gmac (per video), source.
    """
    return pd.DataFrame([dataclasses.asdict(result) | {"gmac": result.gmac} for result in claims.PUBLISHED])
