import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pkdlib.statistics import intervals
from tests.extent import NIGHTLY, examples

quick = examples(50)

THREE_SPLITS = (8, 8, 9)  # groups of each split: Marionette's actors
FIVE_FOLDS = (4, 4, 4, 4, 4)  # UT-Interaction's sequences


def layout(groups_by_split, seeds):
    """Split, seed, run index and group index of every cell; groups are nested in splits, seeds cross them."""
    cells, first = [], 0
    for split, count in enumerate(groups_by_split):
        for seed, group in itertools.product(range(seeds), range(first, first + count)):
            cells.append((split, seed, split * seeds + seed, group))
        first += count
    return np.array(cells).T


def effects(rng, cells, count, *, group, run, cell, noise="normal"):
    """Draw `count` data sets of true mean 0: random effects of groups, runs and cells with these spreads."""
    _, _, runs, groups = cells
    if noise == "clips":  # six clips a cell, few of which two systems classify differently
        wins, losses = rng.binomial(6, 0.08, (2, count, len(runs)))
        noise_of_cells = 100 * (wins - losses) / 6
    elif noise == "heavy":
        noise_of_cells = cell * rng.standard_t(3, (count, len(runs)))
    else:
        noise_of_cells = cell * rng.standard_normal((count, len(runs)))
    by_group = group * rng.standard_normal((count, groups.max() + 1))
    by_run = run * rng.standard_normal((count, runs.max() + 1))
    return by_group[:, groups] + by_run[:, runs] + noise_of_cells


def frame(cells, values):
    split, seed, _, group = cells
    return pd.DataFrame({"split": split, "seed": seed, "group": group, "difference": values})


def counts(split, seed, group, clips, correct):
    return pd.DataFrame({"split": split, "seed": seed, "group": group, "clips": clips, "correct": correct})


def tables():
    """Differences of a small crossed design, whole numbers so that sums are exact."""
    cells = layout((2, 3), 2)
    values = st.lists(st.integers(-50, 50), min_size=cells.shape[1], max_size=cells.shape[1])
    return values.map(lambda numbers: frame(cells, np.array(numbers, float)))


# --- accuracy and differences -----------------------------------------------------------------------------


def test_differences_are_paired_whatever_the_order_of_rows():
    a = counts([0, 0], [1, 1], ["x", "y"], [4, 5], [3, 5])
    b = counts([0, 0], [1, 1], ["y", "x"], [5, 4], [2, 4])
    found = intervals.group_differences(a, b)
    assert found["group"].tolist() == ["x", "y"]
    assert found["clips"].tolist() == [4, 5]
    np.testing.assert_allclose(found["difference"], [-25.0, 60.0])


def test_differences_of_several_exits_at_once_are_those_of_each():
    one = counts([0, 0, 1], [0, 1, 0], ["x", "y", "z"], [4, 10, 5], [4, 9, 5])
    two = counts([0, 0, 1], [0, 1, 0], ["x", "y", "z"], [4, 10, 5], [1, 2, 3])
    rivals = {3: two, 1: one}
    a, b = (pd.concat([f.assign(exit=e) for e, f in own.items()]) for own in ({1: two, 3: one}, rivals))
    found = intervals.group_differences(a.sample(frac=1, random_state=1), b, by=["exit"])
    for number, own in {1: two, 3: one}.items():
        expected = intervals.group_differences(own, rivals[number])
        rows = found[found["exit"] == number].drop(columns="exit").reset_index(drop=True)
        pd.testing.assert_frame_equal(rows, expected)
    with pytest.raises(ValueError, match="exit 3, split 0, seed 0, group x is in one only"):
        intervals.group_differences(a, b[b["exit"] == 1], by=["exit"])
    with pytest.raises(ValueError, match="more than once"):
        intervals.group_differences(a, b)


def test_differences_refuse_other_clips_and_repeated_cells():
    a = counts([0, 0], [1, 1], ["x", "y"], [4, 5], [3, 5])
    with pytest.raises(ValueError, match=r"same cells.*group y"):
        intervals.group_differences(a, a.iloc[:1])
    with pytest.raises(ValueError, match=r"same clips.*group x"):
        intervals.group_differences(a, a.assign(clips=[5, 5]))
    with pytest.raises(ValueError, match="more than once"):
        intervals.group_differences(pd.concat([a, a]), a)
    with pytest.raises(ValueError, match="0 <= correct <= clips"):
        intervals.group_differences(a.assign(correct=[5, 5]), a)
    with pytest.raises(ValueError, match=r"lacks the columns \['correct'\]"):
        intervals.group_differences(a.drop(columns="correct"), a)


# --- the two-way interval: closed forms and properties ----------------------------------------------------


def test_variance_is_the_sum_over_pairs_that_share_a_cluster():
    cells = layout((2, 3), 2)
    _, _, runs, groups = cells
    values = np.random.default_rng(5).normal(size=len(runs)) + 3.0 * (groups % 2) + 2.0 * (runs % 3)
    e, n = values - values.mean(), len(values)
    pairs = [(i, j) for i in range(n) for j in range(n)]
    group = sum(e[i] * e[j] for i, j in pairs if groups[i] == groups[j]) / n**2 * 5 / 4
    run = sum(e[i] * e[j] for i, j in pairs if runs[i] == runs[j]) / n**2 * 4 / 3
    cell = sum(e**2) / n**2 * n / (n - 1)
    expected = max(group + run - cell, group, run)
    variance, degrees = intervals.two_way_variance(values, runs, groups)
    assert variance == pytest.approx(expected)
    assert degrees == pytest.approx(expected**2 / (group**2 / 4 + run**2 / 3))


@pytest.mark.parametrize("count", [1, 12])
def test_the_variance_of_weighted_sums_is_that_of_the_sums(count):
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=(3, count)), rng.normal(size=(5, 3))
    runs, groups = np.arange(count) // 4, np.arange(count) % 4
    sums = intervals.two_way_variance(weights @ values, runs, groups)
    for found, expected in zip(intervals.two_way_variance(values, runs, groups, weights), sums, strict=True):
        np.testing.assert_allclose(found, expected)


def test_effects_of_runs_alone_give_the_t_interval_of_run_means():
    cells = layout((3, 3), 4)
    values = np.random.default_rng(1).normal(size=8)[cells[2]]
    run_means = pd.Series(values).groupby(cells[2]).mean()
    interval = intervals.two_way_interval(frame(cells, values))
    # Group parts see the same run effects averaged over seeds, and the cell part takes them out again.
    reference = stats.t.interval(0.95, 7, run_means.mean(), stats.sem(run_means))
    assert interval.estimate == pytest.approx(run_means.mean())
    assert interval.high - interval.low == pytest.approx(reference[1] - reference[0], rel=0.15)


@pytest.mark.parametrize("groups", [THREE_SPLITS, FIVE_FOLDS])
def test_one_seed_is_no_better_known_than_its_runs(groups):
    cells = layout(groups, 1)
    values = effects(np.random.default_rng(2), cells, 1, group=1, run=3, cell=1)[0]
    interval = intervals.two_way_interval(frame(cells, values))
    means = [values[cells[2] == run].mean() for run in range(len(groups))]
    weights = np.array(groups) / sum(groups)
    assert interval.estimate == pytest.approx(weights @ means)
    spread = np.sqrt((weights**2 * (np.array(means) - interval.estimate) ** 2).sum() * len(groups) / (len(groups) - 1))
    assert interval.standard_error >= spread * (1 - 1e-12)
    assert (interval.num_runs, interval.num_groups) == (len(groups), sum(groups))


def test_a_single_run_leaves_the_interval_over_groups():
    values = np.array([1.0, 2.0, 4.0, 9.0])
    interval = intervals.two_way_interval(frame(layout((4,), 1), values))
    assert (interval.low, interval.high) == pytest.approx(stats.t.interval(0.95, 3, 4.0, stats.sem(values)))


def test_a_single_cell_says_nothing():
    table = frame(layout((1,), 1), np.array([7.0]))
    for interval in (intervals.two_way_interval(table), intervals.max_t_interval([table, table])):
        assert (interval.estimate, interval.low, interval.high) == (7.0, -np.inf, np.inf)
        assert intervals.smallest_effect(interval) == np.inf


def test_equal_differences_have_no_error():
    interval = intervals.two_way_interval(frame(layout((2, 2), 2), np.full(8, 2.0)))
    assert (interval.low, interval.high) == (2.0, 2.0)


@quick
@given(tables())
def test_changing_sides_changes_the_sign(table):
    here = intervals.two_way_interval(table)
    there = intervals.two_way_interval(table.assign(difference=-table["difference"]))
    assert (there.estimate, there.low, there.high) == pytest.approx((-here.estimate, -here.high, -here.low))


@quick
@given(tables(), st.randoms(use_true_random=False))
def test_order_and_names_of_rows_do_not_matter(table, random):
    order = list(range(len(table)))
    random.shuffle(order)
    renamed = table.iloc[order].assign(group=lambda t: "actor " + (9 - t["group"]).astype(str))
    here, there = intervals.two_way_interval(table), intervals.two_way_interval(renamed)
    assert (there.estimate, there.low, there.high) == pytest.approx((here.estimate, here.low, here.high))


@quick
@given(tables(), st.integers(-20, 20), st.integers(1, 9))
def test_interval_follows_shift_and_scale(table, shift, scale):
    here = intervals.two_way_interval(table)
    there = intervals.two_way_interval(table.assign(difference=scale * table["difference"] + shift))
    assert (there.low, there.high) == pytest.approx((scale * here.low + shift, scale * here.high + shift), abs=1e-9)


# --- the two-way interval: coverage -----------------------------------------------------------------------

SPREADS = {
    "all alike": {"group": 1, "run": 1, "cell": 1},
    "groups": {"group": 1, "run": 0, "cell": 0.3},
    "runs": {"group": 0, "run": 1, "cell": 0.3},
    "cells alone": {"group": 0, "run": 0, "cell": 1},
    "mostly cells": {"group": 1, "run": 0.5, "cell": 4},
    "heavy tails": {"group": 1, "run": 0.5, "cell": 2, "noise": "heavy"},
    "counts of clips": {"group": 3, "run": 2, "cell": 0, "noise": "clips"},
}


@pytest.mark.parametrize("spreads", SPREADS.values(), ids=SPREADS)
@pytest.mark.parametrize(("groups", "seeds"), [(THREE_SPLITS, 5), (FIVE_FOLDS, 5), (THREE_SPLITS, 1), (FIVE_FOLDS, 1)])
def test_intervals_cover_the_truth_as_often_as_they_say(groups, seeds, spreads):
    cells = layout(groups, seeds)
    rng = np.random.default_rng(20240702)
    values = effects(rng, cells, 4000, **spreads)
    variance, degrees = intervals.two_way_variance(values, cells[2], cells[3])
    reach = stats.t.ppf(0.975, degrees) * np.sqrt(variance)
    public = intervals.two_way_interval(frame(cells, values[7]))
    assert (public.low, public.high) == pytest.approx((values[7].mean() - reach[7], values[7].mean() + reach[7]))

    error = values.mean(axis=1)  # the truth is 0
    covered = (abs(error) <= reach).mean()
    falsely_above = (error - reach > 0).mean()
    print(f"covers {covered:.1%}, falsely above {falsely_above:.1%}")  # shown by pytest -rP
    assert covered >= 0.93
    assert falsely_above <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / 4000) + 0.005


def test_a_naive_t_interval_over_cells_would_not_cover():
    # That the simulation can tell a bad interval from a good one.
    cells = layout(THREE_SPLITS, 5)
    values = effects(np.random.default_rng(3), cells, 2000, group=1, run=1, cell=1)
    reach = stats.t.ppf(0.975, values.shape[1] - 1) * stats.sem(values, axis=1)
    assert (abs(values.mean(axis=1)) <= reach).mean() < 0.75


def test_smallest_effect_is_found_four_times_in_five():
    cells = layout(THREE_SPLITS, 5)
    values = effects(np.random.default_rng(4), cells, 3000, group=1, run=1, cell=1)
    variance, degrees = intervals.two_way_variance(values, cells[2], cells[3])
    true_variance = 1 / 25 + 1 / 15 + 1 / 125
    error = np.sqrt(true_variance)
    usual = intervals.Interval(
        estimate=5.0,
        low=5 - stats.t.ppf(0.975, 25) * error,
        high=5 + stats.t.ppf(0.975, 25) * error,
        standard_error=error,
        degrees_of_freedom=25,
        num_runs=15,
        num_groups=25,
        level=0.95,
    )
    effect = intervals.smallest_effect(usual)
    found = values.mean(axis=1) + effect - stats.t.ppf(0.975, degrees) * np.sqrt(variance) > 0
    assert found.mean() == pytest.approx(0.8, abs=0.03)


# --- other intervals --------------------------------------------------------------------------------------


def test_accuracy_is_the_mean_over_cells_within_0_and_100():
    table = counts([0, 0, 0], [1, 1, 1], ["x", "y", "z"], [4, 10, 5], [4, 9, 5])
    interval = intervals.accuracy_interval(table)
    assert interval.estimate == pytest.approx(100 * (1 + 0.9 + 1) / 3)
    assert interval.low == pytest.approx(stats.t.interval(0.95, 2, 290 / 3, stats.sem([100, 90, 100]))[0])
    assert interval.high == 100


def test_run_interval_of_one_split_is_students_over_its_runs():
    values = np.array([1.0, 2.0, 4.0, 9.0, -1.0])
    interval = intervals.run_interval(pd.DataFrame({"split": 0, "seed": range(5), "difference": values}), 0.9)
    assert (interval.low, interval.high) == pytest.approx(stats.t.interval(0.9, 4, 3.0, stats.sem(values)))
    assert (interval.num_runs, interval.num_groups) == (5, 0)
    one = intervals.run_interval(pd.DataFrame({"split": [0], "seed": [0], "difference": [3.0]}))
    assert (one.low, one.high) == (-np.inf, np.inf)


def by_run(values):
    """A value for each of the (splits, seeds) runs."""
    split, seed = np.indices(values.shape)
    return pd.DataFrame({"split": split.ravel(), "seed": seed.ravel(), "difference": values.ravel()})


def test_run_interval_of_several_splits_is_students_over_their_means():
    values = np.array([[1.0, 2.0], [4.0, 9.0], [-1.0, 0.0]])
    interval = intervals.run_interval(by_run(values).sample(frac=1, random_state=0), 0.9)
    assert (interval.low, interval.high) == pytest.approx(stats.t.interval(0.9, 2, 2.5, stats.sem([1.5, 6.5, -0.5])))
    assert (interval.num_runs, interval.num_groups) == (6, 0)


@pytest.mark.parametrize("split_spread", [0, 0.5, 1, 3])
@pytest.mark.parametrize(("splits", "seeds"), [(3, 5), (5, 5), (1, 8)])
def test_run_intervals_cover_whatever_the_spread_of_splits(splits, seeds, split_spread):
    rng, count = np.random.default_rng(9), 1000 if NIGHTLY else 300
    of_splits = split_spread * rng.standard_normal((count, splits, 1))
    values = of_splits + rng.standard_normal((count, splits, seeds))
    found = [intervals.run_interval(by_run(own)) for own in values]
    # The truth: 0, the mean of all splits; with one split nothing is known of others, and it is that split's own mean.
    truth = np.zeros(count) if splits > 1 else of_splits.ravel()
    covered = np.mean([own.low <= true <= own.high for own, true in zip(found, truth, strict=True)])
    assert covered == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / count))


def test_one_exit_and_its_copies_have_the_two_way_interval():
    cells = layout(THREE_SPLITS, 5)
    table = frame(cells, effects(np.random.default_rng(6), cells, 1, group=1, run=1, cell=1)[0] + 1)
    alone = intervals.two_way_interval(table)
    for copies in (1, 4):
        largest = intervals.max_t_interval([table] * copies)
        assert (largest.low, largest.high) == pytest.approx((alone.low, alone.high), abs=0.02)


def test_max_t_lies_between_one_comparison_and_bonferroni():
    cells = layout(THREE_SPLITS, 5)
    values = effects(np.random.default_rng(7), cells, 6, group=1, run=1, cell=1)
    values += 5 - values.mean(axis=1, keepdims=True)
    values[2] += 3
    exits = [frame(cells, row) for row in values]
    largest = intervals.max_t_interval(exits)
    narrow = intervals.two_way_interval(exits[2])
    wide = intervals.two_way_interval(exits[2], intervals.bonferroni_level(0.95, 6))
    assert largest.estimate == pytest.approx(8)
    assert wide.low - 0.1 < largest.low < narrow.low
    swapped = intervals.max_t_interval(exits[::-1])
    assert (swapped.low, swapped.high) == pytest.approx((largest.low, largest.high), abs=0.05)


def test_max_t_wants_the_same_cells():
    table = frame(layout((2, 2), 2), np.arange(8.0))
    with pytest.raises(ValueError, match="same cells"):
        intervals.max_t_interval([table, table.iloc[1:]])
    with pytest.raises(ValueError, match="no table"):
        intervals.max_t_interval([])


@pytest.mark.slow
@pytest.mark.parametrize("groups", [THREE_SPLITS, FIVE_FOLDS])
@pytest.mark.parametrize("truth", [np.zeros(9), np.r_[2.0, np.zeros(8)]], ids=["no gain", "one gain"])
def test_max_t_covers_the_largest(groups, truth):
    cells = layout(groups, 5)
    rng = np.random.default_rng(8)
    covered = above = 0
    count = 80
    for _ in range(count):
        shared = effects(rng, cells, 1, group=1, run=0.5, cell=1)
        values = shared + effects(rng, cells, 9, group=1, run=0.5, cell=2) + truth[:, None]
        interval = intervals.max_t_interval([frame(cells, row) for row in values])
        covered += interval.low <= truth.max() <= interval.high
        above += interval.low > truth.max()
    print(f"covers {covered / count:.1%}, falsely above {above / count:.1%}")
    assert covered / count >= 0.92
    assert above / count <= 0.06


# --- corrections ------------------------------------------------------------------------------------------


def test_corrections_of_a_known_family():
    assert intervals.bonferroni_level(0.95, 5) == pytest.approx(0.99)


@quick
@given(tables())
def test_tables_without_rows_or_values_are_refused(table):
    with pytest.raises(ValueError, match="no row, or an empty value"):
        intervals.two_way_interval(table.iloc[:0])
    with pytest.raises(ValueError, match="no row, or an empty value"):
        intervals.two_way_interval(table.assign(difference=np.nan))


def test_a_pilot_foresees_the_error_of_the_study():
    rng = np.random.default_rng(5)

    def cells(count, repeats):
        noise = 12 * rng.standard_normal((count, 1)) + 1.5 * rng.standard_normal((1, repeats))
        values = 3 + noise + 20 * rng.standard_normal((count, repeats))
        names = [f"g{n:03}" for n in range(count)]
        return pd.concat(
            pd.DataFrame({"split": 0, "seed": seed, "group": names, "difference": values[:, seed]})
            for seed in range(repeats)
        )

    variance = 12**2 / 170 + 1.5**2 / 5 + 20**2 / (170 * 5)
    foreseen = [intervals.planned_interval(cells(60, 8), runs=5, groups=170) for _ in range(300)]
    assert np.mean([own.standard_error**2 for own in foreseen]) == pytest.approx(variance, rel=0.1)
    # From two runs the spread of runs comes out too large on average, since no estimate of it is below 0.
    two = [intervals.planned_interval(cells(60, 2), runs=5, groups=170) for _ in range(300)]
    assert 1.0 < np.mean([own.standard_error**2 for own in two]) / variance < 1.6
    assert foreseen[0].num_runs == 5 and foreseen[0].num_groups == 170
    assert np.mean([own.estimate for own in foreseen]) == pytest.approx(3, abs=0.5)
    with pytest.raises(ValueError, match="two runs at least"):
        intervals.planned_interval(cells(60, 1), runs=5, groups=170)
