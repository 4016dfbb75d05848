"""Read the committed results: the tables that the book shows and judges. Needs no torch."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pandas as pd

from pkdlib import _files, _resources
from pkdlib.companion import presets
from pkdlib.companion.runs import store

NAMES = (
    *("curves", "exits", "trials", "temperatures", "ensembles", "weights"),
    *("early_exit", "policies", "latency", "decoding", "audit", "crossfit", "cost"),
    *("flatness", "flatness_spectrum", "flatness_slices", "flatness_surface", "flatness_exits", "flatness_biases"),
)

# The ending of a study's tables, which pandas unpacks as it reads: counts by group make long ones.
PACKED = ".csv.xz"
# A study of some of the classes of another, with their clips, whose results stand beside that one's.
CONTROL = "ucf101-12"


def folder(profile: str, dataset: str) -> Path:
    """Say where the committed results of some runs lie, or would lie.

    Args:
        profile: Of the runs.
        dataset: Of the runs.

    Returns:
        The folder of their tables.
    """
    return _resources.folder("results") / profile / dataset


def published(profile: str, dataset: str) -> Mapping[str, pd.DataFrame]:
    """Find committed results.

    Args:
        profile: Of the runs.
        dataset: Of the runs.

    Returns:
        Name -> table, which is read when it is first asked for; empty where none are committed. Tables of
        the time when there was one backbone do not name it: it is the default.
    """
    return _Tables(_paths(folder(profile, dataset), NAMES, PACKED))


def published_sets(fewest_seeds: int = 1) -> list[tuple[str, str]]:
    """List the committed results.

    Args:
        fewest_seeds: Leave out those of fewer seeds.

    Returns:
        (profile, dataset) pairs, those in the paper's regime first: its own data, and there the strong I-frame network.
    """
    records = [path.parent / store.RECORD for path in _resources.folder("results").glob(f"*/*/exits{PACKED}")]
    seeds = {path: {run["seed"] for run in _files.read_json(path)["runs"]} for path in records}
    found = [(p.parent.parent.name, p.parent.name) for p, own in seeds.items() if len(own) >= fewest_seeds]
    return sorted(found, key=_rank)


def decoder() -> pd.DataFrame | None:
    """Read the committed times of the decoder (`benchmarks/decode.py`).

    Returns:
        file, what, milliseconds and ratio; None where they are not committed.
    """
    table = _resources.folder("results") / "decode" / "speed.csv"
    return pd.read_csv(table) if table.is_file() else None


def readers() -> dict[str, pd.DataFrame]:
    """Read the committed comparison of readers of motion vectors (`benchmarks/readers.py`).

    Returns:
        `formats` and `speed`; empty where they are not committed.
    """
    return _tables("readers", ("formats", "speed"))


def throughput() -> pd.DataFrame | None:
    """Read the committed throughput of the paper's networks (`benchmarks/throughput.py`).

    Returns:
        network, variant, clips a second and more; None where they are not committed.
    """
    return _tables("throughput", ("throughput",)).get("throughput")


def feeding() -> dict[str, pd.DataFrame]:
    """Read the committed speed and memory of what decodes while a network trains (`benchmarks/feeding.py`).

    Returns:
        `speed` and `memory`; empty where they are not committed.
    """
    return _tables("feeding", ("speed", "memory"))


def grid() -> pd.DataFrame | None:
    """Read what became of a grid that was killed and started again (`benchmarks/grid.py`).

    Returns:
        One row of counts; None where it is not committed.
    """
    return _tables("grid", ("grid",)).get("grid")


def sessions() -> pd.DataFrame | None:
    """Read how soon pages that are opened alone show their first picture (`benchmarks/sessions.py`).

    Returns:
        version, page, seconds and memory; None where they are not committed.
    """
    return _tables("sessions", ("pages",)).get("pages")


def calibration(name: str) -> pd.DataFrame | None:
    """Read what was tried on validation clips before anything was judged.

    Args:
        name: `ucf101` or `marionette` (recipes and difficulty), or `smallest_effects` (what a study could show).

    Returns:
        A row a trial or an effect; None where it is not committed.
    """
    return _tables("calibration", (name,)).get(name)


def coverage() -> dict[str, pd.DataFrame]:
    """Read the committed simulation of intervals (`benchmarks/coverage.py`).

    Returns:
        `coverage`, `power` and `runs`; empty where they are not committed.
    """
    return _tables("coverage", ("coverage", "power", "runs"))


def _rank(names: tuple[str, str]) -> tuple:
    profile, dataset = names
    strong = any(profile.endswith(f"-{network}") for network in presets.IFRAME_NETWORKS)
    return not dataset.startswith("ucf101"), not strong, profile, dataset


def _tables(place: str, names: Iterable[str]) -> dict[str, pd.DataFrame]:
    return {name: pd.read_csv(path) for name, path in _paths(place, names, ".csv").items()}


def _paths(place: str | Path, names: Iterable[str], ending: str) -> dict[str, Path]:
    paths = {name: _resources.folder("results") / place / f"{name}{ending}" for name in names}
    return {name: path for name, path in paths.items() if path.is_file()}


class _Tables(Mapping[str, pd.DataFrame]):
    # Tables by name. Most readers want two or three of a study's twenty, and some tables are long.
    def __init__(self, paths: Mapping[str, Path]):
        self._paths, self._read = paths, {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self._read:
            table = pd.read_csv(self._paths[name])
            self._read[name] = table.assign(backbone=table.get("backbone", presets.DEFAULT))
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._paths

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)
