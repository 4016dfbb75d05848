"""The effects that the pages in `book/` take from the committed studies: figures with intervals, and their picture."""

import pandas as pd

from pkdlib.companion.book import display, verdict_charts
from pkdlib.companion.book.page_tables import verdict_tables
from pkdlib.companion.claims.verdicts import PRIMARY
from pkdlib.companion.names import STUDY_NAMES

MISSING = "(not measured)"

_STRONG = ("full-lite", "ucf101-25")
_MARIONETTE, _MARIONETTE_1 = ("full", "marionette"), ("full", "marionette_1")
_LARGE = ("large", "marionette_1")
_UT = ("full", "ut_interaction")

# Name -> claim and study; the effect is that of the claim's primary comparison.
EFFECTS = {
    "pkd_ucf101": ("ic-gain", _STRONG),
    "pkd_marionette": ("ic-gain", _MARIONETTE),
    "pkd_marionette_1": ("ic-gain", _MARIONETTE_1),
    "pkd_ut_interaction": ("ic-gain", _UT),
    "wise_ucf101": ("wise-fusion", _STRONG),
    "wise_marionette": ("wise-fusion", _MARIONETTE),
    "wise_marionette_1": ("wise-fusion", _MARIONETTE_1),
    "wise_ut_interaction": ("wise-fusion", _UT),
    "early_ucf101": ("early-exit", _STRONG),
    "early_marionette": ("early-exit", _MARIONETTE),
    "early_marionette_1": ("early-exit", _MARIONETTE_1),
    "early_ut_interaction": ("early-exit", _UT),
    "early_large": ("early-exit", _LARGE),
    "protocol_ucf101": ("protocol", _STRONG),
    "protocol_marionette": ("protocol", _MARIONETTE),
    "protocol_marionette_1": ("protocol", _MARIONETTE_1),
    "protocol_ut_interaction": ("protocol", _UT),
}

# The claims of the first page's picture, the data set that it begins with, and what it shows in words.
PICTURED = ("ic-gain", "wise-fusion", "early-exit", "protocol")
FIRST = "UCF-101"
_DESCRIPTION = "What PKD, WISE and leaving early change, and what the protocol adds: differences with their intervals"


def collect(judged: pd.DataFrame | None = None) -> dict[str, str]:
    """Give the effects.

    Args:
        judged: Of `verdict_tables.judged`; made where it is not given.

    Returns:
        Name -> such as `+0.2 (-2.2 to +2.6)`, for the substitutions of the book's pages.
    """
    frame = verdict_tables.judged() if judged is None else judged
    return {name: _told(frame, *wanted) for name, wanted in EFFECTS.items()}


def picture(judged: pd.DataFrame | None = None) -> str:
    """Draw four of the effects, of one data set after the other.

    Args:
        judged: As in `collect`.

    Returns:
        Markdown of a chart with a menu, for a substitution of the book's first page.
    """
    frame = verdict_tables.judged() if judged is None else judged
    if frame.empty:
        return MISSING
    drawn = verdict_tables.primary_effects(frame[frame["claim"].isin(PICTURED)])
    shown = display.show(verdict_charts.differences(drawn, first=FIRST), _DESCRIPTION)
    return f"```{{raw}} html\n{display.inline(shown.markup)}\n```"


def _told(frame: pd.DataFrame, claim: str, study: tuple[str, str]) -> str:
    if frame.empty:
        return MISSING
    own = (frame["claim"] == claim) & (frame["data"] == STUDY_NAMES[study]) & (frame["role"] == PRIMARY)
    rows = frame[own & frame["low"].notna()]
    return verdict_tables.effect(next(rows.itertuples())) if len(rows) else MISSING
