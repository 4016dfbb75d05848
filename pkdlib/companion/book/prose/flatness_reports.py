"""What the page on flatness says of the tables."""

import pandas as pd

from pkdlib.companion.book.prose.reports import count_runs
from pkdlib.companion.claims.aggregate import MODALITY_NAMES
from pkdlib.companion.claims.claims import CLAIMS
from pkdlib.companion.claims.verdicts import SECONDARY
from pkdlib.companion.confounders import CONTROLS, MEASURES


def mix_rates() -> str:
    """Say at what rates the networks of the paper's proportions learn.

    Returns:
        Each rate but the motion network's as a part of it, and the I-frame network's as a part of the residual's.
    """
    factors = CONTROLS["mix"].lr_factors
    told = [f"the {MODALITY_NAMES[name]} network at 1/{1 / factor:.0f}" for name, factor in factors.items()]
    ratio = factors["residual"] / factors["iframe"]
    return f"{' and '.join(told)} of the motion network's rate, which is 1/{ratio:.0f} of the residual's"


def orders(frame: pd.DataFrame) -> pd.DataFrame:
    """Take the steps of the order of flatness, all secondary comparisons, out of all that were judged.

    Args:
        frame: Of `reports.judged`.

    Returns:
        Those that were measured, with the columns control (its title), measure and pair beside.
    """
    claims = {claim.id: claim.title.partition(": ")[2] for claim in CLAIMS if claim.kind == "order"}
    controls = {name: title for name, title in claims.items() if title}
    if frame.empty:
        return frame
    found = frame[frame["claim"].isin(controls) & frame["low"].notna() & (frame["role"] == SECONDARY)]
    measures, pairs = (found["comparison"].map(lambda name, part=part: name.partition(", ")[part]) for part in (0, 2))
    return found.assign(control=found["claim"].map(controls), measure=measures, pair=pairs)


def flatness_verdicts(found: pd.DataFrame) -> str:
    """Say for which measures, under which control, the paper's order of flatness holds in the committed studies.

    Args:
        found: Of `orders`.

    Returns:
        An item for each set of results and control, as Markdown.
    """
    lines = []
    for (data, control), rows in found.groupby(["data", "control"], sort=False) if len(found) else ():
        words: dict[str, list[str]] = {"holds": [], "does not hold": [], "undecided": []}
        for measure, pair in rows.groupby("measure", sort=False):
            verdicts_seen = set(pair["verdict"])
            word = "does not hold" if "does not hold" in verdicts_seen else "undecided"
            words["holds" if verdicts_seen == {"holds"} else word].append(measure)
        told = [f"{word} by {', '.join(names)}" for word, names in words.items() if names]
        lines.append(f"- {data}, {control}: the order {'; '.join(told)}.")
    return "\n".join(lines) or "No committed study has measured flatness yet."


def step_verdicts(found: pd.DataFrame) -> str:
    """Say by which measures one network's minimum is the sharper of two, in the committed studies.

    Args:
        found: Of `orders`.

    Returns:
        An item for each set of results, control and pair of networks that some measure decides, as Markdown.
    """
    lines = []
    for (data, control, pair), rows in found.groupby(["data", "control", "pair"], sort=False) if len(found) else ():
        first, second = (MODALITY_NAMES[name] for name in pair.split(" / "))
        told = []
        for sharper, flatter, decided in (
            (first, second, rows[rows["verdict"] == "holds"]),
            (second, first, rows[rows["qualifier"] == "reversed"]),
        ):
            if len(decided):
                told.append(f"{sharper} sharper than {flatter} by {', '.join(decided['measure'])}")
        if told:
            lines.append(f"- {data}, {control}: {'; '.join(told)}.")
    return "\n".join(lines) or "No measure decides between two networks."


def deviations_sentence(flatness: pd.DataFrame) -> str:
    """Say what input curvature is measured by.

    Args:
        flatness: The table `flatness`.

    Returns:
        A sentence.
    """
    deviations = flatness[flatness["measure"] == "input_deviation"].groupby("modality")["value"].mean()
    told = ", ".join(f"{MODALITY_NAMES[name]} {value:.2g}" for name, value in deviations.items())
    return f"Input curvature is per standard deviation of the input: {told}."


def flatness_sentence(flatness: pd.DataFrame) -> str:
    """Say in how many runs the paper's order of sharpness is seen, by measure.

    Args:
        flatness: The table `flatness`, of one control.

    Returns:
        A sentence.
    """
    if "joint" in set(flatness["modality"]):
        return "One network that joins the modalities has one minimum: there is no order to see."
    told = []
    for measure, title in MEASURES.items():
        wide = flatness[flatness["measure"] == measure].pivot(
            index=["split", "seed"], columns="modality", values="value"
        )
        seen = (wide["iframe"] < wide["residual"]) & (wide["residual"] < wide["motion"])
        told.append(f"{title} {int(seen.sum())}")
    return f"The order I-frame < residual < motion is seen, of {count_runs(flatness)}, in: {', '.join(told)}."
