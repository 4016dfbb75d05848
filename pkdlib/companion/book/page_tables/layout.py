"""How tables for reading are written: figures with their intervals, and Markdown."""

from typing import Any

import numpy as np
import pandas as pd

MISSING = "(not run yet)"


def with_interval(found: Any, form: str = "{:+.1f}", per: float = 1.0) -> str:
    """Write an estimate with its interval.

    Args:
        found: With the attributes estimate, low and high.
        form: Of each figure.
        per: What they are multiplied by.

    Returns:
        Such as `+1.0 (-0.5 to +2.5)`; the estimate alone where the interval has no end, nothing where there is none.
    """
    estimate, low, high = (per * value for value in (found.estimate, found.low, found.high))
    if not np.isfinite(estimate):
        return ""
    told = form.format(estimate)
    return f"{told} ({span(low, high, form)})" if np.isfinite(low) and np.isfinite(high) else told


def span(low: float, high: float, form: str = "{:+.1f}") -> str:
    """Write a range.

    Args:
        low: Its lower end.
        high: Its upper end.
        form: Of each figure.

    Returns:
        Such as `-0.5 to +2.5`.
    """
    return f"{form.format(low)} to {form.format(high)}"


def figure(value: float, form: str = "{:.2f}") -> str:
    """Write a figure.

    Args:
        value: The figure.
        form: How.

    Returns:
        The figure; nothing where it is not finite.
    """
    return form.format(value) if np.isfinite(value) else ""


def as_markdown(frame: pd.DataFrame) -> str:
    """Write a table as Markdown.

    Args:
        frame: Words and rounded figures.

    Returns:
        Markdown; `MISSING` where the table has no rows.
    """
    if frame.empty:
        return MISSING
    lines = [frame.columns, ["---"] * len(frame.columns), *frame.to_numpy()]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
