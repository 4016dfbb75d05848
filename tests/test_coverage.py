"""benchmarks/coverage.py: layouts, and coverage where it is known in closed form."""

import importlib.util
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY
from scipy import stats

from pkdlib import statistics

sys.modules["coverage_benchmark"] = coverage = importlib.util.module_from_spec(
    spec := importlib.util.spec_from_file_location("coverage_benchmark", REPOSITORY / "benchmarks" / "coverage.py")
)
spec.loader.exec_module(coverage)


def crossed(groups, seeds):
    cells = [(0, seed, f"g{group}") for group in range(groups) for seed in range(seeds)]
    return pd.DataFrame(cells, columns=statistics.CELL)


def rates(cells, *methods, **spreads):
    values = coverage.simulate(np.random.default_rng(1), cells, (20_000,), **spreads)
    where = coverage.numbered(cells, statistics.RUN), coverage.numbered(cells, ["group"])
    return [coverage.covered(coverage.METHODS[name](values, *where))["coverage"] for name in methods]


def test_the_layouts_are_those_of_the_full_profile():
    layouts = coverage.layouts()
    sizes = {name: cells.groupby(statistics.RUN)["group"].nunique().tolist() for name, cells in layouts.items()}
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
    values = coverage.simulate(np.random.default_rng(2), cells, (40_000,), group=1, run=2, cell=3, split=4)
    assert values[:, 0].var() == pytest.approx(1 + 4 + 9 + 16, rel=0.03)
    seed = ((cells["split"] == 0) & (cells["seed"] == 0)).to_numpy()
    assert np.cov(values[:, seed].T)[0, 1] == pytest.approx(4 + 16, rel=0.05)


def test_the_two_way_intervals_are_the_studys():
    cells = coverage.layouts()["marionette"]
    values = coverage.simulate(np.random.default_rng(3), cells, (2,), **coverage.SPREADS["groups and runs"])
    where = coverage.numbered(cells, statistics.RUN), coverage.numbered(cells, ["group"])
    low, high = coverage.two_way(values, *where)
    for index, row in enumerate(values):
        interval = statistics.two_way_interval(cells.assign(difference=row))
        assert (low[index], high[index]) == pytest.approx((interval.low, interval.high))


def test_the_smallest_effect_is_that_of_the_verdicts(monkeypatch):
    monkeypatch.setattr(coverage, "REPETITIONS", 3)
    cells, spreads = coverage.layouts()["ut_interaction"], coverage.SPREADS["groups"]
    found = coverage.power(np.random.default_rng(4), cells, spreads)
    values = coverage.simulate(np.random.default_rng(4), cells, (3,), **spreads)
    told = [statistics.smallest_effect(statistics.two_way_interval(cells.assign(difference=row))) for row in values]
    assert found["smallest_effect"] == pytest.approx(np.median(told))


def test_the_largest_of_several_is_covered_by_max_t_and_not_by_the_best_exits_own(monkeypatch):
    monkeypatch.setattr(coverage, "LARGEST_REPETITIONS", 60)
    rows = coverage.coverage_of_largest(
        np.random.default_rng(5), coverage.layouts()["marionette"], {"group": 1, "cell": 1}
    )
    found = {row["method"]: row["coverage"] for row in rows}
    assert found["max-t"] >= 0.9 > found["two-way of the best exit"]
