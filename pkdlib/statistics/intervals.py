"""From counts of right answers to intervals: accuracy, paired differences, two-way intervals, the largest of several.

The table every function here starts from is tidy: one row for a group of clips (an actor, a sequence) tested
in one run, a run being a pair (split, seed). Columns `split`, `seed`, `group`, `clips`, `correct`. Such a row
is a *cell*. Groups differ and runs differ, and both would be drawn anew if the study were repeated, so an
interval must allow for both: `two_way_interval`. Every cell weighs the same, so an estimate is a mean over
groups and runs, not over clips. What exists once a run, such as flatness, has no groups: `run_interval`.

Sources: Cameron, Gelbach, Miller (2011), Robust inference with multiway clustering, J. Bus. Econ. Stat. 29;
Satterthwaite (1946), An approximate distribution of estimates of variance components, Biometrics Bull. 2; Hothorn,
Bretz, Westfall (2008), Simultaneous inference in general parametric models, Biom. J. 50.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

RUN = ["split", "seed"]
CELL = [*RUN, "group"]

_DRAWS = 50_000  # of a simulated distribution; its 95 % point is then known to about half a per cent


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval, in the unit of the differences (percentage points, log ratios).

    Attributes:
        estimate: the mean over cells (over splits, or runs, in `run_interval`).
        low: lower end; minus infinity where a single cell gives no idea of the error.
        high: upper end.
        standard_error: of the estimate.
        degrees_of_freedom: of the Student's t that the interval uses.
        num_runs: how many pairs (split, seed).
        num_groups: how many groups; 0 where the run, not the group, is the unit.
        level: probability that the interval is meant to cover, such as 0.95.
    """

    estimate: float
    low: float
    high: float
    standard_error: float
    degrees_of_freedom: float
    num_runs: int
    num_groups: int
    level: float


def group_differences(table_a: pd.DataFrame, table_b: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Give the paired difference in accuracy, a minus b, of every cell.

    Args:
        table_a: counts of one system, with columns `split`, `seed`, `group`, `clips`, `correct`, one row a cell.
        table_b: counts of the other system on the same clips.
        by: further columns that make a cell, such as `exit`, where a table holds several comparisons.

    Returns:
        The columns of `by`, `split`, `seed`, `group`, `clips`, `difference`, ordered by all before `clips`; the
        difference in percentage points, -100 to 100.

    Raises:
        ValueError: If a table lacks a column or repeats a cell, or the two hold other cells or clips.
    """
    cell = [*by, *CELL]
    a, b = _counts(table_a, cell), _counts(table_b, cell)
    if len(a) != len(b) or any((a[name].to_numpy() != b[name].to_numpy()).any() for name in cell):
        both = a.merge(b, on=cell, how="outer", indicator=True)
        alone = both[both["_merge"] != "both"]
        raise ValueError(f"the tables do not hold the same cells: {_name(alone, cell)} is in one only")
    if (unequal := a["clips"] != b["clips"]).any():
        told = _name(a[unequal], cell)
        raise ValueError(f"the tables do not hold the same clips: their numbers differ at {told}")
    difference = 100.0 * (a["correct"] - b["correct"]) / a["clips"]
    return a[[*cell, "clips"]].assign(difference=difference)


def two_way_interval(differences: pd.DataFrame, level: float = 0.95) -> Interval:
    """Estimate the mean difference with an interval that allows for the choice of groups and of runs.

    The model is d = mean + (effect of the group) + (effect of the run) + (effect of the cell). The variance
    is `two_way_variance`, the interval estimate +- t(level, degrees of freedom) * standard error.

    By simulation (tests/statistics/test_intervals.py, benchmarks/coverage.py), 95 % intervals cover 94.5 to 98 % in
    designs of 3 splits x 5 seeds with 8, 8 and 9 groups and of 5 folds x 5 seeds with 4 groups each, with normal and
    with heavy-tailed effects; they are widest of the mark, on the safe side, where cell noise is all there is.

    What it leaves out: an effect shared by all runs of a split beyond their groups, since they train on the
    same clips. Three splits tell too little about it. Where its spread is half that of the groups and runs
    differ little, coverage falls to about 82 % with three splits (90 % with five). A single run's interval is about
    that run.

    Args:
        differences: columns `split`, `seed`, `group`, `difference`. A group counts as the same one wherever
            its name recurs; it need not be tested in every split.
        level: probability to cover.

    Returns:
        The interval.

    Example:
        >>> import pandas as pd
        >>> from pkdlib import two_way_interval
        >>> rows = [(0, seed, group, seed + 2 * group) for seed in range(3) for group in range(4)]
        >>> interval = two_way_interval(pd.DataFrame(rows, columns=["split", "seed", "group", "difference"]))
        >>> interval.estimate, interval.num_runs, interval.num_groups
        (4.0, 3, 4)
    """
    table = _check(differences, [*CELL, "difference"], CELL)
    runs, groups = table.groupby(RUN).ngroup().to_numpy(), table.groupby("group").ngroup().to_numpy()
    values = table["difference"].to_numpy(float)
    variance, degrees = two_way_variance(values, runs, groups)
    sizes = {"num_runs": int(runs.max()) + 1, "num_groups": int(groups.max()) + 1}
    return _student(values.mean(), np.sqrt(variance), degrees, level, **sizes)


def two_way_variance(
    values: np.ndarray, runs: np.ndarray, groups: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Estimate the variance of a mean over cells, clustered both by run and by group.

    With e the cells' deviations from their mean and N cells in G groups and R runs (Cameron, Gelbach and
    Miller's sum, each part with its own small-sample factor):

        V_group = G / (G - 1) * sum over groups of (sum of e in the group)**2 / N**2
        V_run   = R / (R - 1) * sum over runs of (sum of e in the run)**2 / N**2
        V_cell  = N / (N - 1) * sum of e**2 / N**2
        V       = max(V_group + V_run - V_cell, V_group, V_run)
        degrees = V**2 / (V_group**2 / (G - 1) + V_run**2 / (R - 1)), at least 1        (Satterthwaite)

    V_cell takes out what the first two count twice, also what groups nested in splits add to V_run. It can
    take out too much, hence the floor: a mean is never known better than either clustering alone says.

    Args:
        values: (..., N); leading axes are separate data of the same layout.
        runs: (N,), run of each cell as an index 0..R-1.
        groups: (N,), group of each cell as an index 0..G-1.
        weights: (M, K), for the M sums of K data so weighted, values being (K, N): much sooner than from the sums
            themselves where they are many.

    Returns:
        The variance of the mean and its degrees of freedom, each of shape (...), or (M,). A side with one member adds
        nothing; a single cell has infinite variance.
    """
    values = np.asarray(values, float)
    count = values.shape[-1]
    if count == 1:
        shape = values.shape[:-1] if weights is None else weights.shape[:1]
        return np.full(shape, np.inf), np.ones(shape)
    deviations = values - values.mean(axis=-1, keepdims=True)
    by_group, by_run = _influence(deviations, groups), _influence(deviations, runs)
    if weights is None:
        cell = (deviations**2).sum(axis=-1)
    else:
        by_group, by_run = weights @ by_group, weights @ by_run
        cell = (weights @ (deviations @ deviations.T) * weights).sum(axis=-1)
    group, run = (by_group**2).sum(axis=-1), (by_run**2).sum(axis=-1)
    cell = cell / (count * (count - 1))
    variance = np.maximum(group + run - cell, np.maximum(group, run))
    spread = group**2 / max(by_group.shape[-1] - 1, 1) + run**2 / max(by_run.shape[-1] - 1, 1)
    degrees = np.divide(variance**2, spread, out=np.ones_like(variance), where=spread > 0)
    return variance, np.maximum(degrees, 1.0)


def accuracy_interval(table: pd.DataFrame, level: float = 0.95) -> Interval:
    """Give a system's accuracy in per cent with the interval of `two_way_interval`, cut to 0..100.

    Args:
        table: counts of one system, with columns `split`, `seed`, `group`, `clips`, `correct`, one row a cell.
        level: probability to cover.

    Returns:
        The interval, in per cent.
    """
    counts = _counts(table)
    cells = counts[CELL].assign(difference=100.0 * counts["correct"] / counts["clips"])
    interval = two_way_interval(cells, level)
    return replace(interval, low=max(interval.low, 0.0), high=min(interval.high, 100.0))


def run_interval(differences: pd.DataFrame, level: float = 0.95) -> Interval:
    """Estimate the mean of a value that exists once a run, with an interval that allows for splits and for seeds.

    The model is d = mean + (effect of the split) + (effect of the run). Every split has seeds of its own, so that runs
    share nothing but their split, and the means of splits are independent: they are the units, by Student's t. That
    is exact for normal effects and equal numbers of seeds, however the two spreads compare. With one split nothing is
    known of how splits differ: runs are the units, and the interval is about that split.

    By simulation (tests/statistics/test_intervals.py, benchmarks/coverage.py), 95 % intervals cover 95 % for 3 splits
    and 5 of 5 seeds, whether the spread of the splits is none, half or once that of the seeds; with runs for units they
    would cover 95, 85 and 71 %. The choice of clips, which the runs of a split share, is part of the split's effect.

    Args:
        differences: columns `split`, `seed`, `difference`, one row a run.
        level: probability to cover.

    Returns:
        The interval, with `num_groups` 0.
    """
    table = _check(differences, [*RUN, "difference"], RUN)
    by_split = table.groupby("split")["difference"].mean()
    units = (by_split if len(by_split) > 1 else table["difference"]).to_numpy(float)
    error = units.std(ddof=1) / np.sqrt(len(units)) if len(units) > 1 else np.inf
    sizes = {"num_runs": len(table), "num_groups": 0}
    return _student(units.mean(), error, max(len(units) - 1, 1), level, **sizes)


def max_t_interval(differences: Sequence[pd.DataFrame], level: float = 0.95) -> Interval:
    """Estimate the largest of several mean differences, for claims of the form "up to x points".

    One critical value c serves all: the `level` point of max(abs(T)) for a multivariate t with the correlations
    of the estimates and their smallest degrees of freedom, found by simulation with a fixed seed (Hothorn,
    Bretz, Westfall). As all true differences then lie in estimate_j +- c * error_j at once, the largest of
    them lies in

        [max over j of (estimate_j - c * error_j), max over j of (estimate_j + c * error_j)].

    So the low end is not fooled by picking the luckiest exit; the estimate itself, the largest seen, is too
    large on average. Correlations come from the sum of the group and run parts of the covariance, which is
    always positive semidefinite.

    Args:
        differences: one table for each exit, as `two_way_interval` takes, all of the same cells.
        level: probability to cover.

    Returns:
        The interval of the largest; standard error is that of the exit where it is seen.

    Raises:
        ValueError: If there is no table, or they do not hold the same cells.
    """
    if not differences:
        raise ValueError("differences: no table given")
    tables = [_check(table, [*CELL, "difference"], CELL) for table in differences]
    cells = tables[0][CELL]
    for table in tables:
        if not table[CELL].equals(cells):
            raise ValueError("differences: the tables do not hold the same cells (split, seed, group)")
    runs, groups = cells.groupby(RUN).ngroup().to_numpy(), cells.groupby("group").ngroup().to_numpy()
    values = np.stack([table["difference"].to_numpy(float) for table in tables])
    variance, degrees = two_way_variance(values, runs, groups)
    estimates, errors = values.mean(axis=1), np.sqrt(variance)
    best = int(estimates.argmax())
    sizes = {"num_runs": int(runs.max()) + 1, "num_groups": int(groups.max()) + 1, "level": level}
    if not np.isfinite(errors).all():
        return Interval(float(estimates[best]), -np.inf, np.inf, np.inf, 1.0, **sizes)

    deviations = values - estimates[:, None]
    influence = np.hstack([_influence(deviations, groups), _influence(deviations, runs)])
    largest = _largest_t(influence, float(degrees.min()))
    critical = float(np.quantile(largest, level))
    return Interval(
        estimate=float(estimates[best]),
        low=float((estimates - critical * errors).max()),
        high=float((estimates + critical * errors).max()),
        standard_error=float(errors[best]),
        degrees_of_freedom=float(degrees.min()),
        **sizes,
    )


def planned_interval(pilot: pd.DataFrame, *, runs: int, groups: int, level: float = 0.95) -> Interval:
    """Foresee how wide the interval of a study will be, from a pilot of few runs.

    The model is that of `two_way_interval`. The spreads of groups, runs and cells are the usual estimates from the mean
    squares of a two-way layout without repetition, none below 0; the study's variance is

        V = s_group**2 / groups + s_run**2 / runs + s_cell**2 / (groups * runs)

    with as many degrees of freedom as the pilot's estimate of it has (Satterthwaite), or as the study itself allows, if
    that is fewer. Two runs tell little of the spread of runs.

    Args:
        pilot: columns `split`, `seed`, `group`, `difference`, of at least two runs of one split.
        runs: that the study will have.
        groups: that it will test.
        level: probability to cover.

    Returns:
        The interval about the pilot's mean, for `smallest_effect`.

    Raises:
        ValueError: If the pilot is one run, or its runs do not test the same groups.
    """
    table = _check(pilot, [*CELL, "difference"], CELL)
    cells = table.pivot(index="group", columns=RUN, values="difference").to_numpy(float)
    if cells.shape[1] < 2 or np.isnan(cells).any():
        raise ValueError("a pilot needs two runs at least, all of one split and its groups")
    count, repeats = cells.shape
    centred = cells - cells.mean()
    by_group, by_run = centred.mean(axis=1), centred.mean(axis=0)
    rest = centred - by_group[:, None] - by_run
    squares = np.array([repeats * (by_group**2).sum(), count * (by_run**2).sum(), (rest**2).sum()])
    own_degrees = np.array([count - 1, repeats - 1, (count - 1) * (repeats - 1)])
    of_group, of_run, of_cell = squares / own_degrees
    parts = np.array([(of_group - of_cell) / repeats / groups, (of_run - of_cell) / count / runs]).clip(min=0)
    variance = parts.sum() + of_cell / (groups * runs)
    known = (count - 1, repeats - 1)
    spread = sum(part**2 / degrees for part, degrees in zip(parts, known, strict=True))
    degrees = max(min(variance**2 / spread if spread else np.inf, groups - 1), 1.0)
    sizes = {"num_runs": runs, "num_groups": groups}
    return _student(cells.mean(), np.sqrt(variance), degrees, level, **sizes)


def bonferroni_level(level: float, comparisons: int) -> float:
    """Give the level 1 - (1 - level) / comparisons of each interval for all of them to cover at `level`.

    Args:
        level: meant for the family, such as 0.95.
        comparisons: how many intervals the family has, from 1.

    Returns:
        The level of each.
    """
    return 1.0 - (1.0 - level) / comparisons


def smallest_effect(interval: Interval, power: float = 0.8) -> float:
    """Give the smallest true effect that such data would show, with this power, as different from 0.

    It is half the interval's width plus t(power) standard errors.

    Args:
        interval: of the data; only its width, error and degrees of freedom matter, not its estimate.
        power: probability that the interval would lie above 0.

    Returns:
        The effect, in the interval's unit; infinite where the error is.
    """
    reach = (interval.high - interval.low) / 2
    return float(reach + stats.t.ppf(power, interval.degrees_of_freedom) * interval.standard_error)


def _check(table: pd.DataFrame, columns: list[str], key: list[str]) -> pd.DataFrame:
    # Give the columns asked for, ordered by the key, once it is sure that the key is unique. It is asked for
    # thousands of small tables, where NumPy's functions take half as long as those of a frame.
    if missing := [column for column in columns if column not in table.columns]:
        raise ValueError(f"the table lacks the columns {missing}; it has {list(table.columns)}")
    values = {column: table[column] for column in columns}
    if table.empty or any(column.isna().any() for column in values.values()):
        raise ValueError(f"the table has no row, or an empty value in {columns}")
    places = np.stack([pd.factorize(values[name], sort=True)[0] for name in key])
    order = np.lexsort(places[::-1])
    ordered = pd.DataFrame({name: column.array[order] for name, column in values.items()})
    if (repeated := (np.diff(places[:, order]) == 0).all(axis=0)).any():
        rows = ordered[1:][repeated]
        raise ValueError(f"the table holds {_name(rows, key)} more than once: select one system and part first")
    return ordered


def _counts(table: pd.DataFrame, cell: list[str] = CELL) -> pd.DataFrame:
    counts = _check(table, [*cell, "clips", "correct"], cell)
    wrong = (counts["clips"] < 1) | (counts["correct"] < 0) | (counts["correct"] > counts["clips"])
    if wrong.any():
        told = _name(counts[wrong], cell)
        raise ValueError(f"counts make no sense at {told}: need 0 <= correct <= clips and clips >= 1")
    return counts


def _name(rows: pd.DataFrame, key: list[str] = CELL) -> str:
    return ", ".join(f"{column} {rows.iloc[0][column]}" for column in key)


def _influence(deviations: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    # Each cluster's share in the mean's error, (..., clusters); their squares sum to a variance.
    order = np.argsort(clusters, kind="stable")
    starts = np.flatnonzero(np.diff(clusters[order], prepend=-1))
    factor = len(starts) / (len(starts) - 1) if len(starts) > 1 else 0.0
    return np.add.reduceat(deviations[..., order], starts, axis=-1) * np.sqrt(factor) / deviations.shape[-1]


def _largest_t(influence: np.ndarray, degrees: float) -> np.ndarray:
    # Draw max |T_j| of a multivariate t with the correlations of the rows of `influence` (exits, clusters).
    norms = np.linalg.norm(influence, axis=1, keepdims=True)
    directions = np.divide(influence, norms, out=np.zeros_like(influence), where=norms > 0)
    # A factor of the correlation matrix with few columns, so that few numbers need drawing.
    left, sizes, _ = np.linalg.svd(directions, full_matrices=False)
    rng = np.random.default_rng(0)
    normal = rng.standard_normal((_DRAWS, len(sizes))) @ (left * sizes).T
    return abs(normal).max(axis=1) / np.sqrt(rng.chisquare(degrees, _DRAWS) / degrees)


def _student(estimate: float, error: float, degrees: float, level: float, **sizes: int) -> Interval:
    reach = stats.t.ppf((1 + level) / 2, degrees) * error
    numbers = (estimate, estimate - reach, estimate + reach, error, degrees)
    return Interval(*map(float, numbers), **sizes, level=level)
