"""What a teacher's softness, and its not knowing the clips by heart, are worth: tables of the committed studies."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from pkdlib.companion import results
from pkdlib.companion.book.page_tables.layout import with_interval
from pkdlib.companion.claims import verdicts
from pkdlib.companion.claims.comparisons import LAST_TEACHER
from pkdlib.companion.names import KIND_NAMES, METHOD_NAMES, MODALITY_NAMES, study_name
from pkdlib.distillation.schedules import canonical
from pkdlib.statistics import intervals
from pkdlib.statistics.intervals import CELL

_COLUMNS = [*CELL, "clips", "correct"]


def temperatures() -> Iterator[tuple[str, pd.DataFrame]]:
    """Compare what was learned at a further temperature with the same at 1, and with labels, over all exits.

    Yields:
        A study's name, and classifiers, method, temperature, and both differences in test accuracy, in points with 95 %
        intervals: words and rounded figures.
    """
    for name, found in _studies("temperatures"):
        soft, trials = found["temperatures"], found["trials"].query("lr_factor == 1 and part == 'test'")
        rows = []
        for (kind, method, factor), own in soft.groupby(["kind", "method", "temperature_factor"], sort=False):
            rivals = {"less at 1": method, "less labels": "ce"}
            told = {column: _difference(own, trials[trials["kind"] == kind], other) for column, other in rivals.items()}
            names = {"classifiers": KIND_NAMES[kind], "learned from": METHOD_NAMES[method]}
            rows.append({**names, "temperature": f"{factor:g}", **told})
        yield name, pd.DataFrame(rows)


def certainty() -> Iterator[tuple[str, pd.DataFrame]]:
    """Set out how certain, and how often right, the last teacher is, as it is and cross-fitted.

    Yields:
        A study's name, and teacher, clips, mean highest probability and accuracy, in per cent.
    """
    titles = {
        ("own", "train"): "the run's own, on its training clips",
        ("crossfit", "train"): "cross-fitted, on the same clips",
        ("own", "validation"): "the run's own, on validation clips",
    }
    for name, found in _studies("crossfit"):
        teachers = found["crossfit"].query("kind == 'teacher'")
        rows = []
        for (method, part), title in titles.items():
            own = teachers[(teachers["method"] == method) & (teachers["part"] == part)]
            rows.append(
                {
                    f"the {MODALITY_NAMES[LAST_TEACHER]} network": title,
                    "clips": str(own["clips"].sum()),
                    "mean highest probability": f"{100 * np.average(own['certainty'], weights=own['clips']):.0f} %",
                    "right": f"{100 * own['correct'].sum() / own['clips'].sum():.0f} %",
                }
            )
        yield name, pd.DataFrame(rows)


def _studies(table: str) -> Iterator[tuple[str, dict[str, pd.DataFrame]]]:
    for profile, dataset in results.published_sets(verdicts.MIN_SEEDS):
        found = results.published(profile, dataset)
        if len(found.get(table, ())):
            yield study_name(profile, dataset), found


def _difference(own: pd.DataFrame, trials: pd.DataFrame, method: str) -> str:
    # The mean over the exits of all networks that have the method under its own name.
    differences = [
        intervals.group_differences(
            rows[_COLUMNS],
            trials[
                (trials["modality"] == modality)
                & (trials["exit"] == number)
                & (trials["method"] == canonical(method, modality))
            ][_COLUMNS],
        )
        for (modality, number), rows in own.groupby(["modality", "exit"])
    ]
    mean = differences[0].assign(difference=np.mean([each["difference"] for each in differences], axis=0))
    return with_interval(intervals.two_way_interval(mean))
