"""What the pages say of the tables: sentences whose every number comes from a table, and the table of verdicts."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from pkdlib import _files, _resources
from pkdlib.companion import results, store
from pkdlib.companion.claims import aggregate, verdicts
from pkdlib.companion.claims.aggregate import MODALITY_NAMES
from pkdlib.companion.claims.claims import CLAIMS
from pkdlib.companion.claims.verdicts import PRIMARY, SECONDARY
from pkdlib.companion.presets import LIGHT_KINDS
from pkdlib.distillation.schedules import LABELS, METHODS, OWN, Method

FINAL = 4  # a network's own end, behind its three internal classifiers
_NOT_IN_POINTS = tuple(claim.id for claim in CLAIMS if claim.kind in ("order", "correlation"))


def modality_sentence(profile: pd.DataFrame) -> str:
    """Say how motion and residual grow with the distance from the I-frame.

    Args:
        profile: Of `aggregate.modality_profile`.

    Returns:
        A sentence.
    """
    if len(profile) < 2:
        return "This clip has I-frames only: there is no motion and no residual to see."
    first, last = profile.iloc[1], profile.iloc[-1]
    return (
        f"From position {first['position']:.0f} to {last['position']:.0f} of a GOP the mean accumulated motion goes "
        f"from {first['motion']:.2f} to {last['motion']:.2f} pixels, the mean accumulated residual from "
        f"{first['residual']:.1f} to {last['residual']:.1f} grey levels."
    )


def training_sentence(curves: pd.DataFrame) -> str:
    """Say how far the backbones fit the training clips, and what is left on validation.

    Args:
        curves: The table `curves`.

    Returns:
        A sentence.
    """
    kept = curves[curves["kept"]].groupby("modality")[["train_accuracy", "validation_accuracy"]].mean()
    told = [
        f"{MODALITY_NAMES[name]} {100 * row.train_accuracy:.0f} % and {100 * row.validation_accuracy:.0f} %"
        for name, row in zip(kept.index, kept.itertuples(), strict=True)
    ]
    return f"At the epoch that was kept, training and validation accuracy: {', '.join(told)} ({count_runs(curves)})."


def judged(
    own: dict[str, pd.DataFrame] | None = None,
    *,
    dataset: str = "",
    profile: str = "",
    fewest_seeds: int = verdicts.MIN_SEEDS,
) -> pd.DataFrame:
    """Judge every claim on all committed studies, and set a reader's own run beside them, without a verdict.

    Args:
        own: Tables of the reader's own run.
        dataset: Of that run.
        profile: Of that run.
        fewest_seeds: Committed results of fewer seeds are no study.

    Returns:
        The rows of `verdicts.judge`, with the columns data and, for the reader's own figures, yours.
    """
    frames = []
    for name, committed in results.published_sets(fewest_seeds):
        found = results.published(name, committed)
        frames.append(verdicts.judge(found, committed, name).assign(data=f"{committed} ({name})"))
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    if own is None or frame.empty:
        return frame
    mine = verdicts.judge(own, dataset, profile)[["claim", "comparison", "estimate"]]
    mine = mine.rename(columns={"estimate": "yours"}).assign(data=f"{dataset} ({profile})")
    return frame.merge(mine, on=["claim", "comparison", "data"], how="left")


def verdict_tables(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Set the judged comparisons out for reading, a table for each set of results.

    Args:
        frame: Of `judged`.

    Yields:
        The data's name, and claim, comparison, role, verdict, paper, ours, smallest effect and, for the reader's own
        data, yours: all words and rounded figures.
    """
    for data, rows in frame.groupby("data", sort=False) if len(frame) else ():
        columns = {
            "claim": rows["title"].where(rows["title"] != rows["title"].shift(), ""),  # once, above its comparisons
            "comparison": rows["comparison"],
            "role": rows["role"],
            "verdict": rows["verdict"] + rows["qualifier"].map(lambda text: f" ({text})" if text else ""),
            "paper": rows["paper_figure"].str.split(":").str[0],
            "ours (interval)": [_estimate(row) for row in rows.itertuples()],
            "smallest effect": rows["smallest_effect"].map(_figure),
        }
        if "yours" in rows and rows["yours"].notna().any():
            columns["yours"] = rows["yours"].map(_figure)
        yield data, pd.DataFrame(columns)


def as_html(frame: pd.DataFrame) -> str:
    """Write a table as HTML, no cell cut short.

    Args:
        frame: Words and rounded figures.

    Returns:
        HTML.
    """
    with pd.option_context("display.max_colwidth", None):
        return frame.to_html(index=False, border=0, justify="left", classes="pkd-table")


def claims_table(frame: pd.DataFrame) -> pd.DataFrame:
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
        for data, own in frame[frame["claim"] == claim.id].groupby("data", sort=False):
            row[data] = _in_short(own)
        rows.append(row | {"what confounds or limits it": claim.caveat or claim.not_measured})
    columns = ["claim", "paper", *frame["data"].unique(), "what confounds or limits it"]
    return pd.DataFrame(rows, columns=columns).fillna("")


def verdicts_table(frame: pd.DataFrame) -> str:
    """Set every claim out in one row: its primary verdict on each set of results, and its secondary ones counted.

    Args:
        frame: Of `judged`.

    Returns:
        A Markdown table.
    """
    rows = []
    for claim in CLAIMS:
        row = {"claim": claim.title}
        for data, own in frame[frame["claim"] == claim.id].groupby("data", sort=False):
            row[data] = "; ".join(_by_role(own))
        rows.append(row)
    return as_markdown(pd.DataFrame(rows, columns=["claim", *frame["data"].unique()]).fillna(""))


def _by_role(rows: pd.DataFrame) -> Iterator[str]:
    primary, secondary = (rows[rows["role"] == role] for role in (PRIMARY, SECONDARY))
    for row in primary.itertuples():
        yield f"**{row.verdict}**"
    counts = {word: (secondary["verdict"] == word).sum() for word in verdicts.WORDS}
    told = [f"{count} {word}" if len(secondary) > 1 else word for word, count in counts.items() if count]
    if told:
        yield ("secondary: " if len(primary) else "") + ", ".join(told)


def _in_short(rows: pd.DataFrame) -> str:
    primary, secondary = (rows[rows["role"] == role] for role in (PRIMARY, SECONDARY))
    told = [": ".join(filter(None, [row.verdict, _estimate(row)])) for row in primary.itertuples()]
    if len(secondary):
        counts = ", ".join(f"{word} at {count}" for word, count in secondary["verdict"].value_counts().items())
        told.append(f"secondary: {counts}" if len(primary) or len(secondary) > 1 else secondary["verdict"].iloc[0])
    return "; ".join(told)


def as_markdown(frame: pd.DataFrame) -> str:
    """Write a table as Markdown.

    Args:
        frame: Words and rounded figures.

    Returns:
        Markdown.
    """
    lines = [frame.columns, ["---"] * len(frame.columns), *frame.to_numpy()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def drawn_differences(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the comparisons in points that have an interval, for each set of results.

    Args:
        frame: Of `judged`.

    Yields:
        The data's name, and label, estimate, low, high, verdict of its comparisons.
    """
    if frame.empty:
        return
    points = frame[np.isfinite(frame["low"]) & np.isfinite(frame["high"]) & ~frame["claim"].isin(_NOT_IN_POINTS)]
    for data, rows in points.groupby("data", sort=False):
        yield data, rows.assign(label=rows["claim"] + ": " + rows["comparison"])


def verdict_sentences(frame: pd.DataFrame) -> str:
    """List each verdict's sentence.

    Args:
        frame: Of `judged`.

    Returns:
        Markdown.
    """
    lines = []
    for data, rows in frame.groupby("data", sort=False) if len(frame) else ():
        lines.append(f"**{data}**\n")
        lines += [f"- *{row.title}*, {row.comparison}: {row.sentence}" for row in rows.itertuples()]
        lines.append("")
    return "\n".join(lines) or "No results are committed yet."


def page_costs(notebook: str) -> str:
    """Say what a notebook took when the committed results were made.

    Args:
        notebook: Its number, as `04`.

    Returns:
        A sentence with time and memory for each profile that was measured.
    """
    parts = []
    for path in sorted(_resources.folder("results").glob(f"*/*/{store.TIMINGS}")):
        for name, cost in _files.read_json(path)["notebooks"].items():
            if name.startswith(notebook):
                where = f"`{path.parent.parent.name}` on {path.parent.name}"
                memory = cost["peak_memory_mib"]  # which Linux alone tells
                parts.append(f"{where}: {_minutes(cost['seconds'])}" + (f", {memory / 1024:.1f} GB" if memory else ""))
    return "Measured on 2 cores: " + ("; ".join(parts) if parts else "not yet") + "."


def backbones_sentence(exits: pd.DataFrame) -> str:
    """Say how the three backbones do on the test clips.

    Args:
        exits: The table `exits`.

    Returns:
        A sentence.
    """
    ends = aggregate.accuracy_summary(exits)
    ends = ends[ends["exit"] == FINAL].drop_duplicates("modality").sort_values("accuracy", ascending=False)
    told = [f"the {MODALITY_NAMES[row.modality]} network {_interval(row)}" for row in ends.itertuples()]
    listed = " and ".join(filter(None, [", ".join(told[:-1]), told[-1]]))
    return f"On the test clips, {listed} ({count_runs(exits)})."


def exits_sentence(exits: pd.DataFrame) -> str:
    """Say how the internal classifiers of both methods compare.

    Args:
        exits: The table `exits`.

    Returns:
        A sentence.
    """
    test = exits[exits["part"] == "test"]
    pkd = test[test["method"] == "pkd"].groupby(["modality", "exit"])[["correct", "clips"]].sum()
    ce = test[test["method"] == "ce"].groupby(["modality", "exit"])[["correct", "clips"]].sum()
    gains = 100 * (pkd["correct"] / pkd["clips"] - ce["correct"] / ce["clips"])
    best, worst = gains.idxmax(), gains.idxmin()
    return (
        f"PKD's classifiers stand above cross-entropy's at {int((gains > 0).sum())} of {len(gains)} exits; the "
        f"largest difference is {gains.max():+.1f} points (exit {best[1]} of the {MODALITY_NAMES[best[0]]} network), "
        f"the smallest {gains.min():+.1f} (exit {worst[1]} of the {MODALITY_NAMES[worst[0]]} network), "
        f"{count_runs(exits)}."
    )


def trials_sentence(trials: pd.DataFrame) -> str:
    """Say which methods train the best light classifiers, and where PKD and cross-entropy stand.

    Args:
        trials: The table `trials`.

    Returns:
        A sentence.
    """
    summary = aggregate.method_summary(trials)
    told = []
    for modality, rows in summary.groupby("modality", sort=False):
        accuracy = rows.set_index("method")["accuracy"] * 100
        told.append(
            f"of the {MODALITY_NAMES[modality]} network {accuracy.idxmax()} is highest with {accuracy.max():.1f} % "
            f"(cross-entropy {accuracy['cross-entropy']:.1f} %, PKD {accuracy['PKD']:.1f} %)"
        )
    return f"By their mean accuracy, {'; '.join(told)}; {count_runs(trials)}."


def rates_sentence(trials: pd.DataFrame) -> str:
    """Say how cross-entropy and PKD compare at each learning rate.

    Args:
        trials: The table `trials`.

    Returns:
        A sentence.
    """
    light = trials[trials["kind"].isin(LIGHT_KINDS) & (trials["part"] == "test")]
    chosen = light[light["method"].isin(["ce", "pkd"])]
    sums = chosen.groupby(["lr_factor", "method"])[["correct", "clips"]].sum()
    accuracy = (100 * sums["correct"] / sums["clips"]).unstack("method")
    told = [f"{row.pkd - row.ce:+.1f} points at {factor:.2g} times the rate" for factor, row in accuracy.iterrows()]
    return f"Over all exits and networks, PKD less cross-entropy is {', '.join(told)} ({count_runs(trials)})."


def methods_table() -> str:
    """Set out what teaches by each method, and for how long.

    Returns:
        A Markdown table: a row a method of separate networks, with its teachers and their shares of the epochs.
    """
    rows = [(f"`{name}`", schedule(method)) for name, method in METHODS.items()]
    return as_markdown(pd.DataFrame(rows, columns=["method", "teachers, with their shares of the epochs"]))


def schedule(method: Method) -> str:
    """Say what teaches by a method, and for how long.

    Args:
        method: Of `schedules.METHODS` or `schedules.TEAM_METHODS`.

    Returns:
        Teachers in turn, each with its share of the epochs where there are several.
    """
    names = {LABELS: "labels", OWN: "the network's own end", **MODALITY_NAMES}
    told = [
        names[stage.teacher] if stage.share == 1 else f"{names[stage.teacher]} {_fraction(stage.share)}"
        for stage in method.stages
    ]
    if method.label_weight:
        told.append(f"with weight {_fraction(method.label_weight)} on the labels")
    return ", ".join(told)


def costs_sentence(cost: pd.DataFrame) -> str:
    """Say where leaving through an internal classifier costs more than the bare backbone to its end.

    Args:
        cost: The table `cost`.

    Returns:
        A sentence.
    """
    told = []
    for kind, rows in cost.groupby("kind", sort=False):
        means = rows[rows["exit"] < FINAL].groupby(["modality", "exit"])[["gmac", "gmac_ic", "gmac_bare"]].mean()
        dear = means[means["gmac"] >= means["gmac_bare"]]
        own = means["gmac_ic"].groupby("modality").sum() / means["gmac_bare"].groupby("modality").first()
        where = [f"exit {number} of the {MODALITY_NAMES[modality]} network" for modality, number in dear.index]
        named = f"at {', '.join(where)}" if where else "at none of them"
        told.append(
            f"With {aggregate.KIND_NAMES[kind]}, whose three together take {_range(100 * own)} % of their network's "
            f"own cost, leaving costs more than the bare network to its end {named}."
        )
    return " ".join(told)


def verdicts_sentence(frame: pd.DataFrame) -> str:
    """Count the verdicts.

    Args:
        frame: Of `judged`.

    Returns:
        A sentence.
    """
    if frame.empty:
        return "No results are committed yet."
    told = []
    for role in (PRIMARY, SECONDARY):
        rows = frame[frame["role"] == role]
        counts = ", ".join(f"{count} *{word}*" for word, count in rows["verdict"].value_counts().items())
        told.append(f"of {len(rows)} {role} comparisons {counts}")
    sets = frame["data"].unique()
    return f"On {' and '.join(sets)}: {'; '.join(told)}."


def _interval(row: Any) -> str:
    return f"reaches {100 * row.accuracy:.1f} % (95 % interval {100 * row.low:.1f} to {100 * row.high:.1f})"


def count_runs(frame: pd.DataFrame) -> str:
    """Say how many runs a table holds.

    Args:
        frame: With the columns split and seed.

    Returns:
        Such as `one run` or `15 runs`.
    """
    count = len(frame[["split", "seed"]].drop_duplicates())
    return "one run" if count == 1 else f"{count} runs"


def _fraction(value: float) -> str:
    return str(Fraction(value).limit_denominator(100))


def _figure(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else ""


def _estimate(row: Any) -> str:
    interval = f" ({row.low:.2f} to {row.high:.2f})" if np.isfinite(row.low) and np.isfinite(row.high) else ""
    return _figure(row.estimate) + interval


def _range(values: pd.Series) -> str:
    low, high = f"{values.min():.2g}", f"{values.max():.2g}"
    return low if low == high else f"{low} to {high}"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
