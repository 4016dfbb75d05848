"""When a teacher helps: the lines and the points, as tables and as what charts draw."""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from pkdlib.companion import advantages
from pkdlib.companion.advantages import ALL, PAPER, Line
from pkdlib.companion.book.page_tables.layout import span, with_interval
from pkdlib.companion.names import KIND_NAMES, METHOD_NAMES, MODALITY_NAMES
from pkdlib.companion.presets import LIGHT_KINDS
from pkdlib.statistics.differences import NotMeasured

SHAPES = {"straight": "straight", "bent": "bent at equal accuracy"}
PER = 10  # points of advantage that a slope is told for


def fitted(cells: pd.DataFrame) -> dict[tuple[str, str], Line | str]:
    """Fit both shapes of line to every set of points.

    Args:
        cells: A table of cells, of `advantages`.

    Returns:
        (name of the set, shape) -> the line, or why there is none.
    """
    found: dict[tuple[str, str], Line | str] = {}
    measured = advantages.points(cells)
    for name, (chosen, by) in advantages.selections(cells).items():
        for shape in SHAPES:
            try:
                found[name, shape] = advantages.fit(chosen, shape, by, measured=measured)
            except NotMeasured as reason:
                found[name, shape] = str(reason)
    return found


def panels(
    cells: pd.DataFrame, lines: dict[tuple[str, str], Line | str]
) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """Yield what to draw for light classifiers, and for the paper's where these are others.

    Args:
        cells: A table of cells, of `advantages`.
        lines: Of `fitted`, through these cells.

    Yields:
        What the classifiers are called; their points, PKD's too; the lines wherever advantages were seen, with the
        columns shape, advantage, estimate, low, high.
    """
    points = advantages.points(cells)
    light = points["kind"].isin(LIGHT_KINDS)
    for name, own in ((ALL, points[light]), (PAPER, points[~light])):
        drawn = [pd.DataFrame(columns=["shape", "advantage", "estimate", "low", "high"])]
        for shape, title in SHAPES.items():
            if isinstance(line := lines[name, shape], Line):
                drawn.append(line.over_the_seen().assign(shape=title))
        if len(own):
            yield " and ".join(map(KIND_NAMES.get, own["kind"].unique())), own, pd.concat(drawn[1:] or drawn)


def lines_table(lines: dict[tuple[str, str], Line | str]) -> pd.DataFrame:
    """Set the lines out for reading.

    Args:
        lines: Of `fitted`.

    Returns:
        A row a line, all words and rounded figures.
    """
    rows = []
    for (name, shape), line in lines.items():
        row = {"points of": name, "line": SHAPES[shape]}
        if isinstance(line, Line):
            slopes = [with_interval(slope, per=PER) for slope in line.slopes().itertuples()]
            row |= {
                "points": f"{line.num_points}",
                "reliability of advantages": f"{line.reliability:.2f}",
                "gain at equal accuracy": with_interval(next(line.at([0.0]).itertuples())),
                f"{PER} points of advantage add": ", then ".join(slopes[:2]),
                "the bend adds": "".join(slopes[2:]),
                "crosses 0 at": _zero(line) if shape == "straight" else "",
                "costs at": _stretches(line.decided(-1)),
                "pays at": _stretches(line.decided(1)),
            }
        else:
            row["gain at equal accuracy"] = f"no line: {line}"
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def main_lines(lines: dict[tuple[str, str], Line | str]) -> pd.DataFrame:
    """Set out the lines through all points of light classifiers.

    Args:
        lines: Of `fitted`.

    Returns:
        These rows of `lines_table`.
    """
    return lines_table({key: line for key, line in lines.items() if key[0] == ALL})


def points_table(points: pd.DataFrame) -> pd.DataFrame:
    """Set the points out for reading.

    Args:
        points: Of `advantages.points`.

    Returns:
        A row a point, all words and rounded figures.
    """
    return pd.DataFrame(
        {
            "data": points["data"],
            "classifiers": points["kind"].map(KIND_NAMES),
            "student network": points["student"].map(MODALITY_NAMES),
            "exit": points["exit"].map("{:.0f}".format),
            "taught by": points["method"].map(METHOD_NAMES),
            "advantage (points)": _figures(points, "advantage"),
            "gain (points)": _figures(points, "gain"),
        }
    )


def counted(points: pd.DataFrame) -> pd.DataFrame:
    """Count the points that gain or lose by their own intervals, by what their teacher is to the student.

    Args:
        points: Of `advantages.points`.

    Returns:
        Who teaches (PKD by its last teacher), what that network is to the student's, and the points: how many gain, how
        many lose, and all.
    """
    pkd, rows = points["method"] == "pkd", []
    for name, own in (("a single teacher", points[~pkd]), ("PKD's last teacher", points[pkd])):
        sides = {
            "weaker than the student's network": own["advantage"] < 0,
            "stronger": own["advantage"] > 0,
            "the student's network itself": own["teacher"] == own["student"],
        }
        for words, side in sides.items():
            gains, loses = (own[side]["gain_low"] > 0).sum(), (own[side]["gain_high"] < 0).sum()
            if side.any():
                counts = {"gain": str(gains), "lose": str(loses), "points": str(side.sum())}
                rows.append({"taught by": name, "which is": words} | counts)
    return pd.DataFrame(rows)


def _zero(line: Line) -> str:
    crossing = line.zero()
    return "not told" if crossing is None else _crossing(*crossing)


def _crossing(at: float, *ends: float) -> str:
    return f"{at:+.1f} ({' to '.join(f'{end:+.1f}' if np.isfinite(end) else 'beyond' for end in ends)})"


def _stretches(stretches: Iterable[tuple[float, float]]) -> str:
    return " and ".join(span(*stretch) for stretch in stretches) or "none seen"


def _figures(points: pd.DataFrame, name: str) -> list[str]:
    rows = points[[name, f"{name}_low", f"{name}_high"]].set_axis(["estimate", "low", "high"], axis=1)
    return [with_interval(row) for row in rows.itertuples()]
