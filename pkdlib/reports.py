"""What the pages say of the tables: sentences whose every number comes from a table, and the table of verdicts."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from pkdlib import resources, results, runs, summaries, verdicts
from pkdlib.summaries import MODALITY_NAMES

FINAL = 4  # a network's own end, behind its three internal classifiers


def modality_sentence(profile: pd.DataFrame) -> str:
    """Say how motion and residual grow with the distance from the I-frame.

    Args:
        profile: Of `summaries.modality_profile`.

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
    return f"At the epoch that was kept, training and validation accuracy: {', '.join(told)} ({_count_runs(curves)})."


def weights_sentence(weights: pd.DataFrame) -> str:
    """Say which exits carry the WISE score once all are visited.

    Args:
        weights: The table `weights`.

    Returns:
        A sentence.
    """
    last = weights[(weights["method"] == "pkd") & (weights["prefix"] == weights["prefix"].max())]
    means = last.groupby("member")["weight"].mean().sort_values(ascending=False)
    ends = means[means.index.str.endswith(f"-{FINAL}")]
    finals = ends.abs().sum() / means.abs().sum()
    heaviest = ", ".join(f"{name} ({value:.2f})" for name, value in means.head(3).items())
    return (
        f"With all twelve exits visited, the heaviest are {heaviest}; the three final exits hold {100 * finals:.0f} % "
        f"of the weights' sum of absolute values, and {int((means < 0).sum())} exits weigh less than nothing "
        f"({_count_runs(weights)})."
    )


def judged(own: dict[str, pd.DataFrame] | None = None, *, dataset: str = "", profile: str = "") -> pd.DataFrame:
    """Judge every claim on all committed results, and set a reader's own run beside them, without a verdict.

    Args:
        own: Tables of the reader's own run.
        dataset: Of that run.
        profile: Of that run.

    Returns:
        The rows of `verdicts.judge`, with the columns data and, for the reader's own figures, yours.
    """
    frames = []
    for name, committed in results.published_sets():
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
        The data's name, and claim, comparison, verdict, paper, ours, smallest effect and, for the reader's own data,
        yours: all words and rounded figures.
    """
    for data, rows in frame.groupby("data", sort=False) if len(frame) else ():
        columns = {
            "claim": rows["title"].where(rows["title"] != rows["title"].shift(), ""),  # once, above its comparisons
            "comparison": rows["comparison"],
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
    points = frame[np.isfinite(frame["low"]) & np.isfinite(frame["high"]) & (frame["claim"] != "flatness-order")]
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
    for path in sorted(resources.folder("results").glob(f"*/*/{runs.TIMINGS}")):
        for name, cost in runs.read_json(path)["notebooks"].items():
            if name.startswith(notebook):
                where = f"`{path.parent.parent.name}` on {path.parent.name}"
                parts.append(f"{where}: {_minutes(cost['seconds'])}, {cost['peak_memory_mib'] / 1024:.1f} GB")
    return "Measured on 2 cores: " + ("; ".join(parts) if parts else "not yet") + "."


def backbones_sentence(exits: pd.DataFrame) -> str:
    """Say how the three backbones do on the test clips.

    Args:
        exits: The table `exits`.

    Returns:
        A sentence.
    """
    ends = summaries.accuracy_summary(exits)
    ends = ends[ends["exit"] == FINAL].drop_duplicates("modality").sort_values("accuracy", ascending=False)
    told = [f"the {MODALITY_NAMES[row.modality]} network {_interval(row)}" for row in ends.itertuples()]
    return f"On the test clips, {', '.join(told[:-1])} and {told[-1]} ({_count_runs(exits)})."


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
        f"{_count_runs(exits)}."
    )


def trials_sentence(trials: pd.DataFrame) -> str:
    """Say which methods train the best light classifiers, and where PKD and cross-entropy stand.

    Args:
        trials: The table `trials`.

    Returns:
        A sentence.
    """
    summary = summaries.method_summary(trials)
    told = []
    for modality, rows in summary.groupby("modality", sort=False):
        accuracy = rows.set_index("method")["accuracy"] * 100
        told.append(
            f"of the {MODALITY_NAMES[modality]} network {accuracy.idxmax()} is highest with {accuracy.max():.1f} % "
            f"(cross-entropy {accuracy['cross-entropy']:.1f} %, PKD {accuracy['PKD']:.1f} %)"
        )
    return f"By their mean accuracy, {'; '.join(told)}; {_count_runs(trials)}."


def rates_sentence(trials: pd.DataFrame) -> str:
    """Say how cross-entropy and PKD compare at each learning rate.

    Args:
        trials: The table `trials`.

    Returns:
        A sentence.
    """
    chosen = trials[(trials["kind"] == "light") & (trials["part"] == "test") & trials["method"].isin(["ce", "pkd"])]
    sums = chosen.groupby(["lr_factor", "method"])[["correct", "clips"]].sum()
    accuracy = (100 * sums["correct"] / sums["clips"]).unstack("method")
    told = [f"{row.pkd - row.ce:+.1f} points at {factor:.2g} times the rate" for factor, row in accuracy.iterrows()]
    return f"Over all exits and networks, PKD less cross-entropy is {', '.join(told)} ({_count_runs(trials)})."


def ensembles_sentence(ensembles: pd.DataFrame) -> str:
    """Say how WISE over all exits compares with its baselines.

    Args:
        ensembles: The table `ensembles`.

    Returns:
        A sentence.
    """
    summary = summaries.ensemble_summary(ensembles).set_index(["method", "rule"])["accuracy"]
    return (
        f"With all twelve exits of the PKD networks, WISE answers {summary['pkd', 'wise']:.1f} % of the test clips "
        f"rightly, their uniform mean {summary['pkd', 'uniform']:.1f} %; the bare backbones' three outputs alone, with "
        f"fitted weights, {summary['backbone', 'late_fitted']:.1f} % ({_count_runs(ensembles)})."
    )


def early_exit_sentence(early_exit: pd.DataFrame) -> str:
    """Say what early exit saves at what accuracy, and what fewer segments would.

    Args:
        early_exit: The table `early_exit`.

    Returns:
        A sentence.
    """
    means = _weighted(early_exit, ["method", "system", "setting"])
    cascade = means[(means["system"] == "wise_cascade") & (means["method"] == "pkd")]
    whole = cascade[cascade["setting"] == 1.0].iloc[0]
    half = cascade[cascade["gmac"] <= 0.75 * whole["gmac"]].sort_values("gmac").tail(1)
    fewer = means[means["system"] == "fewer_segments"].sort_values("gmac")
    text = f"Never leaving early costs {whole['gmac']:.3f} GMAC a clip at {100 * whole['accuracy']:.1f} %"
    for row in half.itertuples():
        text += f"; leaving at a confidence of {row.setting:g} costs {row.gmac:.3f} at {100 * row.accuracy:.1f} %"
    told = [f"{int(row.setting)} ({row.gmac:.3f} GMAC, {100 * row.accuracy:.1f} %)" for row in fewer.itertuples()]
    return f"{text}. Bare backbones, fused late, with fewer segments: {', '.join(told)}; {_count_runs(early_exit)}."


def costs_sentence(cost: pd.DataFrame) -> str:
    """Say where leaving through an internal classifier costs more than the bare backbone to its end.

    Args:
        cost: The table `cost`.

    Returns:
        A sentence.
    """
    means = cost[cost["exit"] < FINAL].groupby(["modality", "exit"])[["gmac", "gmac_bare"]].mean()
    dear = means[means["gmac"] >= means["gmac_bare"]]
    if dear.empty:
        return "Here every internal exit costs less than its bare backbone to the end."
    named = [f"exit {number} of the {MODALITY_NAMES[modality]} network" for modality, number in dear.index]
    return f"Leaving costs more than the bare backbone to its end at {', '.join(named)}."


def flatness_sentence(flatness: pd.DataFrame) -> str:
    """Say in how many runs the paper's order of sharpness holds, by measure.

    Args:
        flatness: The table `flatness`.

    Returns:
        A sentence.
    """
    told = []
    for measure in ("trace", "top_eigenvalue"):
        wide = flatness[flatness["measure"] == measure].pivot_table(
            index=["split", "seed"], columns="modality", values="value"
        )
        holds = (wide["iframe"] < wide["residual"]) & (wide["residual"] < wide["motion"])
        told.append(f"by the {measure.replace('_', ' ')} in {int(holds.sum())} of {len(wide)} runs")
    return f"The order I-frame < residual < motion of sharpness holds {' and '.join(told)}."


def verdicts_sentence(frame: pd.DataFrame) -> str:
    """Count the verdicts.

    Args:
        frame: Of `judged`.

    Returns:
        A sentence.
    """
    if frame.empty:
        return "No results are committed yet."
    counts = frame["verdict"].value_counts()
    told = [f"{count} *{word}*" for word, count in counts.items()]
    sets = frame["data"].unique()
    return f"Of {len(frame)} comparisons on {' and '.join(sets)}: {', '.join(told)}."


def _weighted(early_exit: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    sums = early_exit.assign(
        gmac=early_exit["gmac"] * early_exit["clips"], accuracy=early_exit["accuracy"] * early_exit["clips"]
    )
    means = sums.groupby(keys)[["gmac", "accuracy", "clips"]].sum()
    return means[["gmac", "accuracy"]].div(means["clips"], axis=0).reset_index()


def _interval(row: Any) -> str:
    return f"reaches {100 * row.accuracy:.1f} % (95 % interval {100 * row.low:.1f} to {100 * row.high:.1f})"


def _count_runs(frame: pd.DataFrame) -> str:
    count = len(frame[["split", "seed"]].drop_duplicates())
    return "one run" if count == 1 else f"{count} runs"


def _figure(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else ""


def _estimate(row: Any) -> str:
    interval = f" ({row.low:.2f} to {row.high:.2f})" if np.isfinite(row.low) and np.isfinite(row.high) else ""
    return _figure(row.estimate) + interval


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
