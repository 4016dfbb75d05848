"""The library outside this study: the example runs, and stands in README and book as it is."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pkdlib.distillation import progressive
from pkdlib.early_exit import policies

ROOT = Path(__file__).resolve().parent.parent
SOURCE = (ROOT / "examples" / "own_project.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["README.md", "book/extending.md"])
def test_the_example_stands_on_the_page_as_it_runs(page):
    assert f"```python\n{SOURCE}```\n" in (ROOT / page).read_text(encoding="utf-8")


def test_it_is_thirty_lines_and_needs_nothing_of_the_study():
    code = [line for line in SOURCE.splitlines() if line.strip() and not line.strip().startswith(("#", '"""'))]
    assert len(code) <= 30
    assert not re.search("companion|run_folder|frame_cache|parameters", SOURCE.replace("net.parameters()", ""))


@pytest.mark.slow
def test_the_example_runs_anywhere(tmp_path):
    program = (
        f"import runpy, sys; runpy.run_path({str(ROOT / 'examples' / 'own_project.py')!r});"
        "study = [name for name in sys.modules if name.startswith(('pkdlib.companion', 'pkdlib.data.frame_cache'))];"
        "assert not study, study"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=tmp_path, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    rows = dict(line.split(": ") for line in done.stdout.splitlines())
    assert list(rows) == ["cross-entropy", "PKD"]
    for row in rows.values():
        right, exit_ = re.fullmatch(r"(\d+)% of 50 samples right, at exit ([\d.]+) of 6 on average", row).groups()
        assert int(right) > 50 and 1 <= float(exit_) < 5  # chance is 25 %
    assert not list(tmp_path.iterdir())


def test_the_solutions_on_the_page_to_try_run(monkeypatch, capsys):
    page = (ROOT / "book" / "try_it.md").read_text(encoding="utf-8")
    schedule, exits, criterion = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    schedules = {}
    exec(schedule, {"schedules": schedules, "progressive": progressive})
    assert [stage.teacher for stage in schedules["weakest last"].stages] == ["iframe", "residual", "motion"]
    exec(exits, {})
    assert capsys.readouterr().out.count("(200, 4)") == 4
    monkeypatch.setattr(policies, "CRITERIA", dict(policies.CRITERIA))
    exec(criterion, {})
    scores = np.array([[[0.0, 3.0, 0.0], [1.0, 1.1, 1.0]]])  # a sure exit and an unsure one
    sure, unsure = policies.CRITERIA["lead"](scores)[0]
    assert sure > unsure
