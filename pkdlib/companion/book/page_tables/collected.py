"""The tables that the pages in `book/` show, by the names under which they stand there."""

import pandas as pd

from pkdlib import _files, _resources
from pkdlib.companion import results
from pkdlib.companion.book.page_tables import (
    coverage_tables,
    marionette_tables,
    paper_scale_tables,
    reader_tables,
    ucf101_tables,
    verdict_tables,
)
from pkdlib.companion.book.page_tables.layout import as_markdown
from pkdlib.companion.names import STUDY_NAMES
from pkdlib.companion.runs import store

# What pages call a study -> its profile and data set.
STUDIES = {
    "ucf101_strong": ("full-lite", "ucf101-25"),
    "ucf101_plain": ("full", "ucf101-25"),
    "marionette": ("full", "marionette"),
    "marionette_1": ("full", "marionette_1"),
    "marionette_large": ("large", "marionette_1"),
    "ut_interaction": ("full", "ut_interaction"),
}


def collect() -> dict[str, str]:
    """Give the pages' tables.

    Returns:
        Name -> Markdown.
    """
    return {name: as_markdown(frame) for name, frame in {**_of_studies(), **_of_benchmarks()}.items()}


def _of_studies() -> dict[str, pd.DataFrame]:
    judged = verdict_tables.judged()
    return {
        **_by_study(judged),
        "smallest_effects": verdict_tables.smallest_effects(judged),
        "ucf_recipes": ucf101_tables.recipes(),
        "ucf_networks": ucf101_tables.networks(),
        "ucf_foreseen": ucf101_tables.foreseen(),
        "ucf_control": ucf101_tables.control(),
        "marionette_tried": marionette_tables.calibration(),
        "marionette_dial": marionette_tables.dial(),
    }


def _by_study(judged: pd.DataFrame) -> dict[str, pd.DataFrame]:
    # The long tables of each study, on the page of its data set.
    found = {
        "accuracies": dict(verdict_tables.accuracies()),
        "comparisons": dict(verdict_tables.every_comparison(judged)),
        "rests": dict(verdict_tables.what_they_rest_on(judged)),
    }
    return {
        f"{kind}_{page}": tables.get(STUDY_NAMES[study], pd.DataFrame())
        for kind, tables in found.items()
        for page, study in STUDIES.items()
    }


def _of_benchmarks() -> dict[str, pd.DataFrame]:
    compared, simulated, measured, fed = results.readers(), results.coverage(), results.throughput(), results.feeding()
    spreads = _files.read_json(_resources.folder("results") / "coverage" / store.RECORD)["spreads"]
    coverage = simulated["coverage"]
    return {
        "decoder_speed": reader_tables.decoder_speed(results.decoder()),
        "readers_speed": reader_tables.speed(compared["speed"]),
        "readers_formats": reader_tables.formats(compared["formats"]),
        **{f"coverage_{name}": coverage_tables.by_spread(coverage, name) for name in coverage["layout"].unique()},
        "coverage_ranges": coverage_tables.ranges(coverage),
        "coverage_of_runs": coverage_tables.of_runs(simulated["runs"]),
        "coverage_spreads": coverage_tables.spreads(spreads),
        "throughput": paper_scale_tables.throughput(measured),
        "paper_hours": paper_scale_tables.hours(measured, fed["speed"]),
        "paper_grid": paper_scale_tables.grid(measured),
        "grid_proof": paper_scale_tables.proof(results.grid()),
        "feeding": paper_scale_tables.feeding(fed["speed"]),
        "feeding_memory": paper_scale_tables.memory(fed["memory"]),
    }
