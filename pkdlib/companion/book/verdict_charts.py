"""The chart of the verdicts: one panel a claim, one row a study, every difference with its interval."""

import altair as alt
import pandas as pd

from pkdlib.companion.book import encodings
from pkdlib.companion.book.display import INK
from pkdlib.companion.book.encodings import VERDICT_COLOURS

_ALL = "all"


def differences(frame: pd.DataFrame, *, own: str = "", first: str = _ALL, margin: float = 1.0) -> alt.FacetChart:
    """Draw differences with their intervals against zero and the margin fixed beforehand: a forest plot.

    Args:
        frame: One row per comparison, in the order of drawing, with the columns claim (the panel), label (the row),
            dataset, estimate, low, high (percentage points) and verdict ("holds", "does not hold" or "undecided"). Rows
            without an estimate are left out.
        own: The label of rows that are a reader's own run, which has no verdict and stays whatever is chosen.
        first: The data set that is chosen before a reader chooses.
        margin: The smallest difference that matters, drawn as a dashed line.

    Returns:
        A chart with one panel a claim, and a menu that chooses the data set.
    """
    frame = frame.dropna(subset=["estimate"]).assign(zero=0.0, margin=margin)
    frame["claim"] = frame["claim"].map(lambda claim: encodings.heading(claim, 40))
    datasets = [name for name in dict.fromkeys(frame["dataset"]) if name != own]
    menu = alt.binding_select(options=[_ALL, *datasets], name="Data set: ")
    chosen = alt.param("dataset", value=first, bind=menu)
    base = alt.Chart(frame)
    y = alt.Y("label:N", title=None, sort=list(dict.fromkeys(frame["label"])), axis=alt.Axis(labelLimit=270, grid=True))
    axis = alt.X("low:Q", title="difference (percentage points)", axis=alt.Axis(tickCount=6))
    names = [*VERDICT_COLOURS, own] if own in set(frame["label"]) else list(VERDICT_COLOURS)
    shapes = dict(zip([*VERDICT_COLOURS, own], encodings.SERIES_SHAPES, strict=False))
    colour = alt.Color(
        "verdict:N",
        title=None,
        scale=alt.Scale(domain=names, range=[VERDICT_COLOURS.get(name, INK) for name in names]),
        legend=alt.Legend(orient="top"),
    )
    shape = alt.Shape("verdict:N", title=None, scale=alt.Scale(domain=names, range=[shapes[name] for name in names]))
    tips = encodings.tips(frame, estimate="difference (points)", low="from", high="to")
    layers = [
        base.mark_rule(opacity=0.7).encode(x="mean(zero):Q"),
        base.mark_rule(opacity=0.7, strokeDash=[4, 3]).encode(x="mean(margin):Q"),
        base.mark_rule(strokeWidth=3, opacity=0.75).encode(y=y, x=axis, x2="high:Q", color=colour),
        base.mark_point(size=90).encode(
            y=y, x="estimate:Q", color=colour, shape=shape, tooltip=["label:N", *tips, "verdict:N"]
        ),
    ]
    header = alt.Header(labelOrient="top", labelAnchor="start", labelPadding=2, labelExpr=encodings.LINES, title=None)
    claims = alt.Row("claim:N", title=None, sort=list(dict.fromkeys(frame["claim"])), header=header)
    panels = alt.layer(*layers).properties(width=330, height=alt.Step(22)).facet(row=claims, spacing=12)
    return (
        panels.resolve_scale(y="independent")
        .add_params(chosen)
        .transform_filter(f"dataset == '{_ALL}' || datum.dataset == dataset || datum.dataset == '{own}'")
    )
