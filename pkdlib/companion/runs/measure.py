"""Measure the wall time and the memory of some work, summed over all the processes that it starts."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from pkdlib import _files

_SAMPLING_SECONDS = 0.2
_SPACING = 20  # times what a sample took: the kernel walks all pages of a process for it


@dataclass(frozen=True)
class Cost:
    """What some work took.

    Attributes:
        seconds: Wall time.
        peak_memory_mib: Largest memory of this process and all that it started, in MiB, sampled up to five times a
            second, and for a twentieth of the time at most; a page that several share counts once (their proportional
            set sizes are added). None outside Linux.
    """

    seconds: float
    peak_memory_mib: float | None


@contextlib.contextmanager
def measured() -> Iterator[Callable[[], Cost]]:
    """Measure the work of a `with` block.

    Yields:
        A function that returns the cost, to be called after the block.
    """
    peak = 0.0
    stopped = threading.Event()

    def watch() -> None:
        nonlocal peak
        took = 0.0
        while not stopped.wait(max(_SAMPLING_SECONDS, _SPACING * took)):
            began = time.perf_counter()
            peak = max(peak, sum(_share(process) for process in _family(os.getpid())))
            took = time.perf_counter() - began

    watcher = threading.Thread(target=watch, daemon=True)
    if sys.platform == "linux":
        watcher.start()
    started = time.perf_counter()
    seconds = 0.0
    try:
        yield lambda: Cost(round(seconds, 1), round(peak, 1) or None)
    finally:
        seconds = time.perf_counter() - started
        stopped.set()


def remember(path: Path, kind: str, name: str, cost: Cost) -> None:
    """Add a cost to a file of timings, and bring the file's totals up to date.

    Args:
        path: The JSON file, made if missing. Its `total_seconds` is the sum, its `peak_memory_mib` the largest, over
            all that it holds, since the parts run one after the other.
        kind: Under which heading: `notebooks` or `build`.
        name: Of what was measured; an earlier cost of the same name is replaced.
        cost: What it took.
    """
    timings = _files.read_json(path) if path.is_file() else {}
    timings.setdefault(kind, {})[name] = asdict(cost)
    costs = [part for heading in timings.values() if isinstance(heading, dict) for part in heading.values()]
    timings["total_seconds"] = round(sum(part["seconds"] for part in costs), 1)
    timings["peak_memory_mib"] = max(part["peak_memory_mib"] or 0 for part in costs) or None
    _files.write_json(path, timings)


def _family(process: int) -> Iterator[int]:
    yield process
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a process that ended meanwhile
            for child in children.read_text(encoding="utf-8").split():
                yield from _family(int(child))


def _share(process: int) -> float:
    with contextlib.suppress(OSError):  # a process that ended meanwhile
        for line in Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0
