"""From intervals to verdicts: the rule, fixed before any result, and the table of all claims.

A verdict is about this data at this size, never about the paper's data sets. It needs five seeds, each with its own
backbones: otherwise chance in training cannot be told from an effect. Intervals decide. A claim's primary comparison,
named in `claims`, stands by itself; its secondary ones share the level among them (Bonferroni).
"""

import functools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from pkdlib.companion import results
from pkdlib.companion.claims.claims import CLAIMS, Claim
from pkdlib.companion.claims.comparisons import compare
from pkdlib.statistics import intervals
from pkdlib.statistics.differences import Comparison
from pkdlib.statistics.intervals import Interval

LEVEL = 0.95
MARGIN = 1.0
MIN_SEEDS = 5
# "As good as" allows a loss of this many points; the few clips of UT-Interaction could never show 1.
NON_INFERIORITY_MARGINS = {"ut_interaction": 5.0}

# The claims' ids.
EVERY = tuple(claim.id for claim in CLAIMS)

# In the order in which they are counted.
WORDS = ("holds", "does not hold", "undecided", "not measured")

# The tables that claims are judged from.
TABLES = tuple(dict.fromkeys(name for claim in CLAIMS for name in claim.tables))

PRIMARY, SECONDARY = "primary", "secondary"

COLUMNS = [
    *("claim", "title", "comparison", "role", "paper_figure", "estimate", "low", "high", "smallest_effect"),
    *("seeds", "runs", "groups", "verdict", "qualifier", "details", "caveat", "reason"),
]


@dataclass(frozen=True)
class Verdict:
    """What an interval says about a claim.

    Attributes:
        word: "holds", "does not hold" or "undecided".
        qualifier: what to add, such as "reversed"; may be empty.
    """

    word: str
    qualifier: str


def verdict(interval: Interval, *, seeds: int, kind: str = "difference", margin: float = MARGIN) -> Verdict:
    """Apply the rule to one interval.

    With fewer than five seeds, or no finite interval: undecided. A gain ("difference", "maximum"; with margin 0
    "order", on log ratios, and "correlation") with low > 0 holds, "by less than the margin" if high < margin; else with
    high < margin does not hold, "reversed" if high < 0; else it is undecided. "As good as" ("non-inferior"): with
    low > -margin it holds, "and better" if low > 0; else with high < -margin it does not; else it is undecided.

    Args:
        interval: of the claim's difference, already widened for the number of comparisons.
        seeds: the fewest seeds that any split was run with.
        kind: the claim's, see `Claim`.
        margin: smallest difference that matters, in points.

    Returns:
        The verdict.

    Raises:
        ValueError: If the kind is unknown.
    """
    if kind not in ("difference", "maximum", "order", "correlation", "non-inferior"):
        raise ValueError(f"kind = {kind!r}: expected difference, maximum, order, correlation or non-inferior")
    margin = 0.0 if kind in ("order", "correlation") else margin
    low, high = interval.low, interval.high
    if seeds < MIN_SEEDS:
        word, qualifier = "undecided", f"fewer than {MIN_SEEDS} seeds"
    elif not np.isfinite(interval.standard_error):
        word, qualifier = "undecided", "a single cell"
    elif kind == "non-inferior":
        word, qualifier = _as_good(low, high, margin)
    else:
        word, qualifier = _gain(low, high, margin)
    return Verdict(word, qualifier)


def judge(tables: Mapping[str, pd.DataFrame], dataset: str, claims: Collection[str] = EVERY) -> pd.DataFrame:
    """Judge claims from the result tables of one data set.

    Accuracies are compared on test clips, with the two-way interval over groups and runs; "up to" claims with one
    max-t interval over all exits; flatness over splits, or over the runs of one. Early exit is compared at equal cost:
    the two curves of accuracy against measured GMAC are subtracted where both exist and averaged over that range, for
    each run. Where the table `early_exit` has a column `group`, its interval is two-way, too; otherwise it is as for
    flatness, and the details say that chance in the test clips is left out.

    Args:
        tables: the tables of TABLES by name; any may be missing.
        dataset: name of the data set, such as "marionette".
        claims: ids of those to judge.

    Returns:
        One row for each comparison of each claim, the primary one first, with the columns `COLUMNS`. `low` and `high`
        are simultaneous among a claim's secondary comparisons; all are in points, but log ratios for claims of order.
        `details` is a mapping of names to figures. A claim that cannot be judged has the verdict "not measured", and
        its `reason`.
    """
    rows = [row for claim in CLAIMS if claim.id in claims for row in _judge_claim(claim, tables, dataset)]
    return pd.DataFrame(rows, columns=COLUMNS)


def judge_committed(profile: str, dataset: str, claims: Collection[str] = EVERY) -> pd.DataFrame:
    """Judge claims from committed results, which takes seconds, once as long as they stay as they are.

    Args:
        profile: of the runs.
        dataset: of the runs.
        claims: ids of those to judge.

    Returns:
        The rows of `judge`.
    """
    files = sorted(results.folder(profile, dataset).glob(f"*{results.PACKED}"))
    state = tuple((path, path.stat().st_mtime_ns) for path in files)
    return _judge_committed(profile, dataset, tuple(claims), state).copy()


@functools.lru_cache(maxsize=32)
def _judge_committed(
    profile: str, dataset: str, claims: tuple[str, ...], files: tuple[tuple[Path, int], ...]
) -> pd.DataFrame:
    return judge(results.published(profile, dataset), dataset, claims)


def _judge_claim(claim: Claim, tables: Mapping[str, pd.DataFrame], dataset: str) -> Iterator[dict[str, object]]:
    comparisons = [Comparison("", missing=claim.not_measured)] if claim.not_measured else compare(claim.id, tables)
    comparisons = sorted(comparisons, key=lambda comparison: comparison.name not in claim.primary)
    secondary = [own for own in comparisons if own.name not in claim.primary and not own.missing]
    shared = intervals.bonferroni_level(LEVEL, max(len(secondary), 1))
    margin = NON_INFERIORITY_MARGINS.get(dataset, MARGIN) if claim.kind == "non-inferior" else MARGIN
    for comparison in comparisons:
        row = {
            "claim": claim.id,
            "title": claim.title,
            "comparison": comparison.name,
            "role": PRIMARY if comparison.name in claim.primary else SECONDARY,
            "paper_figure": claim.paper_figure,
            "details": comparison.details,
            "caveat": claim.caveat,
            "reason": comparison.missing,
        }
        if comparison.missing:
            yield row | {"verdict": "not measured", "qualifier": ""}
            continue
        interval = _interval(comparison, claim.kind, LEVEL if row["role"] == PRIMARY else shared)
        by_split = comparison.tables[0].groupby("split")["seed"].nunique()
        seeds = int(by_split.min())
        found = verdict(interval, seeds=seeds, kind=claim.kind, margin=margin)
        if not interval.num_groups and len(by_split) == 1:
            row["details"] = {"interval": "about this one split", **comparison.details}
        yield row | {
            "estimate": interval.estimate,
            "low": interval.low,
            "high": interval.high,
            "smallest_effect": intervals.smallest_effect(interval),
            "seeds": seeds,
            "runs": interval.num_runs,
            "groups": interval.num_groups,
            "verdict": found.word,
            "qualifier": found.qualifier,
        }


def _gain(low: float, high: float, margin: float) -> tuple[str, str]:
    if low > 0:
        return "holds", f"by less than {_points(margin)}" if high < margin else ""
    if high < margin or high < 0:
        return "does not hold", "reversed" if high < 0 else ""
    return "undecided", ""


def _as_good(low: float, high: float, margin: float) -> tuple[str, str]:
    if low > -margin:
        return "holds", "and better" if low > 0 else ""
    if high < -margin:
        return "does not hold", f"worse by more than {_points(margin)}"
    return "undecided", ""


def _interval(comparison: Comparison, kind: str, level: float) -> Interval:
    if kind == "maximum":
        return intervals.max_t_interval(comparison.tables, level)
    (table,) = comparison.tables
    interval = (intervals.two_way_interval if "group" in table else intervals.run_interval)(table, level)
    if kind == "correlation" and np.isfinite(interval.standard_error):  # of which none lies beyond -1 and 1
        interval = replace(interval, low=max(interval.low, -1.0), high=min(interval.high, 1.0))
    return interval


def _points(margin: float) -> str:
    return f"{margin:g} point" + ("" if margin == 1 else "s")
