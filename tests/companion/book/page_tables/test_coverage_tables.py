"""Coverage of intervals: the simulation, where it is known in closed form, and the tables of it."""

import importlib.util
import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pkdlib import _resources
from pkdlib.companion import results
from pkdlib.companion.book.page_tables import coverage_tables
from pkdlib.statistics import intervals
from tests.conftest import REPOSITORY

spec = importlib.util.spec_from_file_location("coverage_benchmark", REPOSITORY / "benchmarks" / "coverage.py")
benchmark = importlib.util.module_from_spec(spec)
spec.loader.exec_module(benchmark)


def crossed(groups, seeds):
    cells = [(0, seed, f"g{group}") for group in range(groups) for seed in range(seeds)]
    return pd.DataFrame(cells, columns=intervals.CELL)


def rates(cells, *methods, **spreads):
    values = benchmark.simulate(np.random.default_rng(1), cells, (20_000,), **spreads)
    where = benchmark.numbered(cells, intervals.RUN), benchmark.numbered(cells, ["group"])
    return [benchmark.covered(benchmark.METHODS[name](values, *where))["coverage"] for name in methods]


def test_the_layouts_are_those_of_the_full_profile():
    layouts = benchmark.layouts()
    sizes = {name: cells.groupby(intervals.RUN)["group"].nunique().tolist() for name, cells in layouts.items()}
    assert sizes == {"marionette": [9] * 5 + [8] * 10, "ut_interaction": [4] * 25}
    for cells, groups in zip(layouts.values(), (25, 20), strict=True):
        assert not cells.duplicated().any()
        assert cells["group"].nunique() == groups
        assert (cells.groupby("group")["split"].nunique() == 1).all()


def test_a_single_run_is_covered_exactly_by_groups_and_by_cells():
    *exact, bootstrap = rates(
        crossed(5, 1), "two-way", "t over groups", "t over cells", "bootstrap over groups", cell=1
    )
    assert exact == pytest.approx([0.95] * 3, abs=0.005)
    # A percentile bootstrap is short of the variance of so few groups by (n - 1) / n, and of Student's t.
    assert bootstrap < 0.88


def test_repeating_the_same_differences_fools_a_t_interval_over_cells_as_much_as_it_must():
    groups, seeds = 5, 3
    over_cells, over_groups = rates(crossed(groups, seeds), "t over cells", "t over groups", group=1)
    # Its error is too small by the root of (groups - 1) / (cells - 1), its t has too many degrees of freedom.
    cells = groups * seeds
    seen = stats.t.ppf(0.975, cells - 1) * np.sqrt((groups - 1) / (cells - 1))
    assert over_cells == pytest.approx(1 - 2 * stats.t.sf(seen, groups - 1), abs=0.01)
    assert over_groups == pytest.approx(0.95, abs=0.005)


def test_effects_of_runs_alone_are_covered_exactly_by_runs():
    over_runs, over_groups = rates(crossed(3, 6), "t over runs", "t over groups", run=1)
    assert over_runs == pytest.approx(0.95, abs=0.005)
    assert over_groups < 0.01  # all groups have the same mean


def test_simulated_spreads_are_those_asked_for():
    cells = pd.concat([crossed(4, 2), crossed(4, 2).assign(split=1)])
    values = benchmark.simulate(np.random.default_rng(2), cells, (40_000,), group=1, run=2, cell=3, split=4)
    assert values[:, 0].var() == pytest.approx(1 + 4 + 9 + 16, rel=0.03)
    seed = ((cells["split"] == 0) & (cells["seed"] == 0)).to_numpy()
    assert np.cov(values[:, seed].T)[0, 1] == pytest.approx(4 + 16, rel=0.05)


def test_the_two_way_intervals_are_the_studys():
    cells = benchmark.layouts()["marionette"]
    values = benchmark.simulate(np.random.default_rng(3), cells, (2,), **benchmark.SPREADS["groups and runs"])
    where = benchmark.numbered(cells, intervals.RUN), benchmark.numbered(cells, ["group"])
    low, high = benchmark.two_way(values, *where)
    for index, row in enumerate(values):
        interval = intervals.two_way_interval(cells.assign(difference=row))
        assert (low[index], high[index]) == pytest.approx((interval.low, interval.high))


def test_the_smallest_effect_is_that_of_the_verdicts(monkeypatch):
    monkeypatch.setattr(benchmark, "REPETITIONS", 3)
    cells, spreads = benchmark.layouts()["ut_interaction"], benchmark.SPREADS["groups"]
    found = benchmark.power(np.random.default_rng(4), cells, spreads)
    values = benchmark.simulate(np.random.default_rng(4), cells, (3,), **spreads)
    told = [intervals.smallest_effect(intervals.two_way_interval(cells.assign(difference=row))) for row in values]
    assert found["smallest_effect"] == pytest.approx(np.median(told))


def test_the_largest_of_several_is_covered_by_max_t_and_not_by_the_best_exits_own(monkeypatch):
    monkeypatch.setattr(benchmark, "LARGEST_REPETITIONS", 60)
    rows = benchmark.coverage_of_largest(
        np.random.default_rng(5), benchmark.layouts()["marionette"], {"group": 1, "cell": 1}
    )
    found = {row["method"]: row["coverage"] for row in rows}
    assert found["max-t"] >= 0.9 > found["two-way of the best exit"]


@pytest.fixture
def simulated():
    """Two spreads on two layouts: every method covers a per cent less than the one before."""
    methods = [*benchmark.METHODS, "max-t", "two-way of the best exit"]
    rows = [
        (layout, spread, method, 0.95 - 0.01 * number - 0.1 * (spread == "splits, too") - less, 40, 1.0)
        for layout, less in (("one", 0), ("two", 0.005))
        for spread in ("runs", "splits, too")
        for number, method in enumerate(methods)
    ]
    return pd.DataFrame(rows, columns=["layout", "spread", "method", "coverage", "repetitions", "width"])


def test_the_tables_have_a_row_for_each_method_and_a_column_for_each_spread(simulated):
    one, two = (coverage_tables.by_spread(simulated, layout) for layout in ("one", "two"))
    assert list(one.columns) == ["method", "runs", "splits, too"]
    rows = [tuple(row) for row in one.to_numpy()]
    assert rows[0] == ("**two-way**", "95.0", "85.0")
    assert ("t over cells", "94.0", "84.0") in rows and ("**max-t**", "90.0", "80.0") in rows
    assert tuple(two.iloc[0]) == ("**two-way**", "94.5", "84.5")


def test_ranges_set_apart_what_the_model_leaves_out(simulated):
    ranges = coverage_tables.ranges(simulated).set_index("method")
    assert tuple(ranges.loc["**two-way**"]) == ("94.5", "95.0", "84.5")
    assert tuple(ranges.loc["t over cells"]) == ("93.5", "94.0", "83.5")


def test_spreads_that_a_simulation_has_not_are_left_empty():
    table = coverage_tables.spreads({"a": {"cell": 2, "group": 1.5}, "b": {"cell": 4, "tails": 3}})
    assert table.to_numpy().tolist() == [["a", "1.5", "", "", "2", ""], ["b", "", "", "", "4", "3"]]


def test_intervals_for_what_exists_once_a_run_are_the_studys():
    rng = np.random.default_rng(6)
    for splits, seeds in benchmark.RUN_LAYOUTS.values():
        values = rng.standard_normal((splits, seeds))
        split, seed = np.indices(values.shape)
        frame = pd.DataFrame({"split": split.ravel(), "seed": seed.ravel(), "difference": values.ravel()})
        interval = intervals.run_interval(frame)
        units = values.mean(axis=1) if splits > 1 else values[0]
        assert benchmark.student(units) == pytest.approx((interval.low, interval.high))


def test_the_book_says_how_often_intervals_over_runs_cover():
    rows = results.coverage()["runs"].set_index(["layout", "split_spread", "method"])["coverage"]
    own = rows[rows.index.isin(coverage_tables.OWN_OF_RUNS, level="method")]
    assert len(own) == len(benchmark.RUN_LAYOUTS) * len(benchmark.SPLIT_SPREADS)
    assert own.to_numpy() == pytest.approx(0.95, abs=0.012)
    # What the library's text says of runs for units.
    over_runs = [rows["3 splits x 5 seeds", spread, "t over runs"] for spread in benchmark.SPLIT_SPREADS]
    assert over_runs == pytest.approx([0.95, 0.85, 0.71], abs=0.012)
    table = coverage_tables.of_runs(results.coverage()["runs"])
    assert list(table.columns) == ["layout", "method", "0 times", "0.5 times", "1 times"]
    told = [f"{100 * rows['3 splits x 5 seeds', spread, 't over splits']:.1f}" for spread in (0, 0.5, 1)]
    assert table.iloc[0].tolist() == ["3 splits x 5 seeds", "**t over splits**", *told]


def test_the_committed_simulation_is_of_the_benchmarks_spreads():
    folder = _resources.folder("results") / "coverage"
    coverage = results.coverage()["coverage"]
    assert coverage.groupby("method").size().eq(2 * len(benchmark.SPREADS)).all()
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert record["spreads"] == benchmark.SPREADS and not record["modified"]
