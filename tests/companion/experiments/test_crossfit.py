"""The cross-fitted teacher: who has seen what, and that nothing else differs from the ordinary trials."""

import collections
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from pkdlib import _files
from pkdlib.companion import folders, tables, workspace
from pkdlib.companion.experiments import backbones as run_backbones
from pkdlib.companion.experiments import crossfit
from pkdlib.companion.experiments import exits as run_exits
from pkdlib.companion.experiments import steps as run_steps
from pkdlib.companion.parameters import ParameterError, Parameters
from pkdlib.companion.presets import PLANS
from pkdlib.data import loader
from pkdlib.data.datasets import Clip
from pkdlib.data.frame_cache import FrameBank
from pkdlib.distillation import exit_training, schedules
from pkdlib.distillation.specs import ExitSpec
from pkdlib.models import backbones
from pkdlib.training import trainer

TINY = {
    "marionette_actors": 6,
    "marionette_actions": 2,
    "marionette_frames": 24,
    "input_size": 32,
    "candidates": 4,
    "batch_size": 4,
    "backbone_epochs": 2,
    "exit_epochs": 2,
    "threads": 1,
    "light_methods": "ce,pkd,iframe",
    "paper_methods": "ce,pkd",
}
FOLDS = 3
RECIPE = trainer.Recipe(epochs=3, lr=0.01, tuning=PLANS["coviar"].exit_tuning)


def clips_of(groups):
    """Clips of labels, those of one list being a group."""
    return [
        Clip(f"{number}-{take}", Path(), label, f"g{number}")
        for number, labels in enumerate(groups)
        for take, label in enumerate(labels)
    ]


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=2, max_size=20), st.data())
def test_no_part_is_empty_and_the_order_of_clips_does_not_count(groups, data):
    clips = clips_of(groups)
    parts = data.draw(st.integers(2, len(groups)))
    dealt = crossfit.divide(clips, parts)
    assert dealt.keys() == {clip.group for clip in clips}
    assert set(dealt.values()) == set(range(parts))
    assert crossfit.divide(data.draw(st.permutations(clips)), parts) == dealt


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 7)), min_size=1, max_size=30), st.integers(2, 5))
def test_a_class_of_enough_groups_is_in_every_part(groups, parts):
    clips = clips_of([[label] * count for label, count in groups])
    dealt = crossfit.divide(clips, parts)
    for label, count in collections.Counter(label for label, _ in groups).items():
        there = {dealt[clip.group] for clip in clips if clip.label == label}
        assert len(there) == min(count, parts)


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bank")
    rng = np.random.default_rng(0)
    for clip in range(12):
        np.save(folder / f"{clip:02}.npy", rng.integers(0, 256, (4, 8, 36, 48)).astype(np.uint8))
    return FrameBank(tuple(sorted(folder.iterdir())), torch.arange(12) % 3)


def test_a_teacher_that_is_the_ordinary_one_gives_the_ordinary_classifiers(bank, tmp_path):
    torch.manual_seed(5)
    nets = {m: backbones.backbone(modality=m, size="small", num_classes=3) for m in backbones.MODALITIES}
    train = range(1, 9)
    shape = {"size": 32, "segments": 2, "batch_size": 4, "parts": 1, "seed": 0, "device": "cpu"}
    batches = loader.BatchLoader(bank, train, list(nets), **shape)
    wanted = [ExitSpec(m, "light", method) for m in nets for method in crossfit.METHODS]

    def trained(folder, batches, **more):
        shape = {"num_classes": 3, "segments": 2, "folder": tmp_path / folder}
        done = exit_training.train_specs(nets, batches, RECIPE, wanted, **shape, **more)
        return [exits.state_dict() for exits in done.exits.values()]

    telling = crossfit.TellingBatches(batches)
    ordinary = trained("ordinary", batches)

    def crossfitted(networks_, parts):
        return trained(f"{len(networks_)}", telling, forward=crossfit.CrossFitted(networks_, parts))

    # Of one part the batches are the same, so the bits are, too; of several the teacher sees less of a batch at a time.
    for parts, close in ((1, {"rtol": 0, "atol": 0}), (3, {"rtol": 0, "atol": 1e-5})):
        own = crossfitted([nets["iframe"]] * parts, {clip: clip % parts for clip in train})
        for mine, theirs in zip(own, ordinary, strict=True):
            torch.testing.assert_close(mine, theirs, **close)
    torch.manual_seed(6)
    other = [backbones.backbone(modality="iframe", size="small", num_classes=3).eval() for _ in range(2)]
    for mine, theirs in zip(crossfitted(other, {clip: clip % 2 for clip in train}), ordinary, strict=True):
        assert any((mine[name] - theirs[name]).abs().max() > 1e-3 for name in theirs)


@pytest.fixture(scope="module")
def p(tmp_path_factory):
    place = tmp_path_factory.mktemp("crossfit")
    return Parameters.for_profile("smoke", runs=str(place / "runs"), cache=str(place / "cache"), **TINY)


@pytest.fixture(scope="module")
def told(p):
    """The ordinary study, then with it the cross-fitted one, and what was seen of the making of the latter."""
    (run,) = workspace.selected_runs(p)
    trials, off = tables.table(p, "trials"), tables.table(p, "crossfit")
    before = {record.parent.name: record.stat().st_mtime_ns for record in run.store.root.glob("*/run.json")}
    folded = p.replace(crossfit_folds=FOLDS)
    (run,) = workspace.selected_runs(folded)
    groups = [clip.group for clip in workspace.dataset(p).clips]
    seen, taught = {}, []
    train_backbone, answer = trainer.train_backbone, crossfit.CrossFitted.__call__

    def trains(backbone, reads, batches, *args, folder, **options):
        read = {clip for part in batches.epoch(0) for clip in part.indices}
        seen[folder.name.removeprefix(".").removesuffix(".partial")] = {groups[clip] for clip in read}
        return train_backbone(backbone, reads, batches, *args, folder=folder, **options)

    def answers(teacher, backbones, batch):
        found = answer(teacher, backbones, batch)
        taught.append((batch, found[1]["iframe"]))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "train_backbone", trains)
        patch.setattr(crossfit.CrossFitted, "__call__", answers)
        frame = tables.table(folded, "crossfit")
    made = {record.parent.name for record in run.store.root.glob("*/run.json")} - before.keys()
    again = {name: (run.store.root / name / "run.json").stat().st_mtime_ns for name in before}
    return {
        **{"run": run, "trials": trials, "off": off, "frame": frame, "made": made},
        **{"seen": seen, "taught": taught, "kept": again == before},
    }


@pytest.mark.slow
def test_no_clip_is_taught_by_a_network_that_has_seen_its_group(told):
    run = told["run"]
    clips, train = workspace.dataset(run.parameters).clips, workspace.dataset(run.parameters).splits[0].train
    nets = {
        name: run_backbones.load_backbone(run, "iframe", run.store.root / name, run.parameters.size)
        for name in told["seen"]
    }
    assert len(nets) == FOLDS
    everyone = {clips[index].group for index in train}
    lessons = collections.Counter()
    with torch.no_grad():
        for batch, answers in told["taught"]:
            each = {name: net(batch["iframe"]) for name, net in nets.items()}
            for row, index in enumerate(batch["clips"].tolist()):
                distances = {name: (own[row] - answers[row]).abs().max().item() for name, own in each.items()}
                teacher, second = sorted(distances, key=distances.get)[:2]
                assert distances[teacher] < 1e-5 < distances[second]
                assert clips[index].group not in told["seen"][teacher]
                lessons[index] += 1
    # Each network lacks some groups alone, and every clip is taught once an epoch.
    lacking = [group for seen in told["seen"].values() for group in everyone - seen]
    assert sorted(lacking) == sorted(everyone)
    assert lessons == dict.fromkeys(train, run.parameters.exit_epochs)


@pytest.mark.slow
def test_it_is_made_beside_what_is_there_and_only_where_it_is_asked_for(told):
    assert told["kept"] and told["off"].empty
    name = f"crossfit-{FOLDS}"
    nets = {f"{name}-iframe-{part}" for part in range(FOLDS)}
    assert told["made"] == {*nets, f"{name}-exits", f"logits-{name}-exits", f"{name}-answers"}
    record = _files.read_json(run_backbones.backbone_step(told["run"], "iframe") / "run.json")
    assert not any("crossfit" in key for key in record["settings"])


@pytest.mark.slow
def test_its_classifiers_are_those_of_the_trials_but_for_the_teacher(told, monkeypatch, tmp_path):
    run = told["run"]
    ordinary = {
        trial.key: load_file(place / "weights.safetensors")
        for trial, place in run_exits.of(run).steps().items()
        if (trial.kind, trial.lr_factor) == (run.parameters.plan.light, 1.0)
    }
    own = load_file(crossfit.exits_step(run) / "weights.safetensors")
    # The same with the run's own network in place of all.
    moved = dataclasses.replace(run, parameters=run.parameters.replace(runs=str(tmp_path)))
    monkeypatch.setattr(crossfit, "_networks", lambda run: [run_backbones.of(run).load()["iframe"]] * FOLDS)
    same = load_file(crossfit.exits_step(moved) / "weights.safetensors")
    assert same.keys() == own.keys()
    changed = collections.Counter()
    for key, value in same.items():
        modality, kind, method, _factor, rest = key.split("/")
        # The I-frame network's own end is, of the ordinary trials, the I-frame teacher.
        name = ExitSpec(modality, kind, schedules.canonical(method, modality)).key
        torch.testing.assert_close(value, ordinary[name][f"{name}/{rest}"], rtol=0, atol=1e-5)
        changed[modality, method] += not torch.allclose(value, own[key], rtol=0, atol=1e-4)
    assert set(changed) == {(m, method) for m in backbones.MODALITIES for method in crossfit.METHODS}
    assert all(changed.values())


@pytest.mark.slow
def test_the_table_counts_what_the_logits_say(told):
    run, frame = told["run"], told["frame"]
    assert list(frame.columns[:3]) == ["split", "seed", "backbone"]
    data = workspace.dataset(run.parameters)
    logits = load_file(run.store.root / f"logits-crossfit-{FOLDS}-exits" / "logits.safetensors")
    students = frame[frame["kind"] != "teacher"]
    assert set(students["part"]) == {"test"} and students["certainty"].isna().all()
    for (modality, method, number), rows in students.groupby(["modality", "method", "exit"]):
        answers = logits[f"test/{modality}/light/{method}/x1/{number}"].argmax(1)
        right = [data.clips[i].label == a for i, a in zip(data.splits[0].test, answers.tolist(), strict=True)]
        assert (rows["correct"].sum(), rows["clips"].sum()) == (sum(right), len(right))
    # In pairs with the ordinary trials.
    ordinary = told["trials"].query("kind == 'light' and lr_factor == 1 and method == 'pkd'")
    both = students.query("method == 'pkd'").merge(ordinary, on=["modality", "exit", "part", "group", "clips"])
    assert len(both) == len(ordinary)
    teachers = frame[frame["kind"] == "teacher"]
    assert set(zip(teachers["method"], teachers["part"], strict=True)) == {
        ("own", "train"),
        ("own", "validation"),
        ("crossfit", "train"),
    }
    assert teachers["certainty"].between(1 / len(data.classes), 1).all()
    answers = load_file(run.store.root / f"crossfit-{FOLDS}-answers" / "logits.safetensors")["train"]
    parts = crossfit.parts_of(run)
    for part in range(FOLDS):
        net = run_backbones.load_backbone(
            run, "iframe", run.store.root / f"crossfit-{FOLDS}-iframe-{part}", run.parameters.size
        )
        for row, index in enumerate(data.splits[0].train):
            if parts[index] == part:
                recipe = run.recipe(epochs=1, lr=1.0, tuning=run.parameters.tuning)
                alone, _ = trainer.predict(net, "iframe", run.evaluation([index], ["iframe"]), recipe)
                torch.testing.assert_close(alone[0], answers[row], rtol=0, atol=1e-5)
                rows = teachers[(teachers["method"] == "crossfit") & (teachers["group"] == data.clips[index].group)]
                assert len(rows) == 1


def test_it_lies_in_the_folder_of_the_runs_without_it():
    p = Parameters.for_profile("smoke")
    folded = p.replace(crossfit_folds=5)
    assert folded.variant == p.variant and folders.run_folder(folded) == folders.run_folder(p)
    for prefixes in (run_steps.SHARED, run_steps.EXITS, run_steps.FLATNESS, ("audit_",)):
        assert not any("crossfit" in name for name in p.only(*prefixes))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"crossfit_folds": 1}, "crossfit_folds = 1: must be at least 2, or 0"),
        (
            {"crossfit_folds": -1},
            "crossfit_folds = -1: must be greater than or equal to 0. Parts of the training groups, two at least",
        ),
        ({"crossfit_folds": 5, "backbone": "teamnet"}, "'teamnet' has no network for I-frames alone"),
    ],
)
def test_what_cannot_be_cross_fitted_is_refused(values, message):
    with pytest.raises(ParameterError, match=message):
        Parameters.for_profile("smoke", **values)


def test_more_parts_than_groups_are_refused_before_anything_is_trained(p):
    (run,) = workspace.selected_runs(p.replace(crossfit_folds=9))
    with pytest.raises(ParameterError, match="crossfit_folds = 9: split 0 has 3 training groups; choose no more"):
        crossfit.exits_step(run)
    assert not list(run.store.root.glob("*crossfit-9*"))
