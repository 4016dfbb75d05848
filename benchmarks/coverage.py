"""Simulate how often intervals that are meant to cover 95 % do, on the cells of the study.

Usage: python benchmarks/coverage.py [--write]

A cell is a group of clips tested in a run (split, seed); each data set's groups and runs are those of the `full`
profile. Every simulated difference is the sum of an effect of its group, one of its run, one of its split where asked
for, and the cell's own noise; the true mean is 0. An interval covers if 0 lies in it. The largest of nine exits, each
with such differences and half its variance shared with the others, is judged by `intervals.max_t_interval`, and, to
show why, by the best exit's own interval. A true effect is put in, as large as the smallest that such data are usually
said to show, and counted how often it is found. At last come values that exist once a run: sums of an effect of the
split and of one of the run. With `--write` the tables go to `results/coverage`.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from pkdlib import _files
from pkdlib.companion import results
from pkdlib.companion.parameters import Parameters
from pkdlib.companion.runs import store
from pkdlib.statistics import intervals

LEVEL = 0.95
POWER = 0.8
SEED = 20250214
REPETITIONS = 4000
LARGEST_REPETITIONS = 400  # of the largest exit, whose interval is itself simulated
RESAMPLES = 2000  # of the bootstrap
EXITS = 9
# Splits and seeds of what exists once a run, and how the spread of splits compares with that of runs.
RUN_LAYOUTS = {"3 splits x 5 seeds": (3, 5), "5 splits x 5 seeds": (5, 5), "1 split x 8 seeds": (1, 8)}
SPLIT_SPREADS = (0, 0.5, 1)
TABLES = Path(__file__).resolve().parents[1] / "results" / "coverage"

# Standard deviations in points; `tails` are the degrees of freedom of the cells' noise where it is Student's t.
SPREADS = {
    "groups": {"group": 4, "run": 1, "cell": 2},
    "runs": {"group": 1, "run": 4, "cell": 2},
    "groups and runs": {"group": 3, "run": 3, "cell": 3},
    "cells alone": {"cell": 6},
    "heavy tails": {"group": 2, "run": 1, "cell": 4, "tails": 3},
    "splits, too": {"group": 4, "run": 1, "cell": 2, "split": 2},
}


def layouts():
    """Give the cells of each data set at the `full` profile: split, seed, group."""
    full = Parameters.for_profile("full")
    cells = [
        (actor % full.splits, seed, f"a{actor:02}")
        for actor in range(full.marionette_actors)
        for seed in range(full.seeds)
    ]
    exits = results.published("full", "ut_interaction")["exits"]
    return {
        "marionette": pd.DataFrame(cells, columns=intervals.CELL),
        "ut_interaction": exits.loc[exits["part"] == "test", intervals.CELL].drop_duplicates(),
    }


def simulate(rng, cells, size, *, group=0, run=0, cell=0, split=0, tails=None):
    """Draw differences of true mean 0, (*size, cells)."""
    noise = rng.standard_normal if tails is None else lambda shape: rng.standard_t(tails, shape)
    values = cell * noise((*size, len(cells)))
    for spread, keys in ((group, ["group"]), (run, intervals.RUN), (split, ["split"])):
        index = numbered(cells, keys)
        values += spread * rng.standard_normal((*size, index.max() + 1))[..., index]
    return values


def numbered(cells, keys):
    """Number the clusters of cells that agree in these columns."""
    return cells.groupby(keys).ngroup().to_numpy()


def means(values, clusters):
    """Average the cells of each cluster."""
    members = np.eye(clusters.max() + 1)[clusters]
    return values @ (members / members.sum(axis=0))


def two_way(values, by_run, by_group):
    """Give the ends of the study's intervals, as `intervals.two_way_interval` has them."""
    variance, degrees = intervals.two_way_variance(values, by_run, by_group)
    return around(values.mean(axis=-1), np.sqrt(variance), degrees)


def student(values):
    """Give the ends of Student's intervals, for independent values."""
    return around(values.mean(axis=-1), stats.sem(values, axis=-1), values.shape[-1] - 1)


def bootstrap(values, by_group):
    """Give the percentiles of means over resampled groups."""
    groups = means(values, by_group)
    count = groups.shape[-1]
    shares = np.random.default_rng(SEED).multinomial(count, np.full(count, 1 / count), RESAMPLES) / count
    return np.quantile(groups @ shares.T, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=-1)


def around(estimate, error, degrees):
    """Give both ends of an interval."""
    reach = stats.t.ppf((1 + LEVEL) / 2, degrees) * error
    return estimate - reach, estimate + reach


METHODS = {
    "two-way": two_way,
    "t over cells": lambda values, by_run, by_group: student(values),
    "t over runs": lambda values, by_run, by_group: student(means(values, by_run)),
    "t over groups": lambda values, by_run, by_group: student(means(values, by_group)),
    "bootstrap over groups": lambda values, by_run, by_group: bootstrap(values, by_group),
}


def covered(ends):
    """Say how often 0 is covered, in how many intervals, and how wide they are."""
    low, high = map(np.asarray, ends)
    return {"coverage": ((low <= 0) & (high >= 0)).mean(), "repetitions": low.size, "width": (high - low).mean()}


def coverage_of_one(rng, cells, spreads):
    """Yield the coverage of each method for one comparison."""
    values = simulate(rng, cells, (REPETITIONS,), **spreads)
    for name, method in METHODS.items():
        yield {"method": name, **covered(method(values, numbered(cells, intervals.RUN), numbered(cells, ["group"])))}


def coverage_of_largest(rng, cells, spreads):
    """Yield the coverage of both intervals for the largest of several comparisons."""
    size = (LARGEST_REPETITIONS, EXITS)
    values = simulate(rng, cells, (LARGEST_REPETITIONS, 1), **spreads) + simulate(rng, cells, size, **spreads)
    values /= np.sqrt(2)
    largest = [intervals.max_t_interval([cells.assign(difference=row) for row in rows], LEVEL) for rows in values]
    yield {"method": "max-t", **covered(zip(*((one.low, one.high) for one in largest), strict=True))}
    best = np.take_along_axis(values, values.mean(axis=-1).argmax(axis=1)[:, None, None], axis=1)[:, 0]
    ends = two_way(best, numbered(cells, intervals.RUN), numbered(cells, ["group"]))
    yield {"method": "two-way of the best exit", **covered(ends)}


def power(rng, cells, spreads):
    """Put in the smallest effect that such data are usually said to show, and count how often it is found."""
    values = simulate(rng, cells, (REPETITIONS,), **spreads)
    variance, degrees = intervals.two_way_variance(values, numbered(cells, intervals.RUN), numbered(cells, ["group"]))
    low, high = around(values.mean(axis=-1), np.sqrt(variance), degrees)
    # As `intervals.smallest_effect` does, for all data at once.
    smallest = np.median((high - low) / 2 + stats.t.ppf(POWER, degrees) * np.sqrt(variance))
    return {"smallest_effect": smallest, "power": (low + smallest > 0).mean(), "repetitions": REPETITIONS}


def coverage_of_runs(rng, splits, seeds, split_spread):
    """Yield the coverage of intervals for what exists once a run: of the mean over all splits that there could be."""
    of_splits = split_spread * rng.standard_normal((REPETITIONS, splits, 1))
    values = of_splits + rng.standard_normal((REPETITIONS, splits, seeds))
    if splits > 1:
        yield {"method": "t over splits", **covered(student(values.mean(axis=2)))}
    else:  # nothing is known of others, so the mean of this one is what is asked for
        own = (values - of_splits).reshape(REPETITIONS, -1)
        yield {"method": "t over runs, about their split", **covered(student(own))}
    yield {"method": "t over runs", **covered(student(values.reshape(REPETITIONS, -1)))}


def write(tables):
    """Keep the tables, with the record of their run."""
    TABLES.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        rows.to_csv(TABLES / f"{name}.csv", index=False, float_format="%.4f", lineterminator="\n")
    told = {"command": "python benchmarks/coverage.py --write", "seed": SEED, "level": LEVEL, "exits": EXITS}
    _files.write_json(TABLES / store.RECORD, {**told, "spreads": SPREADS, **store.provenance()})


def main():
    """Print the tables, and keep them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="keep the tables in results/coverage")
    chosen = parser.parse_args()
    rng = np.random.default_rng(SEED)
    coverage, powers = [], []
    for layout, cells in layouts().items():
        for spread, spreads in SPREADS.items():
            where = {"layout": layout, "spread": spread}
            coverage += [where | row for row in coverage_of_one(rng, cells, spreads)]
            coverage += [where | row for row in coverage_of_largest(rng, cells, spreads)]
            powers.append(where | power(rng, cells, spreads))
    by_run = [
        {"layout": layout, "split_spread": spread} | row
        for layout, sizes in RUN_LAYOUTS.items()
        for spread in SPLIT_SPREADS
        for row in coverage_of_runs(rng, *sizes, spread)
    ]
    tables = {"coverage": pd.DataFrame(coverage), "power": pd.DataFrame(powers), "runs": pd.DataFrame(by_run)}
    for name, columns in (("coverage", "spread"), ("runs", "split_spread")):
        table = tables[name].pivot_table(index=["layout", "method"], columns=columns, values="coverage", sort=False)
        print(table.round(3))
    print(tables["power"].round(3).to_string(index=False))
    if chosen.write:
        write(tables)


if __name__ == "__main__":
    main()
