"""What the charts share: colours and shapes of series, and the encodings that use them."""

import json
import textwrap
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from pkdlib.companion.names import MODALITY_LABELS, MODALITY_NAMES, SERIES_NAMES

NEUTRAL = "#7f858c"  # of what has no colour of its own
# Every colour has a contrast of at least 3:1 (WCAG 2.1, 1.4.11) against the book's light and its dark
# background, and they stay apart for the three kinds of colour blindness; tests/companion/book/test_charts.py computes
# both.
MODALITY_COLOURS = {"iframe": "#4269d0", "motion": "#d4680a", "residual": "#1d9a55", "joint": "#b7439b"}
_OWN_COLOURS = {f"{MODALITY_NAMES[name]} network": colour for name, colour in MODALITY_COLOURS.items()}
SERIES_COLOURS = (NEUTRAL, "#9a3fd8", "#b58400", "#0f9bb0", "#d92c2c", "#3f9142")
SERIES_SHAPES = ("circle", "diamond", "square", "triangle-up", "triangle-down", "cross")

PLAIN_NUMBERS = "~g"  # 0.1, not 100m, as Vega writes it on a logarithmic axis
RULES = ("uniform", "wise", "last", "late_equal", "late_fitted")
VERDICT_COLOURS = {"holds": "#0f9bb0", "does not hold": "#d92c2c", "undecided": NEUTRAL}


def kept(frame: pd.DataFrame) -> list[str]:
    """Name the columns that say whose rows are, which averages keep apart.

    Args:
        frame: A table, of one study or of several.

    Returns:
        Those of `study` and `dataset` that it has.
    """
    return [name for name in ("study", "dataset") if name in frame.columns]


def per_cent(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Turn fractions into per cent.

    Args:
        frame: A table.
        *columns: Which to turn; those that it lacks are left out.

    Returns:
        A new table.
    """
    return frame.assign(**{name: frame[name] * 100 for name in columns if name in frame.columns})


def run_names(frame: pd.DataFrame) -> pd.Series:
    """Name each row's run.

    Args:
        frame: With the columns split and seed.

    Returns:
        Such as `split 0, seed 3`.
    """
    return "split " + frame["split"].astype(str) + ", seed " + frame["seed"].astype(str)


def series(column: pd.Series) -> list[str]:
    """Return the names to colour, in a fixed order for the methods that every page compares.

    Args:
        column: Names, repeated.

    Returns:
        Each once.
    """
    known = [SERIES_NAMES[method] for method in ("ce", "pkd", "backbone")]
    names = list(dict.fromkeys(column))
    return [name for name in known if name in names] + [name for name in names if name not in known]


def stroke_legend(orient: str = "top", columns: int | None = None) -> alt.Legend:
    """Make the legend of stroke dashes.

    Args:
        orient: Where it stands.
        columns: Of the legend; as many as fit where not given.

    Returns:
        The legend.
    """
    symbols = {"symbolType": "stroke", "symbolSize": 500, "symbolStrokeColor": SERIES_COLOURS[0]}
    return alt.Legend(title=None, orient=orient, columns=columns or 0, **symbols)


def series_colour(field: str, names: list[str], columns: int | None = None) -> alt.Color:
    """Encode series by colour; those that are a modality's network have its colour.

    Args:
        field: Their column.
        names: In the order of the legend.
        columns: Of the legend; as many as fit where not given.

    Returns:
        The encoding.
    """
    colours = _cycle(SERIES_COLOURS, len(names))
    scale = alt.Scale(
        domain=names, range=[_OWN_COLOURS.get(name, own) for name, own in zip(names, colours, strict=True)]
    )
    return alt.Color(f"{field}:N", title=None, scale=scale, legend=alt.Legend(columns=columns or 0))


def series_shape(field: str, names: list[str]) -> alt.Shape:
    """Encode series by the shape of their points.

    Args:
        field: Their column.
        names: In the order of the legend.

    Returns:
        The encoding.
    """
    return alt.Shape(f"{field}:N", title=None, scale=alt.Scale(domain=names, range=_cycle(SERIES_SHAPES, len(names))))


def _cycle(values: tuple[str, ...], count: int) -> list[str]:
    return [values[i % len(values)] for i in range(count)]


def modality_colour() -> alt.Color:
    """Encode modalities by colour, where their names stand beside what is coloured.

    Returns:
        The encoding, without a legend.
    """
    scale = alt.Scale(domain=list(MODALITY_COLOURS), range=list(MODALITY_COLOURS.values()))
    return alt.Color("modality:N", scale=scale, legend=None)


def modality_legend(frame: pd.DataFrame) -> alt.Color:
    """Encode modalities by colour, with a legend of those that there are.

    Args:
        frame: With the column modality.

    Returns:
        The encoding.
    """
    present = {name: colour for name, colour in MODALITY_COLOURS.items() if name in set(frame["modality"])}
    scale = alt.Scale(domain=list(present), range=list(present.values()))
    legend = alt.Legend(title=None, orient="top", labelExpr=label_expression(MODALITY_LABELS))
    return alt.Color("modality:N", scale=scale, legend=legend)


def modality_facet(
    frame: pd.DataFrame, labels: bool = True, order: Sequence[str] = tuple(MODALITY_COLOURS)
) -> alt.Column:
    """Give each modality a column of its own.

    Args:
        frame: With the column modality.
        labels: Whether the columns are named.
        order: Of the modalities.

    Returns:
        The encoding.
    """
    present = [name for name in order if name in set(frame["modality"])]
    header = alt.Header(labels=labels, labelExpr=label_expression(MODALITY_LABELS))
    return alt.Column("modality:N", title=None, sort=present, header=header)


def logarithmic(**axis: Any) -> dict[str, Any]:
    """Make the scale and the axis of a logarithmic encoding, which says 0.1, 1, 10.

    Args:
        **axis: Of the axis, such as its number of ticks.

    Returns:
        What an encoding takes as `scale` and `axis`.
    """
    return {"scale": alt.Scale(type="log"), "axis": alt.Axis(format=PLAIN_NUMBERS, **axis)}


def label_expression(labels: dict, wrap: bool = False) -> str:
    """Write the Vega expression that replaces identifiers by labels.

    Args:
        labels: Identifier to label.
        wrap: Whether a label breaks at its blanks.

    Returns:
        The expression.
    """
    table = {key: text.split() if wrap else text for key, text in labels.items()}
    return f"{json.dumps(table)}[datum.value] || datum.value"


def heading(name: str, letters: int = 22) -> str:
    """Break the name above a panel into short lines, for a header whose `labelExpr` is LINES.

    Args:
        name: In words.
        letters: Of a line at most.

    Returns:
        The same, with line breaks.
    """
    return textwrap.fill(name, letters)


LINES = r"split(datum.label, '\n')"


def tips(frame: pd.DataFrame, **titles: str) -> list[alt.Tooltip]:
    """Make the tooltips of numbers.

    Args:
        frame: The chart's table; columns that it lacks are left out.
        **titles: Column to title.

    Returns:
        The encodings.
    """
    return [alt.Tooltip(f"{name}:Q", title=t, format=".4~g") for name, t in titles.items() if name in frame.columns]
