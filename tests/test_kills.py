"""Every step that trains, killed after each checkpoint of each of its trainings, ends in the bits of one left alone."""

import dataclasses

import pytest

from pkdlib.companion import folders, workspace
from pkdlib.companion.experiments import backbones as run_backbones
from pkdlib.companion.experiments import crossfit, flatness, protocol
from pkdlib.companion.experiments import exits as run_exits
from pkdlib.companion.parameters import Parameters
from pkdlib.companion.runs import store
from pkdlib.training import loop
from tests.extent import nightly

TINY = {
    "dataset": "marionette_1",
    "marionette_actors": 6,
    "marionette_actions": 2,
    "marionette_frames": 24,
    "input_size": 32,
    "candidates": 4,
    "batch_size": 6,
    "backbone_epochs": 2,
    "exit_epochs": 2,
    "audit_epochs": 2,
    "threads": 1,
    "light_methods": "ce,pkd",
    "paper_methods": "ce,pkd",
    "flatness_clips": 4,
    "flatness_probes": 2,
    "flatness_controls": "same,matched,mix",
    "flatness_biases": "0.3",
}
FILES = ("*.safetensors", "*.json")


def of_every_network(step):
    return lambda run: [step(run, modality) for modality in run.parameters.plan.networks]


def of_control(control):
    return lambda run: [flatness.network_step(run, control, modality) for modality in run.parameters.plan.networks]


def of_other_bias(run):
    list(flatness.biases(run))
    return list((folders.run_folder(run.parameters).parent).rglob("backbone-*"))


def of_crossfit(run):
    run = dataclasses.replace(run, parameters=run.parameters.replace(crossfit_folds=2))
    return [*(crossfit.network_step(run, part) for part in range(2)), crossfit.exits_step(run)]


# Step -> how it is made, and the trainings that it is to hold.
STEPS = {
    "backbones": ("coviar", of_every_network(run_backbones.backbone_step), 3),
    "exits": ("coviar", lambda run: list(set(run_exits.of(run).steps().values())), 1),
    "audit": ("coviar", lambda run: [protocol.audit_step(run_exits.of(run))], 2),
    "crossfit": ("coviar", of_crossfit, 6),
    "matched": ("coviar", of_control("matched"), 1),
    "mix": ("coviar", of_control("mix"), 2),
    "biases": ("coviar", of_other_bias, 3),
    "teamnet": ("teamnet", of_every_network(run_backbones.backbone_step), 1),
    "teamnet exits": ("teamnet", lambda run: list(set(run_exits.of(run).steps().values())), 1),
}

# The others are trained by the same loops.
EACH = ("backbones", "exits", "audit", "crossfit", "teamnet exits")


class Killed(BaseException):
    """What no handler expects."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*EACH, *(pytest.param(name, marks=nightly) for name in STEPS if name not in EACH)])
def test_a_step_killed_after_each_checkpoint_ends_in_the_same_bits(tmp_path, cache, monkeypatch, name):
    backbone, make, fewest = STEPS[name]
    monkeypatch.setattr(loop, "CHECKPOINT_SPACING", 0)
    monkeypatch.setattr(loop, "CHECKPOINT_INTERVAL", 0)  # within epochs, too

    def run_in(folder):
        p = Parameters.for_profile("smoke", runs=str(tmp_path / folder), cache=cache, backbone=backbone, **TINY)
        return workspace.selected_runs(p)[0]

    def contents(folders):
        return {
            (folder.name, path.name): path.read_bytes()
            for folder in folders
            for pattern in FILES
            for path in folder.glob(pattern)
            if path.name not in (store.TIMINGS, store.RECORD)
        }

    whole = contents(make(run_in("alone")))
    assert whole

    save, kills, trainings = loop.Checkpoint.save, 0, set()

    def dies(checkpoint, state):
        save(checkpoint, state)
        # Once at each place of each training: what is saved again after a kill is gone on from.
        place = (checkpoint.path.parts[-3:], checkpoint.identity, len(state["curves"]), state["batch"])
        if place not in seen:
            seen.add(place)
            trainings.add((checkpoint.path, checkpoint.identity))
            raise Killed

    seen = set()
    monkeypatch.setattr(loop.Checkpoint, "save", dies)
    while True:
        try:
            resumed = contents(make(run_in("killed")))
            break
        except Killed:
            kills += 1
            assert kills < 400
    assert kills == len(seen) > 2 and len(trainings) >= fewest
    assert resumed.keys() == whole.keys()
    assert [key for key in whole if resumed[key] != whole[key]] == []
