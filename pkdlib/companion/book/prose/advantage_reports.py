"""What the page on internal classifiers says of when a teacher helps: the lines and the points, in words and tables."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from pkdlib.companion import advantages
from pkdlib.companion.advantages import ALL, PAPER, WITHOUT, Line
from pkdlib.companion.claims.aggregate import KIND_NAMES, METHOD_NAMES, MODALITY_NAMES
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
    for name, (chosen, by) in advantages.selections(cells).items():
        for shape in SHAPES:
            try:
                found[name, shape] = advantages.fit(chosen, shape, by)
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
            slopes = [_told(slope, PER) for slope in line.slopes().itertuples()]
            row |= {
                "points": f"{line.num_points}",
                "reliability of advantages": f"{line.reliability:.2f}",
                "gain at equal accuracy": _told(next(line.at([0.0]).itertuples())),
                f"{PER} points of advantage add": slopes[0]
                if shape == "straight"
                else f"{slopes[0]}, then {slopes[1]}",
                "crosses 0 at": _zero(line) if shape == "straight" else "",
                "costs at": _stretches(line.decided(-1)),
                "pays at": _stretches(line.decided(1)),
            }
        else:
            row["gain at equal accuracy"] = f"no line: {line}"
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


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


def found(lines: dict[tuple[str, str], Line | str]) -> str:
    """Say what the lines through all points of light classifiers say, and what becomes of them without each study.

    Args:
        lines: Of `fitted`.

    Returns:
        Sentences.
    """
    straight, bent = (lines[ALL, shape] for shape in SHAPES)
    if isinstance(straight, str):
        return f"No line tells when a teacher helps: {straight}."
    slope = next(straight.slopes().itertuples())
    told = [
        f"By the straight line through {straight.num_points} points, at advantages of {_span(*straight.seen)}, a "
        f"teacher as good as the student network gains {_told(next(straight.at([0.0]).itertuples()))} points over "
        f"labels, and {PER} points of advantage add {_told(slope, PER)}. {_zero_sentence(straight)}"
    ]
    if isinstance(bent, Line):
        below, above, change = bent.slopes().itertuples()
        word = "The line does bend there" if change.low > 0 or change.high < 0 else "A bend there is not told from none"
        told.append(
            f"With a bend at equal accuracy, {PER} points of advantage add {_told(below, PER)} among teachers weaker "
            f"than the student network and {_told(above, PER)} among stronger ones. {word}: the difference is "
            f"{_told(change, PER)}. By that line teachers cost accuracy {_where(bent, -1)}, and pay {_where(bent, 1)}."
        )
    told.append(_left_out(lines))
    return " ".join(filter(None, told))


def seen(points: pd.DataFrame) -> str:
    """Count the points that gain or lose, by what their teacher is to the student.

    Args:
        points: Of `advantages.points`.

    Returns:
        A sentence for single teachers, and one for PKD, by its last teacher; empty where there are no points.
    """
    pkd, told = points["method"] == "pkd", []
    for name, it, own in (("a single teacher", "it", points[~pkd]), ("PKD", "its last teacher", points[pkd])):
        sides = {
            f"where {it} is weaker than the student network": own["advantage"] < 0,
            f"where {it} is stronger": own["advantage"] > 0,
            f"where {it} is the student network": own["teacher"] == own["student"],
        }
        parts = [f"{_counted(own[side])} {words}" for words, side in sides.items() if side.any()]
        if parts:
            told.append(f"By the points' own intervals, {name} {', '.join(parts)}.")
    return " ".join(told)


def _counted(points: pd.DataFrame) -> str:
    up, down = int((points["gain_low"] > 0).sum()), int((points["gain_high"] < 0).sum())
    return f"gains at {up} and loses at {down} of {len(points)} points"


def _left_out(lines: dict[tuple[str, str], Line | str]) -> str:
    slopes = {
        name: next(line.slopes().itertuples())
        for (name, shape), line in lines.items()
        if shape == "straight" and name.startswith(WITHOUT) and isinstance(line, Line)
    }
    if not slopes:
        return ""
    low, high = (choose(PER * slope.estimate for slope in slopes.values()) for choose in (min, max))
    told = f"Without one study or source of clips at a time, the straight line's slope is {low:+.1f} to {high:+.1f}"
    unsure = [name.removeprefix(WITHOUT) for name, slope in slopes.items() if slope.low <= 0 <= slope.high]
    return f"{told}; its interval holds 0 without {', or without '.join(unsure)}." if unsure else f"{told}."


def _zero_sentence(line: Line) -> str:
    crossing = line.zero()
    if crossing is None:
        return "Nowhere among these is it known to cross 0."
    return f"It crosses 0 at an advantage of {_crossing(*crossing)}."


def _zero(line: Line) -> str:
    crossing = line.zero()
    return "not told" if crossing is None else _crossing(*crossing)


def _crossing(at: float, *ends: float) -> str:
    return f"{at:+.1f} ({' to '.join(f'{end:+.1f}' if np.isfinite(end) else 'beyond' for end in ends)})"


def _where(line: Line, sign: int) -> str:
    stretches = line.decided(sign)
    return f"at advantages of {_stretches(stretches)}" if stretches else "at none that was seen"


def _stretches(stretches: Iterable[tuple[float, float]]) -> str:
    return " and ".join(_span(*stretch) for stretch in stretches) or "none seen"


def _span(low: float, high: float) -> str:
    return f"{low:+.1f} to {high:+.1f}"


def _told(interval: Any, per: float = 1.0) -> str:
    return f"{per * interval.estimate:+.1f} ({_span(per * interval.low, per * interval.high)})"


def _figures(points: pd.DataFrame, name: str) -> list[str]:
    rows = points[[name, f"{name}_low", f"{name}_high"]].set_axis(["estimate", "low", "high"], axis=1)
    return [_told(row) for row in rows.itertuples()]
