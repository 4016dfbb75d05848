"""Flatness, as tables: whether the paper's order holds, by measure and control, and what this run has of it."""

import pandas as pd

from pkdlib.companion.claims.claims import CLAIMS
from pkdlib.companion.claims.verdicts import SECONDARY
from pkdlib.companion.flatness_controls import CONTROLS, MEASURES
from pkdlib.companion.names import MODALITY_NAMES

# The claims that are about the order of flatness under some control -> that control's title.
ORDERS = {claim.id: claim.title.partition(": ")[2] for claim in CLAIMS if claim.kind == "order" and ": " in claim.title}


def rates() -> pd.DataFrame:
    """Set out at what learning rates the networks of the paper's proportions train.

    Returns:
        network, and its rate as a part of the motion-vector network's.
    """
    factors = {"motion": 1.0, **CONTROLS["mix"].lr_factors}
    rows = [(MODALITY_NAMES[name], "1" if factor == 1 else f"1/{1 / factor:.0f}") for name, factor in factors.items()]
    return pd.DataFrame(rows, columns=["network", "rate, of the motion-vector network's"])


def orders(frame: pd.DataFrame) -> pd.DataFrame:
    """Take the steps of the order of flatness, all secondary comparisons, out of all that were judged.

    Args:
        frame: Of `verdict_tables.judged`.

    Returns:
        Those that were measured, with the columns control (its title), measure and pair beside.
    """
    if frame.empty:
        return frame
    found = frame[frame["claim"].isin(ORDERS) & frame["low"].notna() & (frame["role"] == SECONDARY)]
    measures, pairs = (found["comparison"].map(lambda name, part=part: name.partition(", ")[part]) for part in (0, 2))
    return found.assign(control=found["claim"].map(ORDERS), measure=measures, pair=pairs)


def order_by_measure(found: pd.DataFrame) -> pd.DataFrame:
    """Set out by which measures, under which control, the paper's order of flatness holds.

    Args:
        found: Of `orders`.

    Returns:
        A row a measure, a column a set of results and control: the order holds if both of its steps do, and does not
        if either does not.
    """
    if found.empty:
        return pd.DataFrame()
    where = found["data"] + ", " + found["control"]
    words = found.groupby(["measure", where], sort=False)["verdict"].agg(_both)
    return _wide(words.unstack(fill_value=""), where)


def sharper_by_measure(found: pd.DataFrame) -> pd.DataFrame:
    """Set out which of two networks is the sharper, by the measures that decide it.

    Args:
        found: Of `orders`.

    Returns:
        A row a measure, a column a set of results and control: the steps that are decided, the sharper network first.
    """
    if found.empty:
        return pd.DataFrame()
    where = found["data"] + ", " + found["control"]
    told = found.assign(step=[_step(row) for row in found.itertuples()])
    cells = told.groupby(["measure", where], sort=False)["step"].agg(lambda steps: "; ".join(filter(None, steps)))
    return _wide(cells.unstack(fill_value=""), where)


def runs_in_order(flatness: pd.DataFrame) -> pd.DataFrame:
    """Count the runs in which the paper's order of sharpness is seen.

    Args:
        flatness: The table `flatness`, of any controls, or `flatness_biases`.

    Returns:
        A row a measure, a column a control or scene bias: how many of how many runs; empty for one network that joins
        the modalities.
    """
    by = "control" if "control" in flatness else "scene_bias"
    titles = {name: control.title for name, control in CONTROLS.items()}
    columns = {}
    for name, own in flatness[flatness["modality"] != "joint"].groupby(by, sort=False):
        wide = own.pivot(index=["measure", "split", "seed"], columns="modality", values="value")
        seen = ((wide["iframe"] < wide["residual"]) & (wide["residual"] < wide["motion"])).groupby("measure")
        counts = [f"{seen.get_group(measure).sum()} of {len(seen.get_group(measure))}" for measure in MEASURES]
        columns[titles[name] if by == "control" else f"scene bias {name:g}"] = counts
    return pd.DataFrame({"measure": list(MEASURES.values()), **columns}) if columns else pd.DataFrame()


def deviations(flatness: pd.DataFrame) -> pd.DataFrame:
    """Set out what input curvature is measured by.

    Args:
        flatness: The table `flatness`.

    Returns:
        network, and the standard deviation of its input.
    """
    means = flatness[flatness["measure"] == "input_deviation"].groupby("modality")["value"].mean()
    rows = [(MODALITY_NAMES[name], f"{value:.2g}") for name, value in means.items()]
    return pd.DataFrame(rows, columns=["network", "standard deviation of its input"])


def _both(steps: pd.Series) -> str:
    seen = set(steps)
    if seen == {"holds"}:
        return "holds"
    return "does not hold" if "does not hold" in seen else "undecided"


def _step(row: tuple) -> str:
    sharper, flatter = row.pair.split(" / ")
    if row.verdict != "holds":
        sharper, flatter = flatter, sharper
    decided = row.verdict == "holds" or row.qualifier == "reversed"
    return f"{MODALITY_NAMES[sharper]} over {MODALITY_NAMES[flatter]}" if decided else ""


def _wide(cells: pd.DataFrame, where: pd.Series) -> pd.DataFrame:
    present = [measure for measure in MEASURES.values() if measure in cells.index]
    return cells.loc[present, where.unique()].reset_index().rename_axis(columns=None)
