"""The study in the paper's own regime, on a part of UCF-101: its recipes, networks, foreseen effects and control.

Each function gives a table of what is committed, empty where nothing is yet.
"""

import pandas as pd

from pkdlib.companion import results
from pkdlib.companion.book.page_tables.layout import with_interval
from pkdlib.companion.claims import verdicts
from pkdlib.companion.claims.verdicts import PRIMARY
from pkdlib.companion.names import MODALITY_NAMES
from pkdlib.companion.presets import IFRAME_NETWORKS
from pkdlib.statistics import intervals

DATA = "ucf101-25"
# The two arms differ in the I-frame network alone.
ARMS = {f"full-{network}": "strong" for network in IFRAME_NETWORKS} | {"full": "plain"}


def recipes() -> pd.DataFrame:
    """Set out the recipes that were tried on validation clips of the first split, in their order.

    Returns:
        A row a recipe.
    """
    tried = results.calibration("ucf101")
    if tried is None:
        return pd.DataFrame()
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
    return pd.DataFrame(columns)


def networks() -> pd.DataFrame:
    """Set out what the networks reach on the test clips of the study, each arm's, from the least accurate upwards.

    Returns:
        Accuracies with 95 % intervals, and the same of their late fusion with fitted weights.
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
            rows.append(
                {"arm": arm, "network": MODALITY_NAMES[name], "test accuracy, %": with_interval(interval, "{:.1f}")}
            )
        fused = found["ensembles"].query("rule == 'late_fitted' and part == 'test'").drop_duplicates(intervals.CELL)
        interval = intervals.accuracy_interval(fused)
        rows.append(
            {"arm": arm, "network": "late fusion of the three", "test accuracy, %": with_interval(interval, "{:.1f}")}
        )
    return pd.DataFrame(rows)


def foreseen() -> pd.DataFrame:
    """Set out the smallest effects that the study could show, as they were foreseen from validation clips.

    Returns:
        A row a primary comparison.
    """
    found = results.calibration("smallest_effects")
    if found is None:
        return pd.DataFrame()
    columns = {
        "arm": found["profile"].map(ARMS),
        "primary comparison": found["comparison"],
        "pilot": found["pilot_seeds"].map("{} seeds".format),
        "study": found["seeds"].astype(str) + " seeds, " + found["test_groups"].astype(str) + " test groups",
        "smallest effect, points": found["smallest_effect"].map("{:.1f}".format),
    }
    return pd.DataFrame(columns)


def control() -> pd.DataFrame:
    """Set the primary comparisons on the classes of one kind of encoder beside those on all, of the same runs.

    Returns:
        Estimates in points with 95 % intervals.
    """
    rows = []
    for profile, arm in ARMS.items():
        whole, part = (results.published(profile, data) for data in (DATA, results.CONTROL))
        if not whole or not part:
            continue
        made = part["exits"][intervals.RUN].drop_duplicates()
        alike = {name: table.merge(made, on=intervals.RUN) for name, table in whole.items()}
        judged = [verdicts.judge(tables, DATA) for tables in (alike, part)]
        both = judged[0].merge(judged[1], on=["claim", "comparison"], suffixes=("", "_part"))
        for row in both[(both["role"] == PRIMARY) & both["low"].notna() & both["low_part"].notna()].itertuples():
            named = row._replace(estimate=row.estimate_part, low=row.low_part, high=row.high_part)
            rows.append(
                {
                    "arm": arm,
                    "comparison": row.comparison,
                    "25 classes": with_interval(row),
                    "12 classes": with_interval(named),
                }
            )
    return pd.DataFrame(rows)
