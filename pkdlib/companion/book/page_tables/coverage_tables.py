"""How often intervals cover, and how large the simulated effects are: tables of `benchmarks/coverage.py`."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pkdlib.companion.book.page_tables.layout import figure

OWN = ("two-way", "max-t")  # the study's intervals, of one comparison and of the largest
OWN_OF_RUNS = ("t over splits", "t over runs, about their split")  # and of what exists once a run
NAIVE = ("t over cells", "t over runs", "t over groups", "bootstrap over groups")
LEFT_OUT = "splits, too"  # the spread that holds what the model of the intervals leaves out


def by_spread(coverage: pd.DataFrame, layout: str) -> pd.DataFrame:
    """Set out how often each method covers in one layout of groups and runs.

    Args:
        coverage: Of `results.coverage`.
        layout: Which.

    Returns:
        Per cent, a row a method, a column a spread; the study's methods in bold.
    """
    rows = coverage[coverage["layout"] == layout]
    cells = rows.pivot(index="method", columns="spread", values="coverage").map(_per_cent)
    table = cells.loc[rows["method"].unique(), rows["spread"].unique()].reset_index()
    return table.assign(method=table["method"].map(lambda name: f"**{name}**" if name in OWN else name))


def ranges(coverage: pd.DataFrame) -> pd.DataFrame:
    """Set out between what bounds each method's coverage lies, over all layouts and spreads.

    Args:
        coverage: Of `results.coverage`.

    Returns:
        method, its lowest and highest coverage as far as the model goes, and its lowest where splits differ, too; per
        cent.
    """
    rows = []
    for method, own in coverage.groupby("method", sort=False):
        modelled, apart = (own[(own["spread"] == LEFT_OUT) == left]["coverage"] for left in (False, True))
        name = f"**{method}**" if method in OWN else method
        rows.append((name, *map(_per_cent, (modelled.min(), modelled.max(), apart.min()))))
    return pd.DataFrame(rows, columns=["method", "at least", "at most", "where splits differ, too, at least"])


def of_runs(by_run: pd.DataFrame) -> pd.DataFrame:
    """Set out how often intervals cover for what exists once a run.

    Args:
        by_run: The table `runs` of `results.coverage`.

    Returns:
        Per cent: a row a layout and method, a column a spread of the splits, compared with that of the runs of one; the
        study's methods in bold.
    """
    spreads = by_run["split_spread"].map("{:g} times".format)
    cells = by_run.assign(spread=spreads, coverage=by_run["coverage"].map(_per_cent))
    table = cells.pivot(index=["layout", "method"], columns="spread", values="coverage")
    order = by_run[["layout", "method"]].drop_duplicates()
    table = table.loc[list(order.itertuples(index=False, name=None)), spreads.unique()].reset_index()
    own = table["method"].isin(OWN_OF_RUNS)
    return table.assign(method=table["method"].where(~own, "**" + table["method"] + "**"))


def spreads(sizes: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Set out how large the simulated effects are.

    Args:
        sizes: Name -> standard deviations, in points, from the simulation's record.

    Returns:
        A row a spread; the cells' own noise is Student's where it has degrees of freedom.
    """
    columns = {"group": "group", "run": "run", "split": "split", "cell": "cell", "tails": "degrees of freedom"}
    rows = [{"spread": name} | {title: own.get(key) for key, title in columns.items()} for name, own in sizes.items()]
    frame = pd.DataFrame(rows, columns=["spread", *columns.values()])
    return frame.set_index("spread").astype(float).map(lambda value: figure(value, "{:g}")).reset_index()


def _per_cent(share: float) -> str:
    return f"{100 * share:.1f}"
