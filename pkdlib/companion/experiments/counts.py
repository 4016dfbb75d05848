"""Count right answers by group of clips: the form in which the tables keep every accuracy."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pkdlib.companion import workspace
from pkdlib.companion.workspace import Run

Rows = Iterator[dict[str, Any]]


def labels(run: Run, part: str) -> np.ndarray:
    """Return the labels of a part's clips.

    Args:
        run: Which.
        part: `train`, `validation` or `test`.

    Returns:
        (clips,) integers.
    """
    data = workspace.dataset(run.parameters)
    return np.array([data.clips[index].label for index in getattr(data.splits[run.split], part)])


def count(run: Run, part: str, scores: np.ndarray, where: Mapping[str, Any]) -> Rows:
    """Count the right answers of each group.

    Args:
        run: Which.
        part: `train`, `validation` or `test`: whose clips were scored.
        scores: (clips, classes), the highest answers.
        where: Columns that say what was scored.

    Yields:
        split, seed and backbone; these columns; and part, group, clips, correct.
    """
    right = scores.argmax(axis=1) == labels(run, part)
    for group, members in by_group(run, part):
        tally = {"clips": len(members), "correct": int(right[members].sum())}
        yield {**run.columns, **where, "part": part, "group": group, **tally}


def by_group(run: Run, part: str) -> list[tuple[str, np.ndarray]]:
    """Sort the clips of a part by group.

    Args:
        run: Which.
        part: `train`, `validation` or `test`.

    Returns:
        Each group's name, and the positions of its clips in that part.
    """
    data = workspace.dataset(run.parameters)
    names = np.array([data.clips[index].group for index in getattr(data.splits[run.split], part)])
    return [(str(name), np.flatnonzero(names == name)) for name in np.unique(names)]
