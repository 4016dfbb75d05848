"""What the page on statistics says: how often intervals cover, and the smallest effects that data could show.

The tables are those of `benchmarks/coverage.py`, whose names of methods and spreads are used here.
"""

from typing import Any

import numpy as np
import pandas as pd

from pkdlib.companion.book.prose.reports import as_markdown
from pkdlib.companion.claims.claims import CLAIMS

OWN = ("two-way", "max-t")  # the study's intervals, of one comparison and of the largest
OWN_OF_RUNS = ("t over splits", "t over runs, about their split")  # and of what exists once a run
NAIVE = ("t over cells", "t over runs", "t over groups", "bootstrap over groups")
LEFT_OUT = "splits, too"  # the spread that holds what the model of the intervals leaves out


def coverage_tables(coverage: pd.DataFrame) -> str:
    """Set out how often each method covers.

    Args:
        coverage: Of `results.coverage`.

    Returns:
        A Markdown table for each layout, in per cent, a row a method, a column a spread; the study's methods in bold.
    """
    parts = []
    for layout, rows in coverage.groupby("layout", sort=False):
        spreads = rows["spread"].unique()
        cells = (100 * rows.pivot(index="method", columns="spread", values="coverage")).map("{:.1f}".format)
        table = cells.loc[rows["method"].unique(), spreads].reset_index()
        table["method"] = table["method"].map(lambda name: f"**{name}**" if name in OWN else name)
        parts.append(f"`{layout}`, per cent:\n\n{as_markdown(table)}")
    return "\n\n".join(parts)


def coverage_sentences(coverage: pd.DataFrame) -> str:
    """Say between what bounds each method's coverage lies, and what becomes of the study's where splits differ, too.

    Args:
        coverage: Of `results.coverage`.

    Returns:
        Sentences.
    """
    modelled = coverage[coverage["spread"] != LEFT_OUT].groupby("method")["coverage"]
    share = {method: _range(rows) for method, rows in modelled}
    sizes = coverage.groupby("method")["repetitions"].first()
    apart = coverage[(coverage["spread"] == LEFT_OUT) & (coverage["method"] == "two-way")]
    fallen = [f"{100 * row.coverage:.1f} % on `{row.layout}`" for row in apart.itertuples()]
    return (
        f"In {sizes['two-way']} simulations of each kind the two-way interval covers {share['two-way']} of the time; "
        f"{', '.join(f'{method} {share[method]}' for method in NAIVE)}. In {sizes['max-t']} of the largest of several "
        f"exits the max-t interval covers {share['max-t']} of the time, the best exit's own two-way interval "
        f"{share['two-way of the best exit']}. Where splits differ, too, which the model leaves out, the two-way "
        f"interval covers {' and '.join(fallen)}."
    )


def runs_table(by_run: pd.DataFrame) -> str:
    """Set out how often intervals cover for what exists once a run.

    Args:
        by_run: The table `runs` of `results.coverage`.

    Returns:
        A Markdown table in per cent: a row a layout and method, a column a spread of the splits, compared with that of
        the runs of one; the study's methods in bold.
    """
    spreads = by_run["split_spread"].map("{:g} times".format)
    cells = by_run.assign(spread=spreads, coverage=(100 * by_run["coverage"]).map("{:.1f}".format))
    table = cells.pivot(index=["layout", "method"], columns="spread", values="coverage")
    order = by_run[["layout", "method"]].drop_duplicates()
    table = table.loc[list(order.itertuples(index=False, name=None)), spreads.unique()].reset_index()
    own = table["method"].isin(OWN_OF_RUNS)
    table["method"] = table["method"].where(~own, "**" + table["method"] + "**")
    return as_markdown(table)


def power_sentence(power: pd.DataFrame) -> str:
    """Say how often a true effect as large as the smallest effect told is found.

    Args:
        power: Of `results.coverage`.

    Returns:
        A sentence.
    """
    modelled, apart = power[power["spread"] != LEFT_OUT], power[power["spread"] == LEFT_OUT]
    return (
        f"In the simulations above, a true effect as large as the median of the smallest effects told is found "
        f"{_range(modelled['power'])} of the time; where splits differ, too, {_range(apart['power'])}."
    )


def spreads_sentence(spreads: dict[str, dict[str, Any]]) -> str:
    """Say how large the simulated effects are.

    Args:
        spreads: Name -> standard deviations, from the simulation's record.

    Returns:
        The names with their standard deviations, in points.
    """
    told = []
    for name, sizes in spreads.items():
        words = ", ".join(f"{what} {sizes[what]:g}" for what in ("group", "run", "split", "cell") if what in sizes)
        tails = f" times Student's $t$ with {sizes['tails']} degrees of freedom" if "tails" in sizes else ""
        told.append(f"*{name}*: {words}{tails}")
    return "; ".join(told)


def smallest_effects(frame: pd.DataFrame) -> str:
    """Set out the smallest effect that each claim's data could have shown.

    Args:
        frame: Of `reports.judged`.

    Returns:
        A Markdown table in points: a row a claim, a column a set of results; the median over the claim's comparisons,
        and their range and number where there are several. Claims that are not in points are left out.
    """
    ratios = [claim.id for claim in CLAIMS if claim.kind in ("order", "correlation")]
    points = frame[np.isfinite(frame["smallest_effect"]) & ~frame["claim"].isin(ratios)] if len(frame) else frame
    if points.empty:
        return "No results are committed yet."
    cells = points.groupby(["title", "data"])["smallest_effect"].agg(_median).unstack("data", fill_value="")
    table = cells.loc[points["title"].unique(), points["data"].unique()]
    return as_markdown(table.reset_index(names="claim"))


def _median(effects: pd.Series) -> str:
    if len(effects) == 1:
        return f"{effects.iloc[0]:.1f}"
    return f"{effects.median():.1f} ({effects.min():.1f} to {effects.max():.1f}; {len(effects)})"


def _range(shares: pd.Series) -> str:
    return f"{100 * shares.min():.1f} to {100 * shares.max():.1f} %"
