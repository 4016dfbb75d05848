"""Pictures of ideas: what flat and sharp mean, and who teaches when."""

from collections.abc import Mapping

import altair as alt
import numpy as np
import pandas as pd

from pkdlib.companion.book import encodings
from pkdlib.companion.book.encodings import MODALITY_COLOURS, SERIES_COLOURS
from pkdlib.companion.names import METHOD_NAMES, MODALITY_NAMES
from pkdlib.distillation.schedules import LABELS, OWN, Method

_SHARP, _FLAT = 8.0, 1.0  # curvatures to draw, in no unit


def bowls() -> alt.LayerChart:
    """Draw a sharp and a flat minimum: the loss along one direction, to the second order.

    Returns:
        Two parabolas, and how much the loss rises in each for one and the same move of the weights.
    """
    moves = np.linspace(-1, 1, 81)
    names = {"sharp minimum": _SHARP, "flat minimum": _FLAT}
    frame = pd.concat([pd.DataFrame({"move": moves, "loss": c * moves**2 / 2, "minimum": n}) for n, c in names.items()])
    rises = frame[np.isclose(frame["move"], 0.6)].assign(zero=0.0)
    rises["move"] += [0.0, 0.02]  # side by side
    colour = encodings.series_colour("minimum", list(names))
    axis = alt.Axis(labels=False, ticks=False, grid=False)
    x = alt.X("move:Q", title="move of the weights, in one direction", axis=axis)
    y = alt.Y("loss:Q", title="training loss", axis=axis, scale=alt.Scale(domain=[0, 2]))
    lines = alt.Chart(frame).mark_line(clip=True, strokeWidth=3).encode(x=x, y=y, color=colour)
    rise = alt.Chart(rises).mark_rule(strokeWidth=4).encode(x=x, y="zero:Q", y2="loss:Q", color=colour)
    return alt.layer(lines, rise).properties(width=420, height=200)


def teachers(schedules: Mapping[str, Method]) -> alt.Chart:
    """Draw who teaches an exit, and for which share of the epochs, a row for each schedule.

    Args:
        schedules: Name -> schedule.

    Returns:
        Stacked bars, from the first teacher to the last.
    """
    called = {LABELS: "labels", OWN: "own end", **MODALITY_NAMES}
    colours = {LABELS: SERIES_COLOURS[0], OWN: SERIES_COLOURS[1], **MODALITY_COLOURS}
    rows = []
    for name, schedule in schedules.items():
        begins = 0.0
        for stage in schedule.stages:
            ends = begins + 100 * float(stage.share)
            row = {"schedule": METHOD_NAMES[name], "teacher": called[stage.teacher], "begins": begins, "ends": ends}
            rows.append(row | {"key": stage.teacher})
            begins = ends
    frame = pd.DataFrame(rows)
    present = dict(zip(frame["teacher"], frame["key"], strict=True))
    scale = alt.Scale(domain=list(present), range=[colours[key] for key in present.values()])
    return (
        alt.Chart(frame)
        .mark_bar(height=14)
        .encode(
            y=alt.Y("schedule:N", title=None, sort=[METHOD_NAMES[n] for n in schedules], axis=alt.Axis(labelLimit=220)),
            x=alt.X("begins:Q", title="training (% of the epochs)", scale=alt.Scale(domain=[0, 100])),
            x2="ends:Q",
            color=alt.Color("teacher:N", title="teacher", scale=scale),
            tooltip=["schedule:N", "teacher:N", *encodings.tips(frame, begins="from (%)", ends="to (%)")],
        )
        .properties(width=420, height=alt.Step(22))
    )
