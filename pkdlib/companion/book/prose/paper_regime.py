"""The study in the paper's own regime, on a part of UCF-101: its recipes, networks, foreseen effects and control.

Each function gives a table in Markdown from what is committed, or says that nothing is yet.
"""

import pandas as pd

from pkdlib import _resources
from pkdlib.companion import results
from pkdlib.companion.book.prose import reports
from pkdlib.companion.claims import verdicts
from pkdlib.companion.claims.aggregate import MODALITY_NAMES
from pkdlib.companion.claims.verdicts import PRIMARY
from pkdlib.companion.presets import IFRAME_NETWORKS
from pkdlib.statistics import intervals

DATA = "ucf101-25"
# The two arms differ in the I-frame network alone.
ARMS = {f"full-{network}": "strong" for network in IFRAME_NETWORKS} | {"full": "plain"}
NOT_YET = "(not run yet)"


def recipes() -> str:
    """Set out the recipes that were tried on validation clips of the first split, in their order.

    Returns:
        A Markdown table.
    """
    tried = _calibration("ucf101")
    if tried is None:
        return NOT_YET
    begins = tried["begins"].map({"imagenet": "ImageNet's", "marionette": "Marionette's", "new": "new"})
    columns = {
        "network": tried["network"].map(MODALITY_NAMES) + ", " + tried["size"],
        "begins from": begins + " weights",
        "pixels": tried["input_size"].astype(str),
        "epochs": tried["epochs"].astype(str),
        "learning rate": tried["lr"].map("{:g}".format),
        "validation accuracy": (100 * tried["best_validation_accuracy"]).map("{:.1f} %".format),
        "processor seconds": tried["seconds"].map("{:.0f}".format),
    }
    return reports.as_markdown(pd.DataFrame(columns))


def networks() -> str:
    """Set out what the networks reach on the test clips of the study, each arm's, from the least accurate upwards.

    Returns:
        A Markdown table: accuracies with 95 % intervals, and the same of their late fusion with fitted weights.
    """
    rows = []
    for profile, arm in ARMS.items():
        found = results.published(profile, DATA)
        if "exits" not in found:
            continue
        exits = found["exits"]
        ends = exits[(exits["part"] == "test") & (exits["method"] == "backbone")]
        each = {name: intervals.accuracy_interval(own) for name, own in ends.groupby("modality")}
        for name, interval in sorted(each.items(), key=lambda pair: pair[1].estimate):
            rows.append({"arm": arm, "network": MODALITY_NAMES[name], "test accuracy": _per_cent(interval)})
        fused = found["ensembles"].query("rule == 'late_fitted' and part == 'test'").drop_duplicates(intervals.CELL)
        interval = intervals.accuracy_interval(fused)
        rows.append({"arm": arm, "network": "late fusion of the three", "test accuracy": _per_cent(interval)})
    return reports.as_markdown(pd.DataFrame(rows)) if rows else NOT_YET


def foreseen() -> str:
    """Set out the smallest effects that the study could show, as they were foreseen from validation clips.

    Returns:
        A Markdown table.
    """
    found = _calibration("smallest_effects")
    if found is None:
        return NOT_YET
    columns = {
        "arm": found["profile"].map(ARMS),
        "primary comparison": found["comparison"],
        "pilot": found["pilot_seeds"].map("{} seeds".format),
        "study": found["seeds"].astype(str) + " seeds, " + found["test_groups"].astype(str) + " test groups",
        "smallest effect, points": found["smallest_effect"].map("{:.1f}".format),
    }
    return reports.as_markdown(pd.DataFrame(columns))


def control() -> str:
    """Set the primary comparisons on the classes of one kind of encoder beside those on all, of the same runs.

    Returns:
        A Markdown table: estimates in points with 95 % intervals.
    """
    rows = []
    for profile, arm in ARMS.items():
        whole, part = (results.published(profile, data) for data in (DATA, results.CONTROL))
        if not whole or not part:
            continue
        made = part["exits"][intervals.RUN].drop_duplicates()
        alike = {name: table.merge(made, on=intervals.RUN) for name, table in whole.items()}
        judged = [verdicts.judge(tables, DATA, profile) for tables in (alike, part)]
        both = judged[0].merge(judged[1], on=["claim", "comparison"], suffixes=("", "_part"))
        for row in both[(both["role"] == PRIMARY) & both["low"].notna() & both["low_part"].notna()].itertuples():
            rows.append(
                {
                    "arm": arm,
                    "comparison": row.comparison,
                    "25 classes": _points(row.estimate, row.low, row.high),
                    "12 classes": _points(row.estimate_part, row.low_part, row.high_part),
                }
            )
    return reports.as_markdown(pd.DataFrame(rows)) if rows else NOT_YET


def _calibration(name: str) -> pd.DataFrame | None:
    path = _resources.folder("results") / "calibration" / f"{name}.csv"
    return pd.read_csv(path) if path.is_file() else None


def _per_cent(interval: intervals.Interval) -> str:
    return f"{interval.estimate:.1f} % ({interval.low:.1f} to {interval.high:.1f})"


def _points(estimate: float, low: float, high: float) -> str:
    return f"{estimate:+.1f} ({low:+.1f} to {high:+.1f})"
