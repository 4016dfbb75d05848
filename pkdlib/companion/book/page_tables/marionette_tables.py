"""How hard Marionette is: what was tried before it was declared, and what its dial makes of the three networks."""

import dataclasses

import pandas as pd

from pkdlib import _files
from pkdlib.companion import results
from pkdlib.companion.book.page_tables.layout import figure, with_interval
from pkdlib.companion.claims import aggregate
from pkdlib.companion.names import DIAL_STUDIES, MODALITY_LABELS
from pkdlib.companion.runs import store
from pkdlib.data.marionette import marionette

DATA = "marionette"
_DIFFICULTY = [field.name for field in dataclasses.fields(marionette.Difficulty)]
_NETWORKS = ("iframe", "residual", "motion")  # in the paper's order of accuracy


def calibration() -> pd.DataFrame:
    """Set out what the networks reached on validation clips before anything else was trained, in the order of trial.

    Returns:
        A row for each data set that was tried: the profile, the dial, what of the difficulty was changed in any trial,
        accuracies in per cent, empty for a network that was not trained, and what else was otherwise.
    """
    tried = results.calibration(DATA)
    if tried is None:
        return pd.DataFrame()
    difficulty = [name for name in _DIFFICULTY if tried[name].nunique() > 1]
    settings = ["profile", "appearance", *difficulty]
    rows = []
    for values, own in tried.groupby([*settings, "note"], sort=False, dropna=False):
        named = dict(zip([*settings, "note"], values, strict=True))
        accuracy = 100 * own.groupby("network")["best_validation_accuracy"].mean().reindex(_NETWORKS)
        rows.append(
            {
                "profile": f"`{named['profile']}`",
                **{name: f"{named[name]:g}" for name in settings[1:]},
                **{f"{MODALITY_LABELS[name]}, %": figure(accuracy[name], "{:.1f}") for name in _NETWORKS},
                "otherwise": "" if pd.isna(named["note"]) else named["note"],
            }
        )
    return pd.DataFrame(rows)


def accuracy_by_appearance() -> pd.DataFrame:
    """Summarise what the three networks reach on test clips at each value of the dial that is committed.

    Returns:
        appearance, modality, accuracy, and the ends of its 95 % interval, low and high.
    """
    rows = []
    for profile, dataset in (("full", DATA), *DIAL_STUDIES):
        found = results.published(profile, dataset)
        if dataset != DATA or "exits" not in found:
            continue
        record = _files.read_json(results.folder(profile, dataset) / store.RECORD)
        ends = found["exits"].query("method == 'backbone'")
        own = aggregate.accuracy_summary(ends).assign(appearance=record["parameters"]["marionette_appearance"])
        rows.append(own[["appearance", "modality", "accuracy", "low", "high"]])
    return pd.concat(rows, ignore_index=True).sort_values("appearance") if rows else pd.DataFrame()


def dial() -> pd.DataFrame:
    """Set out what the three networks reach at each value of the dial.

    Returns:
        A row a value, upwards: accuracies in per cent with 95 % intervals.
    """
    rows = []
    found = accuracy_by_appearance()
    for value, own in found.groupby("appearance") if len(found) else ():
        each = {row.modality: row for row in own.rename(columns={"accuracy": "estimate"}).itertuples()}
        told = {f"{MODALITY_LABELS[name]}, %": with_interval(each[name], "{:.1f}", per=100) for name in _NETWORKS}
        rows.append({"appearance": f"{value:g}", **told})
    return pd.DataFrame(rows)
