"""The run that comes with the library: pages show it where there is none of one's own, and train what it lacks."""

import dataclasses
import json

import pytest

from pkdlib import _resources
from pkdlib.companion import export, tables, workspace
from pkdlib.companion.experiments import exits, steps
from pkdlib.companion.experiments.exits import Exits
from pkdlib.companion.parameters import Parameters
from pkdlib.companion.runs import store
from pkdlib.distillation import exit_specs, progressive

TINY = {
    "marionette_actors": 6,
    "marionette_actions": 2,
    "input_size": 32,
    "candidates": 4,
    "batch_size": 6,
    "backbone_epochs": 1,
    "exit_epochs": 2,
    "threads": 1,
    "light_methods": "ce,pkd",
    "paper_methods": "ce,pkd",
}
NAMES = ("curves", "exits", "trials", "ensembles", "early_exit", "policies")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    place = tmp_path_factory.mktemp("trained")
    p = Parameters.for_profile("smoke", runs=str(place / "runs"), cache=str(place / "cache"), **TINY)
    return p, tables.all_tables(p, NAMES)


@pytest.fixture(scope="module")
def shipped(trained, tmp_path_factory):
    """A folder of results that holds the steps of that run."""
    results = tmp_path_factory.mktemp("results")
    export.ship_runs(trained[0], results)
    return results


@pytest.fixture
def elsewhere(trained, shipped, tmp_path, monkeypatch):
    """The same parameters as a page takes them, where nothing is there; and the names of the steps that are made."""
    own = _resources.folder
    monkeypatch.setattr(_resources, "folder", lambda name: shipped if name == "results" else own(name))
    store._say_once.cache_clear()
    made, begin = [], store._begin
    monkeypatch.setattr(store, "_begin", lambda partial, wanted: made.append(partial.name) or begin(partial, wanted))
    place = {"runs": str(tmp_path / "runs"), "cache": str(tmp_path / "cache")}
    return trained[0].replace(recompute=False, **place), made


def test_its_tables_are_those_of_the_run_and_nothing_is_drawn_or_trained(trained, elsewhere, capsys, tmp_path):
    p, made = elsewhere
    for name, table in tables.all_tables(p, NAMES).items():
        assert table.equals(trained[1][name]), name
    assert not made and not list((tmp_path / "cache").rglob("*.mp4"))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("shown: the run that comes with pkdlib; to train for real, write recompute = True")


def test_the_weights_are_the_runs_in_half_precision(trained, elsewhere):
    p, _ = elsewhere
    (run,), (own,) = workspace.selected_runs(trained[0]), workspace.selected_runs(p)
    for kind in ("light", "paper"):
        whole, half = (exits.of(which).load(kind, "pkd") for which in (run, own))
        for reads in whole:
            for name, value in whole[reads].state_dict().items():
                assert (
                    half[reads]
                    .state_dict()[name]
                    .equal(value.half().to(value.dtype) if value.is_floating_point() else value)
                )


def test_a_schedule_of_ones_own_trains_its_exits_alone(elsewhere):
    p, made = elsewhere
    own = exits.of(workspace.selected_runs(p)[0])
    methods = {**own.methods, "mine": progressive(iframe=1 / 2, own=1 / 2)}
    specs = [*own.specs, *exit_specs("light", ["mine"], methods=methods, networks=p.plan.networks)]
    found = {row["method"] for row in Exits(own.backbones, specs, methods).accuracy()}
    assert found == {"ce", "pkd", "mine"}
    assert sorted(name.split("-")[0] for name in made) == [".exits", ".logits"]


def test_another_method_of_the_same_name_is_trained(elsewhere):
    p, _ = elsewhere
    own = exits.of(workspace.selected_runs(p)[0])
    changed = dataclasses.replace(own, methods={**own.methods, "pkd": progressive(iframe=1 / 2, own=1 / 2)})
    assert all(
        (step.parent == changed.run.store.shipped) == (spec.method == "ce") for spec, step in changed.steps().items()
    )


@pytest.mark.parametrize("change", [{"recompute": True}, {"backbone_epochs": 2}, {"marionette_appearance": 0.5}])
def test_what_is_asked_for_otherwise_is_trained(elsewhere, change):
    p, made = elsewhere
    tables.table(p.replace(**change), "curves")
    assert sorted(made) == [".backbone-iframe.partial", ".backbone-motion.partial", ".backbone-residual.partial"]


@pytest.mark.slow
def test_another_machine_and_another_recipe_of_the_exits_take_the_backbones(elsewhere):
    p, made = elsewhere
    (run,) = workspace.selected_runs(p.replace(exit_epochs=1, threads=2))
    assert exits.of(run).backbones.logits
    assert not made
    assert {step.parent for step in exits.of(run).steps().values()} == {run.store.root}


def test_ones_own_run_comes_first(trained, elsewhere, capsys):
    _, made = elsewhere
    own = trained[0].replace(recompute=False)
    assert tables.table(own, "exits").equals(trained[1]["exits"])
    (run,) = workspace.selected_runs(own)
    assert {step.parent for step in exits.of(run).steps().values()} == {run.store.root}
    assert not made and not capsys.readouterr().out


def test_an_earlier_version_is_told(elsewhere, shipped, capsys):
    p, made = elsewhere
    (record,) = shipped.rglob("backbone-iframe/run.json")
    content = json.loads(record.read_text(encoding="utf-8"))
    older = {**content, "made_by": {**content["made_by"], "code": "0"}}
    record.write_text(json.dumps(older), encoding="utf-8")
    try:
        (run,) = workspace.selected_runs(p)
        for _ in range(2):
            exits.of(run).backbones.steps()
    finally:
        record.write_text(json.dumps(content), encoding="utf-8")
    lines = capsys.readouterr().out.splitlines()
    assert "of an earlier version of its code" in lines[0] and len(lines) == 2 and not made


def test_a_step_says_what_drew_its_clips(trained):
    (run,) = workspace.selected_runs(trained[0])
    record = json.loads((run.store.root / "backbone-iframe" / store.RECORD).read_text(encoding="utf-8"))
    assert record["made_by"]["clips"].keys() == {"code", "av", "numpy"}
    assert steps.settings(run)["data"] == workspace.dataset(trained[0]).checksum
