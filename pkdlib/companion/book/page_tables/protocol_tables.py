"""What teaches by each method, and what each choice of protocol makes of a gain: tables."""

from fractions import Fraction

import pandas as pd

from pkdlib.companion.book.page_tables.layout import with_interval
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


def gains(audited: pd.DataFrame) -> pd.DataFrame:
    """Set out each gain by the clean protocol, and under the reference's choices.

    Args:
        audited: Of `aggregate.audit_summary`.

    Returns:
        A row for each gain and choice: words, and points (of `cost saved` in per cent of running everything) with 95 %
        intervals.
    """
    told = [with_interval(row) for row in audited.assign(estimate=audited["difference"]).itertuples()]
    gain = audited["gain"].where(audited["gain"] != audited["gain"].shift(), "")
    return pd.DataFrame({"gain": gain, "choices": audited["switch"], "points (95 % interval)": told})


def saved() -> pd.DataFrame:
    """Set out how much of the cost of running everything leaving early saves, before any choice of the reference's.

    Returns:
        A row for each committed study that measured it: per cent with its 95 % interval.
    """
    rows = []
    for study, audited in aggregate.audited_studies():
        clean = audited[(audited["gain"] == "cost saved") & (audited["switch"] == "clean")]
        rows += [(study, told) for told in gains(clean)["points (95 % interval)"]]
    return pd.DataFrame(rows, columns=["study", "cost saved, % (95 % interval)"])


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
