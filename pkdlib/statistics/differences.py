"""What a claim is judged by: the differences of a pair of systems, run by run, and the tables that they come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

Tables = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Comparison:
    """The differences of one pair of systems; of several exits where the largest is asked for.

    Attributes:
        name: what is compared, as a reader sees it.
        tables: columns `split`, `seed`, (`group`,) `difference`; one table, or one for each exit.
        details: name -> figure of what else there is to know of it, for readers.
        missing: why there is no difference; empty where there is.
    """

    name: str
    tables: tuple[pd.DataFrame, ...] = ()
    details: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""


class NotMeasured(Exception):
    """The tables at hand do not let a claim be judged; the message says why."""


def required(tables: Tables, name: str, columns: list[str]) -> pd.DataFrame:
    """Take a table that a comparison needs.

    Args:
        tables: the result tables by name.
        name: of the table.
        columns: that it must have.

    Returns:
        The table.

    Raises:
        NotMeasured: If it is missing or empty.
        ValueError: If it lacks a column.
    """
    table = tables.get(name)
    if table is None or table.empty:
        raise NotMeasured(f"there is no table {name!r}: run the step that writes it")
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(f"table {name!r} lacks the columns {missing}; it has {list(table.columns)}")
    return table
