"""Costs: memory is summed over processes that start and end meanwhile; timings keep their totals."""

import json
import subprocess
import sys
import time

import psutil
import pytest

from pkdlib.companion.runs import measure
from pkdlib.companion.runs.measure import Cost


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc, which Linux alone has")
def test_memory_is_summed_over_a_process_and_its_childrens_children():
    hold = "import time; held = b'x' * 150_000_000; time.sleep(2)"
    parent = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {hold!r}], check=True)"
    own = psutil.Process().memory_full_info().pss / 2**20
    with measure.measured() as cost:
        subprocess.run([sys.executable, "-c", parent], check=True)
    taken = cost()
    assert own + 140 < taken.peak_memory_mib < own + 300
    assert 2 < taken.seconds < 60


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc, which Linux alone has")
def test_memory_that_processes_share_counts_once():
    share = (
        "import mmap, os, time; held = mmap.mmap(-1, 150_000_000); held.write(b'x' * len(held)); "
        "children = [os.fork() for _ in range(2)]; sum(held[::4096]); time.sleep(2)"
    )
    own = psutil.Process().memory_full_info().pss / 2**20
    with measure.measured() as cost:
        subprocess.run([sys.executable, "-c", share], check=True)
    assert own + 140 < cost().peak_memory_mib < own + 400


def test_time_is_measured_also_of_work_that_fails():
    with pytest.raises(ValueError), measure.measured() as cost:
        time.sleep(0.2)
        raise ValueError
    assert 0.2 <= cost().seconds < 5


def test_timings_are_replaced_by_name_and_summed(tmp_path):
    path = tmp_path / "timings.json"
    measure.remember(path, "notebooks", "01_a", Cost(50.0, 900.0))
    measure.remember(path, "notebooks", "02_b", Cost(30.0, 700.0))
    measure.remember(path, "build", "book", Cost(20.5, None))
    measure.remember(path, "notebooks", "01_a", Cost(10.0, 600.0))
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "notebooks": {
            "01_a": {"seconds": 10.0, "peak_memory_mib": 600.0},
            "02_b": {"seconds": 30.0, "peak_memory_mib": 700.0},
        },
        "build": {"book": {"seconds": 20.5, "peak_memory_mib": None}},
        "total_seconds": 60.5,
        "peak_memory_mib": 700.0,
    }
