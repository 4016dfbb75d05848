"""The verdicts on all claims, as tables: of every committed study, with a reader's own run beside."""

from collections.abc import Collection, Iterator

import numpy as np
import pandas as pd

from pkdlib.companion import results
from pkdlib.companion.book.page_tables.layout import figure, span, with_interval
from pkdlib.companion.claims import verdicts
from pkdlib.companion.claims.claims import CLAIMS
from pkdlib.companion.claims.verdicts import PRIMARY, SECONDARY
from pkdlib.companion.names import in_words

_NOT_IN_POINTS = tuple(claim.id for claim in CLAIMS if claim.kind in ("order", "correlation"))


def judged(
    own: dict[str, pd.DataFrame] | None = None,
    *,
    claims: Collection[str] = verdicts.EVERY,
    dataset: str = "",
    profile: str = "",
    fewest_seeds: int = verdicts.MIN_SEEDS,
) -> pd.DataFrame:
    """Judge claims on all committed studies, and set a reader's own run beside them, without a verdict.

    Args:
        own: Tables of the reader's own run.
        claims: Ids of those to judge.
        dataset: Of that run.
        profile: Of that run.
        fewest_seeds: Committed results of fewer seeds are no study.

    Returns:
        The rows of `verdicts.judge`, with the columns data and, for the reader's own figures, yours.
    """
    frames = []
    for name, committed in results.published_sets(fewest_seeds):
        frames.append(verdicts.judge_committed(name, committed, claims).assign(data=f"{committed} ({name})"))
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    if own is None or frame.empty:
        return frame
    mine = verdicts.judge(own, dataset, claims)[["claim", "comparison", "estimate"]]
    mine = mine.rename(columns={"estimate": "yours"}).assign(data=f"{dataset} ({profile})")
    return frame.merge(mine, on=["claim", "comparison", "data"], how="left")


def counts(frame: pd.DataFrame) -> pd.DataFrame:
    """Count the verdicts.

    Args:
        frame: Of `judged`.

    Returns:
        A row a set of results and role, a column a verdict.
    """
    rows = []
    for data, own in frame.groupby("data", sort=False) if len(frame) else ():
        for role, of_role in zip((PRIMARY, SECONDARY), _roles(own), strict=True):
            told = {word: str((of_role["verdict"] == word).sum()) for word in verdicts.WORDS}
            rows.append({"results": data, "comparisons": role, **told})
    return pd.DataFrame(rows)


def by_claim(frame: pd.DataFrame) -> pd.DataFrame:
    """Set every claim out in one row: its primary verdict on each set of results, and its secondary ones counted.

    Args:
        frame: Of `judged`.

    Returns:
        claim, and a column for each set of results.
    """
    rows = []
    for claim in CLAIMS:
        row = {"claim": claim.title}
        for data, own in _sets(frame, claim.id):
            primary, secondary = _roles(own)
            words = [f"**{word}**" for word in primary["verdict"]]
            row[data] = "; ".join([*words, *_counted(secondary, "{count} {word}", bool(words))])
        rows.append(row)
    return _filled(rows, frame, "claim")


def with_figures(frame: pd.DataFrame) -> pd.DataFrame:
    """Set every claim out in one row: the paper's figure, what each set of committed results says, the confound.

    Args:
        frame: Of `judged`.

    Returns:
        claim, paper, a column for each set of results (the primary comparison's verdict, figure and interval, and a
        count of the secondary ones' verdicts), and what confounds it.
    """
    rows = []
    for claim in CLAIMS:
        row = {"claim": claim.title, "paper": claim.paper_figure}
        for data, own in _sets(frame, claim.id):
            primary, secondary = _roles(own)
            told = [": ".join(filter(None, [r.verdict, with_interval(r, "{:.2f}")])) for r in primary.itertuples()]
            row[data] = "; ".join([*told, *_counted(secondary, "{word} at {count}", bool(told))])
        rows.append(row | {_CONFOUND: claim.caveat or claim.not_measured})
    return _filled(rows, frame, "claim", "paper", last=_CONFOUND)


def every_comparison(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Set the judged comparisons out for reading, a table for each set of results.

    Args:
        frame: Of `judged`.

    Yields:
        The data's name, and claim, comparison, role, verdict, paper, ours, smallest effect and, for the reader's own
        data, yours: all words and rounded figures.
    """
    for data, rows in frame.groupby("data", sort=False) if len(frame) else ():
        columns = {
            "claim": _once(rows["title"]),
            "comparison": rows["comparison"],
            "role": rows["role"],
            "verdict": rows["verdict"] + rows["qualifier"].map(lambda text: f" ({text})" if text else ""),
            "paper": rows["paper_figure"].str.split(":").str[0],
            "ours (interval)": [with_interval(row, "{:.2f}") for row in rows.itertuples()],
            "smallest effect": rows["smallest_effect"].map(figure),
        }
        if "yours" in rows and rows["yours"].notna().any():
            columns["yours"] = rows["yours"].map(figure)
        yield data, pd.DataFrame(columns)


def what_they_rest_on(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Set out what each judged comparison rests on, a table for each set of results.

    Args:
        frame: Of `judged`.

    Yields:
        The data's name, and claim, comparison, seeds, runs, groups, details or why it was not measured, and what limits
        the claim.
    """
    for data, rows in frame.groupby("data", sort=False) if len(frame) else ():
        details = ["; ".join(f"{name}: {value}" for name, value in own.items()) for own in rows["details"]]
        columns = {
            "claim": _once(rows["title"]),
            "comparison": rows["comparison"],
            **{name: rows[name].map(lambda value: figure(value, "{:.0f}")) for name in ("seeds", "runs", "groups")},
            "details": np.where(rows["reason"] == "", details, "not measured: " + rows["reason"]),
            "what limits it": rows["caveat"].where(rows["title"] != rows["title"].shift(), ""),
        }
        yield data, pd.DataFrame(columns)


def drawn_differences(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the comparisons in points that have an interval, for each set of results.

    Args:
        frame: Of `judged`.

    Yields:
        The data's name, and title (of the claim), label, estimate, low, high, verdict of its comparisons.
    """
    if frame.empty:
        return
    points = frame[np.isfinite(frame["low"]) & np.isfinite(frame["high"]) & ~frame["claim"].isin(_NOT_IN_POINTS)]
    for data, rows in points.groupby("data", sort=False):
        yield data, rows.assign(label=rows["comparison"].map(in_words))


def smallest_effects(frame: pd.DataFrame) -> pd.DataFrame:
    """Set out the smallest effect that each claim's data could have shown.

    Args:
        frame: Of `judged`.

    Returns:
        A row a claim, a column a set of results, in points: the median over the claim's comparisons, and their range
        and number where there are several. Claims that are not in points are left out.
    """
    if frame.empty:
        return frame
    points = frame[np.isfinite(frame["smallest_effect"]) & ~frame["claim"].isin(_NOT_IN_POINTS)]
    cells = points.groupby(["title", "data"])["smallest_effect"].agg(_median).unstack("data", fill_value="")
    table = cells.loc[points["title"].unique(), points["data"].unique()]
    return table.reset_index(names="claim").rename_axis(columns=None)


_CONFOUND = "what confounds or limits it"


def _sets(frame: pd.DataFrame, claim: str) -> Iterator[tuple[str, pd.DataFrame]]:
    if len(frame):
        yield from frame[frame["claim"] == claim].groupby("data", sort=False)


def _roles(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    return rows[rows["role"] == PRIMARY], rows[rows["role"] == SECONDARY]


def _counted(secondary: pd.DataFrame, form: str, beside: bool) -> Iterator[str]:
    numbers = {word: (secondary["verdict"] == word).sum() for word in verdicts.WORDS}
    seen = {word: count for word, count in numbers.items() if count}
    told = [form.format(word=word, count=count) if len(secondary) > 1 else word for word, count in seen.items()]
    if told:
        yield ("secondary: " if beside else "") + ", ".join(told)


def _filled(rows: list[dict[str, str]], frame: pd.DataFrame, *first: str, last: str | None = None) -> pd.DataFrame:
    sets = frame["data"].unique() if len(frame) else ()
    return pd.DataFrame(rows, columns=[*first, *sets, *([last] if last else [])]).fillna("")


def _once(titles: pd.Series) -> pd.Series:
    return titles.where(titles != titles.shift(), "")  # once, above its comparisons


def _median(effects: pd.Series) -> str:
    if len(effects) == 1:
        return f"{effects.iloc[0]:.1f}"
    return f"{effects.median():.1f} ({span(effects.min(), effects.max(), '{:.1f}')}; {len(effects)})"
