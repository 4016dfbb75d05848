import json
import re

import pandas as pd
import pytest

from pkdlib.companion.book import effects, numbers
from pkdlib.companion.book.page_tables import verdict_tables

# One figure, with its unit or sign; versions and names of devices are looked up, too.
FIGURE = r"[+-]?[\d,]+(\.\d+)?( GB)?|\d+/\d+"
NAMES = {"version", "throughput_device", "feeding_device"}


@pytest.fixture(scope="module")
def values():
    return numbers.collect()


def test_every_number_is_one_figure(values):
    others = {name for name, value in values.items() if not re.fullmatch(FIGURE, value)}
    assert {name for name in others if values[name] != numbers.MISSING} == NAMES


def test_numbers_are_those_of_the_committed_results(values):
    assert values["marionette_clips"] == "1200"
    low, middle, high = (float(values[name]) for name in ("ut_fused_low", "ut_fused", "ut_fused_high"))
    assert low < middle < high


@pytest.mark.parametrize("measured", [True, False])
def test_times_are_told_only_where_they_were_measured(measured, monkeypatch):
    book = {"total_seconds": 720.0, "peak_memory_mib": 1331.2, "test_seconds": 480} if measured else {}
    read = numbers._json
    monkeypatch.setattr(numbers, "_json", lambda *place: book if place[-1] == "timings.json" else read(*place))
    found = numbers.collect()
    names = ("book_minutes", "book_memory", "test_minutes")
    assert [found[name] for name in names] == (["12", "1.3 GB", "8"] if measured else [numbers.MISSING] * 3)


@pytest.mark.slow  # judges every claim on every study
def test_effects_are_those_that_the_verdicts_rest_on():
    judged = verdict_tables.judged()
    told = effects.collect(judged)
    assert effects.MISSING not in told.values()
    row = judged[
        (judged["claim"] == "ic-gain") & (judged["data"] == "Marionette") & (judged["role"] == "primary")
    ].iloc[0]
    assert told["pkd_marionette"] == f"{row['estimate']:+.1f} ({row['low']:+.1f} to {row['high']:+.1f})"
    assert set(effects.collect(pd.DataFrame()).values()) == {effects.MISSING} == {effects.picture(pd.DataFrame())}


@pytest.mark.slow
def test_the_first_page_draws_the_effects_that_it_tells():
    judged = verdict_tables.judged()
    drawn = json.loads(re.search(r'<script type="application/json">(.*?)</script>', effects.picture(judged))[1])
    (rows,) = drawn["datasets"].values()
    shown = [[row[name] for name in ("estimate", "low", "high")] for row in rows]  # not rounded as those in words are
    for told in effects.collect(judged).values():
        figures = [float(figure) for figure in re.findall(r"[+-][\d.]+", told)]
        assert any(row == pytest.approx(figures, abs=0.06) for row in shown), told
    assert effects.FIRST in {row["dataset"] for row in rows}
