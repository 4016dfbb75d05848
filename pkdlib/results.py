"""Read the committed results: the tables that the book shows and judges. Needs no torch."""

from collections.abc import Iterable

import pandas as pd

from pkdlib import resources, runs

NAMES = ("curves", "exits", "trials", "ensembles", "weights", "early_exit", "policies", "cost", "flatness")


def published(profile: str, dataset: str) -> dict[str, pd.DataFrame]:
    """Read committed results.

    Args:
        profile: Of the runs.
        dataset: Of the runs.

    Returns:
        Name -> table; empty where none are committed.
    """
    return _tables(f"{profile}/{dataset}", NAMES)


def published_sets() -> list[tuple[str, str]]:
    """List the committed results.

    Returns:
        (profile, dataset) pairs.
    """
    folder = resources.folder("results")
    return sorted((path.parent.parent.name, path.parent.name) for path in folder.glob(f"*/*/{runs.RECORD}"))


def decoder() -> pd.DataFrame | None:
    """Read the committed times of the decoder (`benchmarks/decode.py`).

    Returns:
        file, what, milliseconds and ratio; None where they are not committed.
    """
    table = resources.folder("results") / "decode" / "speed.csv"
    return pd.read_csv(table) if table.is_file() else None


def readers() -> dict[str, pd.DataFrame]:
    """Read the committed comparison of readers of motion vectors (`benchmarks/readers.py`).

    Returns:
        `formats` and `speed`; empty where they are not committed.
    """
    return _tables("readers", ("formats", "speed"))


def coverage() -> dict[str, pd.DataFrame]:
    """Read the committed simulation of intervals (`benchmarks/coverage.py`).

    Returns:
        `coverage` and `power`; empty where they are not committed.
    """
    return _tables("coverage", ("coverage", "power"))


def _tables(place: str, names: Iterable[str]) -> dict[str, pd.DataFrame]:
    paths = {name: resources.folder("results") / place / f"{name}.csv" for name in names}
    return {name: pd.read_csv(path) for name, path in paths.items() if path.is_file()}
