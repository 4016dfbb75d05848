"""What the pages say of combined exits and of early exit: sentences whose every number comes from a table."""

import pandas as pd

from pkdlib.companion.book.prose.reports import FINAL, as_markdown, count_runs
from pkdlib.companion.claims import aggregate
from pkdlib.companion.claims.aggregate import KIND_NAMES, MODALITY_NAMES
from pkdlib.companion.presets import LIGHT_KINDS, PAPER_KINDS

NO_SAVING = 1.0  # the share of the cost of running everything
HALF = 0.5


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
        f"With all {len(means)} exits visited, the heaviest are {heaviest}; the networks' own ends hold "
        f"{100 * finals:.0f} % of the weights' sum of absolute values, and {int((means < 0).sum())} exits weigh less "
        f"than nothing "
        f"({count_runs(weights)})."
    )


def ensembles_sentence(ensembles: pd.DataFrame) -> str:
    """Say how WISE over all exits of the paper's classifiers compares with its baselines.

    Args:
        ensembles: The table `ensembles`.

    Returns:
        A sentence.
    """
    (kind,) = (kind for kind in PAPER_KINDS if kind in set(ensembles["kind"]))
    accuracy = _accuracies(ensembles, kind)
    return (
        f"With all {ensembles['prefix'].max()} exits trained by PKD, WISE answers {accuracy['WISE']:.1f} % of the test "
        f"clips rightly, their uniform mean {accuracy['uniform mean']:.1f} %; the bare networks' outputs alone, with "
        f"fitted weights, {accuracy['late fusion, fitted weights']:.1f} % ({count_runs(ensembles)})."
    )


def rules_sentence(ensembles: pd.DataFrame) -> str:
    """Say which rules do best, and what fitting on training logits does.

    Args:
        ensembles: The table `ensembles`.

    Returns:
        A sentence.
    """
    told = []
    for kind in (kind for kind in KIND_NAMES if kind in set(ensembles["kind"])):
        name = KIND_NAMES[kind]
        accuracy = _accuracies(ensembles, kind).sort_values(ascending=False)
        lost = accuracy["WISE"] - accuracy["WISE on training logits"]
        best = f"{accuracy.index[0]} is highest with {accuracy.iloc[0]:.1f} %"
        rank = list(accuracy.index).index("WISE") + 1
        told.append(
            f"with {name} {best}, WISE ranks {rank} of {len(accuracy)} with {accuracy['WISE']:.1f} %, and fitting it "
            f"on training logits instead of validation's changes that by {-lost:+.1f} points"
        )
    return f"By mean accuracy, {'; '.join(told)} ({count_runs(ensembles)})."


def early_exit_sentence(curves: pd.DataFrame) -> str:
    """Say what early exit saves at what accuracy, and what fewer segments would.

    Args:
        curves: The table `early_exit`.

    Returns:
        A sentence.
    """
    means = _weighted(aggregate.compared_methods(curves))
    told = []
    for name, rows in means.groupby("series", sort=False):
        if name.startswith("bare"):
            continue
        whole = rows.loc[rows["setting"].idxmax()]
        text = f"{name}: {whole['gmac']:.3f} GMAC a clip and {100 * whole['accuracy']:.1f} % without leaving early"
        for row in rows[rows["gmac"] <= 0.75 * whole["gmac"]].sort_values("gmac").tail(1).itertuples():
            text += f", {row.gmac:.3f} and {100 * row.accuracy:.1f} % at a confidence of {row.setting:g}"
        told.append(text)
    bare = means[means["series"].str.startswith("bare")].sort_values("gmac")
    fewer = [f"{int(row.setting)} ({row.gmac:.3f} GMAC, {100 * row.accuracy:.1f} %)" for row in bare.itertuples()]
    every = "; ".join(told)
    every = every[0].upper() + every[1:]
    return f"{every}. Bare networks with fewer segments: {', '.join(fewer)}. {count_runs(curves).capitalize()}."


def policies_sentence(points: pd.DataFrame, policies: pd.DataFrame) -> str:
    """Say what the light policies for half the cost do, set against running everything.

    Args:
        points: Of `aggregate.operating_points`.
        policies: The table `policies`.

    Returns:
        A sentence.
    """
    light = _light_policies(points).set_index("setting")
    half, whole = light.loc[HALF], light.loc[NO_SAVING]
    ratios = {
        name: 100 * half[name] / whole[name] for name in ("gmac", "milliseconds_1", "milliseconds_32", "decoding")
    }
    half_cost = policies[policies["kind"].isin(LIGHT_KINDS) & (policies["share"] == HALF)]
    chosen = half_cost.drop_duplicates(["split", "seed"])
    first = chosen["order"].str.split().str[0].value_counts()
    begun = ", ".join(f"{MODALITY_NAMES[name]} in {count}" for name, count in first.items())
    return (
        f"Light policies chosen on validation for half the cost answer {100 * half['accuracy']:.1f} % where running "
        f"everything answers {100 * whole['accuracy']:.1f} %, for {ratios['gmac']:.0f} % of its multiply-accumulates, "
        f"{ratios['milliseconds_1']:.0f} % of its wall time at a batch of 1, {ratios['milliseconds_32']:.0f} % at 32, "
        f"and {ratios['decoding']:.0f} % of its decoding time; the network that they visit first is the {begun} of "
        f"{len(chosen)} runs."
    )


def decoding_sentence(decoding: pd.DataFrame, points: pd.DataFrame) -> str:
    """Say what decoding each modality takes, beside the networks' time.

    Args:
        decoding: The table `decoding`.
        points: Of `aggregate.operating_points`.

    Returns:
        A sentence.
    """
    whole = decoding[decoding["segments"] == decoding["segments"].max()].groupby("modality")["milliseconds"].mean()
    told = ", ".join(f"{MODALITY_NAMES[name]} {value:.1f}" for name, value in whole.items())
    light = _light_policies(points)
    everything = light[light["setting"] == NO_SAVING]
    return (
        f"Decoding all segments of a clip takes, in milliseconds: {told}; running all networks with their light "
        f"classifiers takes {everything['milliseconds_1'].iloc[0]:.1f} at a batch of 1 and "
        f"{everything['milliseconds_32'].iloc[0]:.1f} at 32, on the machine of these runs: read ratios, not times."
    )


def audit_sentence(summary: pd.DataFrame) -> str:
    """Say what the reference's choices do to each gain.

    Args:
        summary: Of `aggregate.audit_summary`.

    Returns:
        Sentences.
    """
    told = []
    for gain, rows in summary.groupby("gain", sort=False):
        clean, others = rows.iloc[0], rows.iloc[1:]
        parts = [f"{_signed(row.difference)} with {row.switch}" for row in others.itertuples()]
        value = _signed(clean["difference"])
        told.append(f"*{gain}* ({clean['unit']}): {value} by the clean protocol, {', '.join(parts)}.")
    return " ".join(told)


def protocol_found() -> str:
    """Set out what all of the reference's choices together do to the gains, in every committed study that measured it.

    Returns:
        A Markdown table: each gain by the clean protocol, and with the choices.
    """
    rows = [
        {"results": data}
        | {
            f"{gain} ({rows['unit'].iloc[0]})": " → ".join(_signed(rows["difference"].iloc[which]) for which in (0, -1))
            for gain, rows in summary.groupby("gain", sort=False)
        }
        for data, summary in aggregate.audited_studies()
    ]
    return as_markdown(pd.DataFrame(rows)) if rows else "Not measured yet."


def _light_policies(points: pd.DataFrame) -> pd.DataFrame:
    return points[points["system"].isin([f"policy, {KIND_NAMES[kind]}" for kind in LIGHT_KINDS])]


def _signed(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}"  # adding 0 takes the sign of -0.0 away


def _accuracies(ensembles: pd.DataFrame, kind: str) -> pd.Series:
    summary = aggregate.rule_summary(ensembles)
    chosen = summary[summary["cascade"] == f"{KIND_NAMES[kind]}, PKD"]
    return 100 * chosen.set_index("rule")["accuracy"]


def _weighted(curves: pd.DataFrame) -> pd.DataFrame:
    sums = curves.assign(gmac=curves["gmac"] * curves["clips"], accuracy=curves["accuracy"] * curves["clips"])
    means = sums.groupby(["series", "setting"], sort=False)[["gmac", "accuracy", "clips"]].sum()
    return means[["gmac", "accuracy"]].div(means["clips"], axis=0).reset_index()
