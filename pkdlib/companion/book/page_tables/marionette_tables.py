"""How hard Marionette 2 is: what was tried before it was declared, and what its dial makes of the three networks."""

import pandas as pd

from pkdlib import _files
from pkdlib.companion import results
from pkdlib.companion.book.page_tables.layout import with_interval
from pkdlib.companion.names import DIAL_STUDIES, MODALITY_LABELS
from pkdlib.companion.runs import store
from pkdlib.statistics import intervals

DATA = "marionette_2"
_NETWORKS = ("iframe", "residual", "motion")  # in the paper's order of accuracy


def calibration() -> pd.DataFrame:
    """Set out what the networks reached on validation clips before anything else was trained, in the order of trial.

    Returns:
        A row for each data set that was tried: its dial and difficulty, and accuracies in per cent.
    """
    tried = results.calibration(DATA)
    if tried is None:
        return pd.DataFrame()
    settings = ["profile", "appearance", "movement", "split", "seed", "validation_clips"]
    reached = tried.groupby(settings, sort=False)
    rows = []
    for values, own in reached:
        named = dict(zip(settings, values, strict=True))
        accuracy = own.set_index("network")["best_validation_accuracy"]
        rows.append(
            {
                "profile": f"`{named['profile']}`",
                "appearance": f"{named['appearance']:g}",
                "movement": f"{named['movement']:g}",
                "validation clips": str(named["validation_clips"]),
                **{f"{MODALITY_LABELS[name]}, %": f"{100 * accuracy[name]:.1f}" for name in _NETWORKS},
            }
        )
    return pd.DataFrame(rows)


def dial() -> pd.DataFrame:
    """Set out what the three networks reach on test clips at each value of the dial that is committed.

    Returns:
        A row a value, upwards: accuracies in per cent with 95 % intervals.
    """
    rows = {}
    for profile, dataset in DIAL_STUDIES:
        found = results.published(profile, dataset)
        if dataset != DATA or "exits" not in found:
            continue
        record = _files.read_json(results.folder(profile, dataset) / store.RECORD)
        ends = found["exits"].query("part == 'test' and method == 'backbone'")
        each = {name: intervals.accuracy_interval(own) for name, own in ends.groupby("modality")}
        rows[record["parameters"]["marionette_appearance"]] = {
            f"{MODALITY_LABELS[name]}, %": with_interval(each[name], "{:.1f}") for name in _NETWORKS
        }
    return pd.DataFrame([{"appearance": f"{value:g}", **rows[value]} for value in sorted(rows)])
