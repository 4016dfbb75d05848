"""A reader's own run lies over the study of its data, and over no other."""

import itertools

import altair as alt
import pandas as pd
import pytest
import vl_convert

from pkdlib.companion import results
from pkdlib.companion.book import cascade_charts, charts, display, overlay

STUDIES = {("full-lite", "ucf101-25"): 0.7, ("full", "marionette"): 0.6, ("quick", "marionette"): 0.5}
STRONG, SMALL, SHORT = "UCF-101, strong I-frame network", "Marionette", "Marionette, one short run"


def ends(accuracy: float) -> pd.DataFrame:
    frame = pd.DataFrame({"modality": ["iframe", "motion"], "accuracy": accuracy})
    return frame.assign(low=frame["accuracy"] - 0.013, high=frame["accuracy"] + 0.013)


@pytest.fixture(autouse=True)
def committed(monkeypatch):
    monkeypatch.setattr(results, "published_sets", lambda fewest_seeds=1: list(STUDIES))
    monkeypatch.setattr(results, "published", lambda *study: dict.fromkeys(results.NAMES, ends(STUDIES[study])))


def drawn(chart: alt.TopLevelMixin, study: str | None = None) -> set[tuple[str, float]]:
    """Whose points are in the picture when the menu shows a study, each with its accuracy in per cent."""
    spec = chart.to_dict()
    if study is not None:
        (menu,) = (param for param in spec["params"] if "bind" in param)
        assert study in menu["bind"]["options"]
        menu["value"] = study
    compiled = vl_convert.vegalite_to_vega(spec, vl_version=display.vegalite_version())
    rows = itertools.chain.from_iterable(data.get("values", ()) for data in compiled["data"])
    svg = vl_convert.vegalite_to_svg(spec, vl_version=display.vegalite_version())
    told = {f"accuracy (%): {row['accuracy']:.4g}" for row in rows if "accuracy" in row}
    return {words.removeprefix("accuracy (%): ") for words in told if words in svg}


def over(own: pd.DataFrame, dataset: str = "marionette") -> alt.TopLevelMixin:
    return overlay.over_studies(charts.accuracies, lambda table: table, "exits", own, dataset)


@pytest.mark.parametrize(("study", "seen"), [(STRONG, {"70"}), (SMALL, {"60", "90"}), (SHORT, {"50", "90"})])
def test_an_own_run_lies_over_the_studies_of_its_data_alone(study, seen):
    assert drawn(over(ends(0.9)), study) == seen


def test_a_menu_moves_every_part_of_a_chart_of_several():
    def side_by_side(table):
        return charts.accuracies(table) | charts.accuracies(table)

    chart = overlay.over_studies(side_by_side, lambda table: table, "exits", ends(0.9), "marionette")
    assert drawn(chart, SMALL) == {"60", "90"}


def test_several_tables_are_taken_together_and_a_study_that_lacks_one_is_left_out(monkeypatch):
    def published(profile, dataset):
        return {"trials": ends(0.3)} | ({"exits": ends(0.6)} if profile == "full" else {})

    monkeypatch.setattr(results, "published", published)
    rows = overlay.over_studies(charts.accuracies, lambda rows: rows, ("trials", "exits"), ends(0.9), "ucf101")
    assert drawn(rows) == {"30", "60"}
    (menu,) = (param for param in rows.to_dict()["params"] if "bind" in param)
    assert menu["bind"]["options"] == [SMALL]


def test_the_first_study_of_the_papers_regime_is_shown_first():
    assert drawn(over(ends(0.9))) == {"70"}


def test_without_an_own_run_the_studies_are_shown():
    assert drawn(over(ends(0.9).iloc[:0]), SMALL) == {"60"}


def test_without_studies_the_own_run_is_shown(monkeypatch):
    monkeypatch.setattr(results, "published_sets", lambda fewest_seeds=1: [])
    assert drawn(over(ends(0.9))) == {"90"}


def test_what_would_hide_another_is_shown_one_at_a_time():
    chart = overlay.one_by_one(charts.accuracies, lambda table: table, "exits", ends(0.9), "marionette")
    assert drawn(chart, SMALL) == {"60"} and drawn(chart, overlay.YOURS) == {"90"}


def test_studies_are_averaged_apart():
    rows = [("a", 1, 0.5, 1.0, 100, "x"), ("a", 1, 0.9, 1.0, 100, "y")]
    columns = ["series", "setting", "accuracy", "gmac", "clips", "study"]
    chart = cascade_charts.accuracy_against_cost(pd.DataFrame(rows, columns=columns)).to_dict()
    (data,) = chart["datasets"].values()
    assert {(row["study"], row["accuracy"]) for row in data} == {("x", 50.0), ("y", 90.0)}
