"""Names on the API pages lead to the lines where they are defined."""

import re
from pathlib import Path

import pytest

from pkdlib import _resources
from pkdlib.companion.book import source_links

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("module", "name", "begins"),
    [
        ("pkdlib.statistics.intervals", "two_way_interval", "def two_way_interval("),
        ("pkdlib.statistics.intervals", "Interval", "@dataclass(frozen=True)"),
        ("pkdlib.flatness.objective", "Objective.__init__", "    def __init__("),
        ("pkdlib.companion.experiments.backbones", "Backbones.logits", "    @property"),
        ("pkdlib.flatness", "Objective", "class Objective"),  # offered here, defined elsewhere
    ],
)
def test_a_name_leads_to_its_lines(module, name, begins):
    address = source_links.source_address("py", {"module": module, "fullname": name})
    path, first, last = re.fullmatch(rf"{_resources.repository_url()}/blob/main/(.*)#L(\d+)-L(\d+)", address).groups()
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    assert lines[int(first) - 1].startswith(begins) and int(first) < int(last) <= len(lines)


@pytest.mark.parametrize("name", ["Interval.estimate", "RUN", "CELL.nothing"])
def test_what_has_no_lines_leads_nowhere(name):
    assert source_links.source_address("py", {"module": "pkdlib.statistics.intervals", "fullname": name}) is None
