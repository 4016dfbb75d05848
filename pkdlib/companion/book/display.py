"""Show charts and pictures: in the companion's theme, with a description, offline and without JavaScript.

`show` turns any Altair chart into a still picture, an `<img>` that holds its own data: Jupyter shows it in a notebook
that it does not trust, of which it strips SVG elements and scripts. Its text is of a grey that reads on a light and on
a dark page. The book puts the picture into its pages as an SVG element (`inline`), whose text and axes take the colour
of the page's text, and its own script replaces that by an interactive view of the same specification.
"""

import base64
import hashlib
import html
import json
import re
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import vl_convert

from pkdlib.companion.book.encodings import NEUTRAL
from pkdlib.video import pictures

INK = "currentColor"  # of the text around the chart, where the chart is part of the page
# Elsewhere. No colour stands out more from both white and the near-black of dark themes: its contrast is 4.3:1 to each.
_STILL_INK = "#797979"
_STILL = re.compile(r'<img class="pkd-still" src="data:image/svg\+xml;base64,([^"]+)"[^>]*>')
# Attributes of an SVG element that say where something is.
_PLACES = re.compile(r' (?:transform|d|[xy][12]?)="[^"]*"')

_FONT = "Arial, Helvetica, 'Liberation Sans', sans-serif"
THEME = {
    "background": "transparent",
    "font": _FONT,
    "aria": False,  # the whole picture carries one description, given to `show`
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 12,
        "titleFontSize": 12.5,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "gridColor": INK,
        "gridOpacity": 0.13,
        "domainColor": INK,
        "domainOpacity": 0.45,
        "tickColor": INK,
        "tickOpacity": 0.45,
        "labelPadding": 4,
    },
    "axisX": {"grid": False},
    "axisY": {"domain": False, "ticks": False},
    "header": {"labelColor": INK, "titleColor": INK, "labelFontSize": 13, "labelFontWeight": "bold"},
    "legend": {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "orient": "top",
        "symbolSize": 80,
        "symbolStrokeWidth": 2,
        # Of symbols that stand for a shape or a dash alone, which would else be black.
        "symbolBaseFillColor": NEUTRAL,
        "symbolBaseStrokeColor": NEUTRAL,
        "symbolOpacity": 1,
        "labelLimit": 260,
        "columnPadding": 26,  # where the reader's font is wider than the one that measured, names do not run together
    },
    "title": {"color": INK, "fontSize": 13, "anchor": "start", "frame": "bounds", "subtitleColor": INK},
    "text": {"fill": INK, "fontSize": 11},
    "rule": {"stroke": INK},
    "line": {"strokeWidth": 2},
    "point": {"size": 70, "filled": True, "opacity": 1},
    "facet": {"spacing": 22},
    "concat": {"spacing": 22},
}


def show(chart: alt.TopLevelMixin, description: str) -> "Shown":
    """Return a chart as an object that notebooks and the book display.

    Args:
        chart: Any Altair chart; it is drawn in the companion's theme.
        description: What the chart shows, in a sentence or two, for readers who cannot see it.

    Returns:
        An object whose HTML is one self-contained image with the description, and the chart's specification beside it.

    Raises:
        ValueError: If the description is empty.
    """
    if not description.strip():
        raise ValueError("a chart needs a description of what it shows")
    spec = chart.to_dict()
    spec["config"] = THEME
    spec["description"] = description
    svg = _describe(vl_convert.vegalite_to_svg(spec, vl_version=vegalite_version()), description)
    # `</` would end the script element early.
    data = json.dumps(_rounded(spec), separators=(",", ":"), sort_keys=True).replace("</", "<\\/")
    body = f'<script type="application/json">{data}</script>'
    width, height = (round(float(re.search(rf'<svg [^>]*\b{side}="([\d.]+)"', svg)[1])) for side in ("width", "height"))
    still = _image("pkd-still", "image/svg+xml", svg.encode(), description, width, height)
    # No reader's screen draws it larger than its width.
    return Shown(f'<div class="pkd-chart" style="--pkd-width: {width}px">{still}{body}</div>', description)


def inline(markup: str) -> str:
    """Make the still pictures of charts part of a page, whose text's colour theirs takes then.

    Args:
        markup: HTML, of `show` or of anything else.

    Returns:
        The same, with an SVG element for each such picture.
    """
    return _STILL.sub(lambda match: base64.b64decode(match[1]).decode(), markup)


def picture(image: np.ndarray, description: str) -> "Shown":
    """Return an RGB image as an object that notebooks and the book display.

    Args:
        image: uint8 array of shape (height, width, 3), RGB.
        description: What the picture shows, for readers who cannot see it.

    Returns:
        An object whose HTML is one self-contained image that is never wider than its column.

    Raises:
        ValueError: If the description is empty.
    """  # noqa: DOC502
    return _shown(image, "image/png", pictures.png_bytes(image), description)


def photograph(image: np.ndarray, description: str) -> "Shown":
    """Return a picture of a video as an object that notebooks and the book display, in a tenth of `picture`'s bytes.

    Args:
        image: uint8 array of shape (height, width, 3), RGB.
        description: What the picture shows, for readers who cannot see it.

    Returns:
        An object whose HTML is one self-contained image that is never wider than its column.

    Raises:
        ValueError: If the description is empty.
    """  # noqa: DOC502
    return _shown(image, "image/jpeg", pictures.jpeg_bytes(image), description)


def _shown(image: np.ndarray, form: str, data: bytes, description: str) -> "Shown":
    if not description.strip():
        raise ValueError("a picture needs a description of what it shows")
    height, width = image.shape[:2]
    return Shown(_image("pkd-picture", form, data, description, width, height), description)


def table(frame: pd.DataFrame) -> "Shown":
    """Return a table as an object that notebooks and the book display, no cell cut short.

    Args:
        frame: Words and rounded figures.

    Returns:
        An object whose HTML is the table without its index.
    """
    with pd.option_context("display.max_colwidth", None):
        markup = frame.to_html(index=False, border=0, justify="left", classes="pkd-table")
        # Without its indentation, which is a fifth of a long table.
        return Shown(re.sub(r"\n +(?=<)", "\n", markup), frame.to_string(index=False))


def cards(frame: pd.DataFrame) -> "Shown":
    """Return a table of sentences, whose rows become cards on a narrow screen, so that no column is out of sight.

    Args:
        frame: Words and rounded figures; the first column names the rows.

    Returns:
        An object whose HTML is the table without its index.
    """
    head = "".join(f"<th>{html.escape(name)}</th>" for name in frame.columns)
    rows = [
        "".join(
            f'<td data-label="{html.escape(name)}">{html.escape(str(value))}</td>'
            for name, value in zip(frame.columns, row, strict=True)
        )
        for row in frame.itertuples(index=False)
    ]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    markup = f'<table class="pkd-table pkd-cards"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return Shown(markup, frame.to_string(index=False))


def folded(shown: "Shown", title: str) -> "Shown":
    """Return something to display that shows its title alone until a reader unfolds it.

    Args:
        shown: What unfolds.
        title: In plain words.

    Returns:
        An object whose HTML unfolds without a script.
    """
    markup = f"<details><summary>{html.escape(title)}</summary>{shown.markup}</details>"
    return Shown(markup, f"{title}\n{shown.description}")


class Shown:
    """Something to display: HTML for readers, its description for everything else."""

    def __init__(self, markup: str, description: str):
        """Keep the HTML and the description."""
        self.markup = markup
        self.description = description

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {"text/html": self.markup, "text/plain": self.description}

    def _repr_html_(self) -> str:
        return self.markup

    def __repr__(self) -> str:
        """Return the description, for consoles."""
        return self.description


def vegalite_version() -> str:
    """Return the version of Vega-Lite that the installed Altair writes, as vl-convert names it ("6.1")."""
    return ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])


def _rounded(part: Any) -> Any:
    # Half of a page would be digits that no picture shows.
    if isinstance(part, dict):
        return {name: _rounded(value) for name, value in part.items()}
    if isinstance(part, list):
        return [_rounded(value) for value in part]
    return float(f"{part:.6g}") if isinstance(part, float) else part


def _image(name: str, kind: str, content: bytes, description: str, width: int, height: int) -> str:
    data = base64.b64encode(content).decode("ascii")
    alt_text = html.escape(" ".join(description.split()))
    return (
        f'<img class="{name}" src="data:{kind};base64,{data}" alt="{alt_text}" '
        f'width="{width}" height="{height}" style="max-width:100%;height:auto">'
    )


def _describe(svg: str, description: str) -> str:
    # Vega goes on counting the names inside an SVG (of clips and gradients) from one chart to the next; counted anew,
    # they are the same whenever a chart is drawn. As a page holds many charts, each has a mark of its own.
    names = dict.fromkeys(re.findall(r'id="([^"]+)"', svg))
    numbers = {name: f"n{number}" for number, name in enumerate(names)}
    svg = re.sub(r'id="([^"]+)"', lambda match: f'id="{numbers[match[1]]}"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", lambda match: f"url(#{numbers[match[1]]})", svg)
    svg = _PLACES.sub(lambda match: re.sub(r"(\.\d\d)\d+", r"\1", match[0]), svg)  # hundredths of a pixel will do
    mark = hashlib.sha256(svg.encode()).hexdigest()[:8]
    svg = re.sub(r'id="', f'id="c{mark}-', svg)
    svg = re.sub(r"url\(#", f"url(#c{mark}-", svg)
    label = html.escape(" ".join(description.split()))
    return re.sub(r"<svg ", f'<svg role="img" aria-label="{label}" color="{_STILL_INK}" ', svg, count=1)
