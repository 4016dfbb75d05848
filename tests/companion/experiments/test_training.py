"""What a study's steps make again, and what they leave as it is."""

import pytest

from pkdlib import _files
from pkdlib.companion import presets, tables, workspace
from pkdlib.companion.experiments import exits as run_exits
from pkdlib.companion.experiments import steps as run_steps
from pkdlib.companion.parameters import Parameters
from pkdlib.companion.runs import fingerprints, store
from pkdlib.data import frame_cache
from pkdlib.data.marionette import marionette, marionette_1
from pkdlib.distillation import schedules
from pkdlib.distillation.schedules import Method, Stage
from pkdlib.video import motion

TINY = {
    "marionette_actors": 6,
    "marionette_actions": 2,
    "marionette_frames": 24,
    "input_size": 32,
    "candidates": 4,
    "batch_size": 6,
    "backbone_epochs": 1,
    "exit_epochs": 1,
    "threads": 1,
    "light_methods": "ce,pkd",
    "paper_methods": "ce,pkd",
}


@pytest.fixture
def made(monkeypatch):
    """The names of the steps that are made, as they are."""
    names, begin = [], store._begin

    def begins(partial, wanted):
        names.append(partial.name.removeprefix(".").removesuffix(".partial"))
        begin(partial, wanted)

    monkeypatch.setattr(store, "_begin", begins)
    return names


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("experiments")
    return {"runs": str(place / "runs"), "cache": str(place / "cache")}


def kinds_of(names):
    return sorted(name.partition("-")[0] + ("-backbones" if name == "logits-backbones" else "") for name in names)


@pytest.mark.slow
def test_a_method_that_is_added_trains_alone(folders, made, monkeypatch):
    def run_with(names):
        p = Parameters.for_profile("smoke", **folders, **TINY | {"light_methods": names, "paper_methods": names})
        return workspace.selected_runs(p)[0]

    before = {key: value.copy() for key, value in run_exits.of(run_with("ce,pkd")).logits.items()}
    assert kinds_of(made) == ["backbone"] * 3 + ["exits", "logits", "logits-backbones"]
    made.clear()

    run = run_with("ce,pkd,self")
    found = run_exits.of(run).logits
    assert kinds_of(made) == ["exits", "logits"]
    added = [name for name in made if name.startswith("exits")]
    curves = _files.read_json(run.store.root / added[0] / "curves.json")
    assert {row["method"] for row in curves} == {"self"}
    assert all((found[key] == value).all() for key, value in before.items())
    assert any("/self/" in key for key in found.keys() - before.keys())
    assert set(tables.table(run.parameters, "exits")["method"]) == {"backbone", "ce", "pkd", "self"}

    # A method of one's own, in the registry.
    mine = {"mine": Method((Stage("iframe", 0.5), Stage("own", 0.5)))}
    for registry in (schedules.METHODS, presets.PLANS["coviar"].methods):
        for name, method in mine.items():
            monkeypatch.setitem(registry, name, method)
    made.clear()
    found = run_exits.of(run_with("ce,pkd,self,mine")).logits
    assert kinds_of(made) == ["exits", "logits"] and any("/mine/" in key for key in found)
    made.clear()
    assert run_exits.of(run_with("ce,pkd")).logits.keys() == before.keys() and made == []

    # PKD's shares are changed: it alone is trained anew, and what is built on it is made anew.
    changed = {"pkd": Method((Stage("residual", 0.5), Stage("iframe", 0.5)))}
    monkeypatch.setitem(schedules.METHODS, "pkd", changed["pkd"])
    made.clear()
    run_exits.of.cache_clear()
    found = run_exits.of(run_with("ce,pkd")).logits
    assert kinds_of(made) == ["exits", "logits"]
    assert {
        key.split("/")[3] for key, value in found.items() if "backbone" not in key and (value != before[key]).any()
    } == {"pkd"}


@pytest.mark.slow
def test_what_is_kept_is_shown_as_it_was(folders, made, monkeypatch, capsys):
    p = Parameters.for_profile("smoke", **folders, **TINY, seed=1)
    (run,) = workspace.selected_runs(p)
    before = run_exits.of(run).tensors()
    made.clear()
    real = fingerprints.fingerprint
    monkeypatch.setattr(
        run_steps.fingerprints, "fingerprint", lambda *a, **o: real(*a, **o) | {"code": "another", "torch": "9.9"}
    )
    (kept,) = workspace.selected_runs(p.replace(keep=True))
    found = run_exits.of(kept).tensors()
    assert made == [] and all((found[key] == value).all() for key, value in before.items())
    told = capsys.readouterr().out
    for step in ("exits-", "logits-exits-", "logits-backbones"):
        assert step in told
    run_exits.of(run).tensors()
    assert kinds_of(made) == ["backbone"] * 3 + ["exits", "logits", "logits-backbones"]


@pytest.mark.slow
def test_the_caches_are_kept_under_the_code_that_fills_them(folders, monkeypatch):
    p = Parameters.for_profile("smoke", **folders, **TINY)
    clips, frames = workspace.dataset(p).clips[0].path.parents[1], workspace.frame_bank(p).paths[0].parent
    real = fingerprints.fingerprint

    def changed(which):
        def fingerprint(function, **options):
            return real(function, **options) | ({"av": "99"} if function is which else {})

        return fingerprint

    for which in (marionette.describe, frame_cache.frame_bank):
        monkeypatch.setattr(workspace.fingerprints, "fingerprint", changed(which))
        workspace.dataset.cache_clear()
        workspace.frame_bank.cache_clear()
        places = workspace.dataset(p).clips[0].path.parents[1], workspace.frame_bank(p).paths[0].parent
        assert (places[0] != clips) == (which == marionette.describe)
        assert places[1] != frames
    workspace.dataset.cache_clear()
    workspace.frame_bank.cache_clear()
    # What decodes is a part of the second, what draws of the first.
    assert f"video.motion:{motion.trace.__name__}" in fingerprints.reached(
        frame_cache.frame_bank, without=workspace.UNDECIDING
    )
    assert "data.marionette._scene:draw_scene" in fingerprints.reached(marionette_1.describe)
    assert {"data.marionette._scene:draw_scene", "data.marionette._props:_cello"} <= set(
        fingerprints.reached(marionette.describe)
    )
