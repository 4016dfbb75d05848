"""What the page on flatness says of the tables."""

import pandas as pd

from pkdlib.claims import CLAIMS
from pkdlib.controls import MEASURES
from pkdlib.reports import count_runs


def flatness_verdicts(frame: pd.DataFrame) -> str:
    """Say for which measures, under which control, the paper's order of flatness holds in the committed studies.

    Args:
        frame: Of `judged`.

    Returns:
        An item for each set of results and control, as Markdown.
    """
    lines = []
    claims = {claim.id: claim.title.partition(": ")[2] for claim in CLAIMS if claim.kind == "order"}
    orders = {name: title for name, title in claims.items() if title}
    found = frame[frame["claim"].isin(orders) & frame["low"].notna()] if len(frame) else frame
    for (data, claim), rows in found.groupby(["data", "claim"], sort=False) if len(found) else ():
        words: dict[str, list[str]] = {"holds": [], "does not hold": [], "undecided": []}
        for measure, pair in rows.groupby(rows["comparison"].str.partition(",")[0], sort=False):
            verdicts_seen = set(pair["verdict"])
            word = "does not hold" if "does not hold" in verdicts_seen else "undecided"
            words["holds" if verdicts_seen == {"holds"} else word].append(measure)
        told = [f"{word} by {', '.join(names)}" for word, names in words.items() if names]
        lines.append(f"- {data}, {orders[claim]}: the order {'; '.join(told)}.")
    return "\n".join(lines) or "No committed study has measured flatness yet."


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
