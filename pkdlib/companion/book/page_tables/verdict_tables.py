"""The verdicts on all claims, as tables: one row a claim, and of each committed study all that was compared."""

from collections.abc import Collection, Iterator, Mapping

import numpy as np
import pandas as pd

from pkdlib.companion import results
from pkdlib.companion.book.page_tables.layout import figure, span, with_interval
from pkdlib.companion.claims import aggregate, verdicts
from pkdlib.companion.claims.claims import CLAIMS
from pkdlib.companion.claims.verdicts import PRIMARY
from pkdlib.companion.names import MODALITY_NAMES, dataset_name, in_words, study_name

YOURS = "your run"
NOT_MEASURED = "not measured"

_KINDS = {claim.id: claim.kind for claim in CLAIMS}
_NOT_IN_POINTS = tuple(name for name, kind in _KINDS.items() if kind in ("order", "correlation"))
# TEAM-Net has few runs, and is judged all the same, as undecided as few runs are; no other claim is about it.
_SECOND, _OF_SECOND = "-teamnet", ("transfer",)


def judged(*, claims: Collection[str] = verdicts.EVERY, fewest_seeds: int = verdicts.MIN_SEEDS) -> pd.DataFrame:
    """Judge claims on all committed studies.

    Args:
        claims: Ids of those to judge.
        fewest_seeds: Committed results of fewer seeds are no study, but for the claim that is about TEAM-Net.

    Returns:
        The rows of `verdicts.judge`, with the columns data (the study's name) and dataset (its data set's).
    """
    frames = []
    for profile, dataset in _studies(fewest_seeds):
        if own := [name for name in claims if (name in _OF_SECOND) == profile.endswith(_SECOND)]:
            found = verdicts.judge_committed(profile, dataset, own)
            frames.append(found.assign(data=study_name(profile, dataset), dataset=dataset_name(dataset)))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def findings(frame: pd.DataFrame) -> pd.DataFrame:
    """Set every claim out in one row: what was found in words, then each data set's figure, interval and verdict.

    Args:
        frame: Of `judged`.

    Returns:
        claim, what was found, and a column a data set (its first study's primary comparison).
    """
    rows = []
    for claim in CLAIMS:
        row = {"claim": claim.title, "what was found": claim.finding}
        primary = frame[(frame["claim"] == claim.id) & (frame["role"] == PRIMARY)] if len(frame) else frame
        for dataset in frame["dataset"].unique() if len(frame) else ():
            row[dataset] = _told(primary[primary["dataset"] == dataset])
        rows.append(row)
    return pd.DataFrame(rows)


def own_figures(own: pd.DataFrame) -> pd.DataFrame:
    """Set out the primary figure of every claim that a reader's own run measures.

    Args:
        own: Rows of `verdicts.judge` of that run.

    Returns:
        claim and your run: the figure with its interval, and no verdict.
    """
    measured = own[(own["role"] == PRIMARY) & own["estimate"].notna()]
    return pd.DataFrame({"claim": measured["title"], YOURS: [effect(row) for row in measured.itertuples()]})


def primary_effects(frame: pd.DataFrame, own: pd.DataFrame | None = None) -> pd.DataFrame:
    """Take the primary comparisons in points that have an interval, to draw.

    Args:
        frame: Of `judged`.
        own: Rows of `verdicts.judge` of a reader's own run.

    Returns:
        claim (its title), label (the study), dataset, estimate, low, high, verdict; with `own`, rows with the label and
        verdict `your run`.
    """
    columns = ["claim", "label", "dataset", "estimate", "low", "high", "verdict"]
    if frame.empty:
        return pd.DataFrame(columns=columns)
    parts = [frame.assign(label=frame["data"])]
    if own is not None:
        parts.append(own.assign(label=YOURS, dataset=YOURS, verdict=YOURS))
    both = pd.concat(parts, ignore_index=True)
    drawn = both[(both["role"] == PRIMARY) & np.isfinite(both["low"]) & ~both["claim"].isin(_NOT_IN_POINTS)]
    place = {claim.id: number for number, claim in enumerate(CLAIMS)}
    return drawn.sort_values("claim", key=lambda ids: ids.map(place), kind="stable").assign(claim=drawn["title"])[
        columns
    ]


def every_comparison(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Set the measured comparisons out for reading, a table for each study.

    Args:
        frame: Of `judged`.

    Yields:
        The study's name, and claim, comparison, role, verdict, effect (with its interval) and smallest effect:
        words and rounded figures.
    """
    measured = frame[frame["estimate"].notna()] if len(frame) else frame
    for data, rows in measured.groupby("data", sort=False) if len(measured) else ():
        columns = {
            "claim": _once(rows["title"]),
            "comparison": [_comparison(row) for row in rows.itertuples()],
            "role": rows["role"],
            "verdict": [_verdict(row) for row in rows.itertuples()],
            "effect (interval)": [effect(row) for row in rows.itertuples()],
            "smallest effect": rows["smallest_effect"].map(figure).where(~rows["claim"].isin(_NOT_IN_POINTS), ""),
        }
        yield data, pd.DataFrame(columns)


def by_study(claim: str, comparisons: Mapping[str, str]) -> pd.DataFrame:
    """Set out some comparisons of one claim, a row for each committed study of several seeds.

    Args:
        claim: Its id.
        comparisons: Title -> the comparison's name, as `every_comparison` gives it.

    Returns:
        The study, and under each title the effect with its interval, and the verdict; empty where not measured.
    """
    rows = []
    frame = judged(claims=[claim])
    for study, found in every_comparison(frame[frame["low"].notna()] if len(frame) else frame):
        told = (found["effect (interval)"] + ": " + found["verdict"]).set_axis(found["comparison"])
        rows.append({"study": study, **{title: told.get(name, "") for title, name in comparisons.items()}})
    return pd.DataFrame(rows, columns=["study", *comparisons])


def what_they_rest_on(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Set out what each measured comparison rests on, a table for each study.

    Args:
        frame: Of `judged`.

    Yields:
        The study's name, and claim, comparison, seeds, runs, groups, details, and what limits the claim.
    """
    measured = frame[frame["estimate"].notna()] if len(frame) else frame
    for data, rows in measured.groupby("data", sort=False) if len(measured) else ():
        columns = {
            "claim": _once(rows["title"]),
            "comparison": [_comparison(row) for row in rows.itertuples()],
            **{name: rows[name].map(lambda value: figure(value, "{:.0f}")) for name in ("seeds", "runs", "groups")},
            "details": ["; ".join(f"{name}: {value}" for name, value in own.items()) for own in rows["details"]],
            "what limits it": rows["caveat"].where(rows["title"] != rows["title"].shift(), ""),
        }
        yield data, pd.DataFrame(columns)


def accuracies(fewest_seeds: int = verdicts.MIN_SEEDS) -> Iterator[tuple[str, pd.DataFrame]]:
    """Set out the test accuracy of every system, a table for each study.

    Args:
        fewest_seeds: Committed results of fewer seeds are no study.

    Yields:
        The study's name, and system, accuracy (per cent, with its 95 % interval), runs, groups: words and figures.
    """
    for profile, dataset in results.published_sets(fewest_seeds):
        found = aggregate.accuracy_table(results.published(profile, dataset)).assign(
            estimate=lambda frame: frame["accuracy"]
        )
        columns = {
            "system": found["system"],
            "test accuracy, %": [with_interval(row, "{:.1f}") for row in found.itertuples()],
        }
        yield (
            study_name(profile, dataset),
            pd.DataFrame(columns | {n: found[n].astype(str) for n in ("runs", "groups")}),
        )


def effect(row: tuple) -> str:
    """Write a judged effect with its interval: points, a ratio where the claim is of order, or a rank correlation.

    Args:
        row: Of `judged`, as `itertuples` gives it.

    Returns:
        Such as `+0.2 (-2.2 to +2.6)`, or `0.35 times (0.25 to 0.47)`.
    """
    kind = _KINDS[row.claim]
    if kind == "order":  # logarithms of ratios, which readers want as ratios
        ratios = [float(np.exp(value)) for value in (row.estimate, row.low, row.high)]
        form = "{:.2f}" if ratios[0] >= 0.1 else "{:.2g}"  # else an interval would be told as one number
        told = f"{form.format(ratios[0])} times"
        return f"{told} ({span(*ratios[1:], form)})" if np.isfinite(ratios[1:]).all() else told
    return with_interval(row, "{:+.2f}" if kind == "correlation" else "{:+.1f}")


def smallest_effects(frame: pd.DataFrame) -> pd.DataFrame:
    """Set out the smallest effect that each claim's data could have shown.

    Args:
        frame: Of `judged`.

    Returns:
        A row a claim, a column a study, in points: the median over the claim's comparisons, and their range and number
        where there are several. Claims that are not in points are left out.
    """
    if frame.empty:
        return frame
    points = frame[np.isfinite(frame["smallest_effect"]) & ~frame["claim"].isin(_NOT_IN_POINTS)]
    cells = points.groupby(["title", "data"])["smallest_effect"].agg(_median).unstack("data", fill_value="")
    table = cells.loc[points["title"].unique(), points["data"].unique()]
    return table.reset_index(names="claim").rename_axis(columns=None)


def _studies(fewest_seeds: int) -> list[tuple[str, str]]:
    second = [study for study in results.published_sets() if study[0].endswith(_SECOND)]
    return [study for study in results.published_sets(fewest_seeds) if study not in second] + second


def _told(rows: pd.DataFrame) -> str:
    measured = rows[rows["low"].notna()] if len(rows) else rows
    if measured.empty:
        return NOT_MEASURED
    first = next(measured.itertuples())
    return f"{effect(first)}: {_verdict(first)}"


def _verdict(row: tuple) -> str:
    return row.verdict + (f" ({row.qualifier})" if row.qualifier else "")


def _comparison(row: tuple) -> str:
    # A comparison's name in words, and which networks it is the mean of: not all methods differ for each.
    told = in_words(row.comparison).replace(" - ", " less ")
    networks = row.details.get("mean over the exits of")
    if not networks:
        return told
    return f"{told}; networks: {', '.join(MODALITY_NAMES[name] for name in networks.split(', '))}"


def _once(titles: pd.Series) -> pd.Series:
    return titles.where(titles != titles.shift(), "")  # once, above its comparisons


def _median(effects: pd.Series) -> str:
    if len(effects) == 1:
        return f"{effects.iloc[0]:.1f}"
    return f"{effects.median():.1f} ({span(effects.min(), effects.max(), '{:.1f}')}; {len(effects)})"
