"""Committed tables of flatness made again: from what was measured before, to what is measured now."""

import importlib.util

import pandas as pd
import pytest

from pkdlib import _files
from pkdlib.companion import folders, tables, workspace
from pkdlib.companion.experiments import flatness
from pkdlib.companion.parameters import Parameters
from pkdlib.companion.workspace import Run
from tests.conftest import REPOSITORY

spec = importlib.util.spec_from_file_location("flatness_again", REPOSITORY / "benchmarks" / "flatness_again.py")
again = importlib.util.module_from_spec(spec)
spec.loader.exec_module(again)

TINY = {
    "marionette_actors": 6,
    "marionette_actions": 2,
    "marionette_frames": 24,
    "input_size": 32,
    "candidates": 4,
    "backbone_epochs": 4,
    "threads": 1,
    "flatness_clips": 4,
    "flatness_probes": 2,
    "flatness_controls": "same,matched",
}


@pytest.fixture(scope="module")
def p(tmp_path_factory):
    place = tmp_path_factory.mktemp("again")
    return Parameters.for_profile("smoke", runs=str(place / "runs"), cache=str(place / "cache"), **TINY)


@pytest.fixture(scope="module")
def measured(p):
    return tables.table(p, "flatness")


def as_it_was(measured):
    """The table of a time when input curvature was in the input's own units."""
    wide = measured[measured["measure"] == "input_deviation"]
    keys = ["split", "seed", "control", "modality"]
    deviation = measured.merge(wide[[*keys, "value"]], on=keys, suffixes=("", "_of_input"))["value_of_input"].to_numpy()
    old = measured.copy()
    curved = old["measure"].isin(again.BY_INPUT)
    old.loc[curved, ["value", "standard_error"]] = old.loc[curved, ["value", "standard_error"]].div(
        deviation[curved] ** 2, axis=0
    )
    return old[old["measure"] != "input_deviation"]


def record_of(p):
    return tables._record(p) | {"steps": []}


def test_curvature_in_the_inputs_units_comes_out_as_it_is_measured_now(p, measured, tmp_path):
    path = tmp_path / f"flatness{again.results.PACKED}"
    as_it_was(measured).to_csv(path, index=False)
    _files.write_json(tmp_path / "run.json", record_of(p))
    for _ in range(2):  # a second time there is nothing to do
        again.judge_per_deviation(path, p)
        pd.testing.assert_frame_equal(pd.read_csv(path), measured, rtol=1e-8, check_dtype=False)
    told = again.record_of(path)["again"]["input_curvature"]
    assert {row["modality"]: row["deviation"] for row in told["deviations"]} == {
        modality: flatness.input_deviation(p, 0, modality) for modality in p.plan.networks
    }
    assert {row["data"] for row in told["deviations"]} == {workspace.dataset(p).checksum}


def test_other_clips_are_refused(p, measured):
    record = record_of(p) | {"data": {"checksum": "0"}}
    with pytest.raises(SystemExit, match="checksum is another"):
        again.per_deviation(as_it_was(measured), record, p)
    record = record_of(p)
    record["parameters"]["input_size"] = 96
    with pytest.raises(SystemExit, match="input_size was 96 then, and is 32 now"):
        again.per_deviation(as_it_was(measured), record, p)


def test_networks_at_matched_loss_are_trained_again_from_committed_rows_alone(p, measured, tmp_path):
    committed = measured[measured["control"] == "same"]
    old = committed.assign(control="matched", value=-1.0)
    other = old.assign(seed=1)
    record = record_of(p) | {"steps": [{"split": 0, "seed": 0, "steps": {"flatness-matched-motion": {}, "exits": {}}}]}
    elsewhere = Parameters.for_profile(
        "smoke", runs=str(tmp_path / "runs"), cache=p.cache, **TINY | {"flatness_controls": "matched"}
    )
    table, record = again.matched_again(pd.concat([committed, old, other]), record, Run(elsewhere, 0, 0))
    pd.testing.assert_frame_equal(table.reset_index(drop=True), measured, rtol=1e-6)
    assert not (folders.run_folder(elsewhere) / "split0" / "seed0" / "backbone-motion").exists()
    assert record["again"]["matched"]["seeds"] == [0]
    (steps,) = record["steps"]
    assert steps["steps"]["exits"] == {} and steps["steps"]["flatness-matched-motion"]["again"]
