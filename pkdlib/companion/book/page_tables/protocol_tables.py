"""The protocol, as tables: what teaches by each method, and what the reference's choices do to the gains."""

from fractions import Fraction

import pandas as pd

from pkdlib.companion.claims import aggregate
from pkdlib.companion.names import MODALITY_NAMES
from pkdlib.distillation.schedules import LABELS, METHODS, OWN, TEAM_METHODS, Method


def methods() -> pd.DataFrame:
    """Set out what teaches by each method, and for how long.

    Returns:
        A row a method: its teachers in turn, each with its share of the epochs where there are several, for separate
        networks and for TEAM-Net.
    """
    rows = [
        {
            "method": f"`{name}`",
            "teachers, with their shares of the epochs": _schedule(method),
            "TEAM-Net's": _schedule(TEAM_METHODS[name]) if name in TEAM_METHODS else "",
        }
        for name, method in METHODS.items()
    ]
    return pd.DataFrame(rows)


def gains() -> pd.DataFrame:
    """Set out what all of the reference's choices together do to the gains, in every committed study that measured it.

    Returns:
        A row a study, a column a gain: by the clean protocol, and with the choices.
    """
    rows = []
    for data, summary in aggregate.audited_studies():
        row = {"results": data}
        for gain, own in summary.groupby("gain", sort=False):
            ends = [_signed(own["difference"].iloc[which]) for which in (0, -1)]
            row[f"{gain} ({own['unit'].iloc[0]})"] = " → ".join(ends)
        rows.append(row)
    return pd.DataFrame(rows)


def _schedule(method: Method) -> str:
    called = {LABELS: "labels", OWN: "the network's own end", **MODALITY_NAMES}
    told = [
        called[stage.teacher] if stage.share == 1 else f"{called[stage.teacher]} {_fraction(stage.share)}"
        for stage in method.stages
    ]
    if method.label_weight:
        told.append(f"with weight {_fraction(method.label_weight)} on the labels")
    return ", ".join(told)


def _fraction(value: float) -> str:
    return str(Fraction(value).limit_denominator(100))


def _signed(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}"  # adding 0 takes the sign of -0.0 away
