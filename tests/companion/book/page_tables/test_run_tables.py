import ast
import platform
import sys
from importlib import metadata

import pandas as pd

from pkdlib import _resources
from pkdlib.companion.book.page_tables import run_tables
from pkdlib.companion.parameters import Parameters
from pkdlib.companion.runs import measure


def test_a_page_is_made_of_a_run_whose_memory_could_not_be_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with measure.measured() as cost:
        pass
    place = tmp_path / "results" / "quick" / "marionette" / "timings.json"
    measure.remember(place, "notebooks", "02_backbones", cost())
    folder = _resources.folder
    monkeypatch.setattr(_resources, "folder", lambda name: tmp_path / name if name == "results" else folder(name))
    p = Parameters.for_profile("quick", device="cpu")
    own, alone, here = run_tables.about("02", p).to_numpy().tolist()
    assert (own[1], alone[1], here[1]) == ("0 s", "at most 0 s", "the processor")
    assert len(run_tables.about("03", p)) == 1


def test_a_page_says_what_it_takes_at_its_own_profile_in_order_and_alone(tmp_path, monkeypatch):
    place = tmp_path / "results" / "quick" / "marionette"
    for number, seconds in (("02_backbones", 200.0), ("05_teachers", 10.0), ("06_wise", 7.0)):
        measure.remember(place / "timings.json", "notebooks", number, measure.Cost(seconds, 1024.0))
    (place / "runs").mkdir()
    (tmp_path / "results" / "sessions").mkdir()
    (tmp_path / "results" / "sessions" / "pages.csv").write_text(
        "version,page,import_seconds,first_result_seconds,whole_seconds,peak_memory_mib\n"
        "before,05_teachers,6,347,,1100\nnow,05_teachers,6,9,13,512\n",
        encoding="utf-8",
    )
    folder = _resources.folder
    monkeypatch.setattr(_resources, "folder", lambda name: tmp_path / name if name == "results" else folder(name))
    p = Parameters.for_profile("quick", device="cpu", recompute=False)
    told = run_tables.about("05", p).to_numpy().tolist()
    assert [row[1] for row in told[:3]] == [
        "10 s, 1.0 GB",
        "at most 3.5 min",
        "first picture after 9 s; all 13 s, 0.5 GB",
    ]
    assert len(run_tables.about("05", p.replace(exit_epochs=1))) == len(told) - 3  # it is no run of the profile's
    assert len(run_tables.about("05", Parameters.for_profile("smoke", recompute=False))) == 1


def test_a_page_records_every_parameter_as_one_would_type_it_and_the_versions():
    p = Parameters.for_profile("smoke", seed=0, threads=1)
    table = run_tables.record(p)
    assert table["name"].is_unique
    record = dict(table.to_numpy().tolist())
    typed = {name: ast.literal_eval(record.pop(name)) for name in p.flat()}
    assert Parameters.from_namespace(typed) == p
    assert record["torch"] == metadata.version("torch") and record["python"] == platform.python_version()


def test_policies_are_counted_by_the_network_that_they_visit_first():
    rows = [
        {"split": 0, "seed": seed, "group": group, "kind": kind, "share": share, "order": order}
        for seed, order in ((0, "motion iframe residual"), (1, "iframe motion residual"), (2, "motion residual iframe"))
        for group in "ab"
        for kind in ("light", "paper")
        for share in (0.5, 1.0)
    ]
    table = run_tables.visited_first(pd.DataFrame(rows))
    assert table.to_dict("records") == [
        {"share of the cost": share, "I-frame": "1", "motion-vector": "2"} for share in ("0.5", "1")
    ]
