"""Flatness compared: between the networks of a run, with the gap of generalisation, and by method."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas as pd

from pkdlib.companion.flatness_controls import CONTROLS, MATCHED_WITHIN, MEASURES, PRIMARY_MEASURE, SAME
from pkdlib.statistics.differences import Comparison, NotMeasured, Tables, required
from pkdlib.statistics.intervals import RUN


def _flatness(tables: Tables, control: str) -> pd.DataFrame:
    table = required(tables, "flatness", [*RUN, "control", "modality", "measure", "value"])
    table = table[table["control"] == control]
    if table.duplicated([*RUN, "modality", "measure"]).any():
        raise ValueError("table 'flatness' holds a measure of one network more than once")
    if table.empty:
        raise NotMeasured(f"no network was trained under the control {CONTROLS[control].title!r}")
    if not {"iframe", "motion", "residual"} <= set(table["modality"]):
        raise NotMeasured("one network that joins the modalities has one minimum: there is no order to see")
    return table


def _matched(table: pd.DataFrame) -> pd.DataFrame:
    # A network may never have come down to the others' loss, or begun below it: its run says nothing at equal loss.
    losses = table[table["measure"] == "loss"].pivot(index=RUN, columns="modality", values="value")
    ratios = (losses.max(axis=1) / losses.min(axis=1)).rename("ratio").reset_index()
    alike = table.merge(ratios[ratios["ratio"] <= MATCHED_WITHIN][RUN], on=RUN)
    if alike.empty:
        raise NotMeasured(f"in none of {len(ratios)} runs do the losses agree within {MATCHED_WITHIN - 1:.0%}")
    return alike


def _flatness_order(tables: Tables, control: str) -> list[Comparison]:
    comparisons, table, left_out = [], _flatness(tables, control), {}
    if CONTROLS[control].matched:
        runs = len(table.drop_duplicates(RUN))
        table = _matched(table)
        if out := runs - len(table.drop_duplicates(RUN)):
            left_out = {f"runs left out, losses more than {MATCHED_WITHIN - 1:.0%} apart": f"{out} of {runs}"}
    for measure, values in _by_measure(table):
        if not (values > 0).to_numpy().all():
            missing = "a value is missing or not positive, so that ratios make no sense"
            comparisons.append(Comparison(measure, missing=missing))
            continue
        ordered = (values["iframe"] < values["residual"]) & (values["residual"] < values["motion"])
        details = {"runs with both steps in the paper's order": f"{ordered.sum()} of {len(values)}", **left_out}
        ends = [("motion", "iframe")] if measure == MEASURES[PRIMARY_MEASURE] else []
        for sharper, flatter in (*ends, ("motion", "residual"), ("residual", "iframe")):
            logarithms = np.log(values[sharper] / values[flatter]).rename("difference").reset_index()
            comparisons.append(Comparison(f"{measure}, {sharper} / {flatter}", (logarithms,), details))
    if not comparisons:
        raise NotMeasured("the table 'flatness' holds no measure of flatness")
    return comparisons


def _flatness_generalisation(tables: Tables) -> list[Comparison]:
    table = _flatness(tables, SAME)
    fit = table.pivot(index=[*RUN, "modality"], columns="measure", values="value")
    if not {"train_loss", "test_loss"} <= set(fit.columns):
        raise NotMeasured("the table 'flatness' holds no training and test loss")
    gaps = (fit["test_loss"] - fit["train_loss"]).unstack("modality")
    comparisons = []
    for measure, values in _by_measure(table):
        ranks, others = values.rank(axis=1), gaps[values.columns].rank(axis=1)
        found = ranks.corrwith(others, axis=1).rename("difference").reset_index()
        comparisons.append(Comparison(f"{measure}, over the three networks of a run", (found,)))
    return comparisons


def _by_measure(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for measure, title in MEASURES.items():
        rows = table[table["measure"] == measure]
        if len(rows):
            values = rows.pivot(index=RUN, columns="modality", values="value")
            yield title, values.reindex(columns=["iframe", "residual", "motion"])


def _exit_flatness(tables: Tables) -> list[Comparison]:
    table = required(tables, "flatness_exits", [*RUN, "modality", "method", "exit", "measure", "value"])
    comparisons = []
    for measure, title in MEASURES.items():
        rows = table[table["measure"] == measure]
        values = rows.pivot(index=[*RUN, "modality", "exit"], columns="method", values="value").reindex(
            columns=["ce", "pkd"]
        )
        name = f"{title}, CE / PKD, mean over the exits"
        if not len(values) or not (values > 0).to_numpy().all():
            comparisons.append(Comparison(name, missing="a value is missing or not positive: ratios make no sense"))
            continue
        ratios = np.log(values["ce"] / values["pkd"]).groupby(level=RUN).mean()
        comparisons.append(Comparison(name, (ratios.rename("difference").reset_index(),)))
    return comparisons


COMPARISONS: dict[str, Callable[[Tables], list[Comparison]]] = {
    "flatness-order": partial(_flatness_order, control=SAME),
    "flatness-matched": partial(_flatness_order, control="matched"),
    "flatness-mix": partial(_flatness_order, control="mix"),
    "flatness-generalisation": _flatness_generalisation,
    "ic-flatness": _exit_flatness,
}
