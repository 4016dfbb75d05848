import dataclasses
import resource
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from pkdlib.companion.presets import PLANS
from pkdlib.companion.runs.store import RunError, Store
from pkdlib.data import loader, sampling
from pkdlib.data.datasets import Split
from pkdlib.data.frame_cache import FrameBank
from pkdlib.flatness.objective import mean_loss
from pkdlib.models import backbones, registry, teamnet
from pkdlib.training import devices, loop, optimisers, target_loss, trainer
from pkdlib.training.trainer import Recipe, TrainingError
from tests.extent import nightly

RECIPE = Recipe(epochs=3, lr=0.01, tuning=PLANS["coviar"].tuning)


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """Clips whose class is plain to see: the mean brightness."""
    folder = tmp_path_factory.mktemp("bank")
    rng = np.random.default_rng(0)
    paths = []
    for clip in range(12):
        frames = rng.integers(0, 60, (4, 8, 36, 48)) + 150 * (clip % 2)
        np.save(folder / f"{clip}.npy", frames.astype(np.uint8))
        paths.append(folder / f"{clip}.npy")
    return FrameBank(tuple(paths), torch.arange(12) % 2)


SPLIT = Split(train=tuple(range(8)), validation=(8, 9), test=(10, 11))


def learn(reads, bank, split, recipe, *, folder, batch_size=4, parts=1, workers=0, **options):
    """Train a new network; the learning rate, seed and device are the recipe's."""
    torch.manual_seed(recipe.seed)
    network = registry.backbone(reads=reads, size="small", num_classes=2)
    shape = {"size": 32, "segments": 2, "batch_size": batch_size, "device": recipe.device}
    batches = loader.BatchLoader(bank, split.train, [reads], **shape, parts=parts, seed=recipe.seed, workers=workers)
    validation = loader.EvaluationLoader(bank, split.validation, [reads], **shape)
    return trainer.train_backbone(network, reads, batches, validation, recipe, folder=folder, **options)


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_it_learns_what_is_plain_to_see(bank, tmp_path):
    trained = learn("residual", bank, SPLIT, RECIPE, folder=tmp_path)
    assert trained.curves[-1]["train_loss"] < trained.curves[0]["train_loss"]
    assert not trained.backbone.training
    assert [row["epoch"] for row in trained.curves] == [0, 1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["resume"]  # the checkpoint is the caller's to remove


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


@pytest.mark.parametrize("device", DEVICES)
def test_bfloat16_learns_the_same_with_weights_in_float32(bank, tmp_path, device):
    exact, coarse = (
        learn("residual", bank, SPLIT, recipe, folder=tmp_path / recipe.precision)
        for recipe in (
            dataclasses.replace(RECIPE, device=device),
            dataclasses.replace(RECIPE, device=device, precision="bfloat16"),
        )
    )
    losses = [[row["train_loss"] for row in trained.curves] for trained in (exact, coarse)]
    assert losses[1] != losses[0]
    assert losses[1][0] == pytest.approx(losses[0][0], rel=0.05)  # later, rounding has grown
    assert losses[1][-1] < losses[1][0] / 2
    assert {value.dtype for value in coarse.backbone.parameters()} == {torch.float32}


def descend(bank, folder, share):
    """Train to a share of the loss that the network begins with; also gives the level, and the loss reached."""
    folder.mkdir(exist_ok=True)
    inputs = sampling.evaluation_batch(bank, SPLIT.train, modalities=["residual"], size=32, segments=2)["residual"]
    samples = [(inputs, bank.labels[list(SPLIT.train)])]
    torch.manual_seed(RECIPE.seed)
    begin = backbones.backbone(modality="residual", size="small", num_classes=2).eval()
    level = target_loss.Level(share * mean_loss(begin, samples, {}), samples)
    trained = learn("residual", bank, SPLIT, LONG, batch_size=2, folder=folder, until=level)
    return trained, level.loss, mean_loss(trained.backbone, samples, {})


LONG = dataclasses.replace(RECIPE, epochs=12)


@pytest.mark.parametrize("share", [0.8, 0.3])
def test_a_training_down_to_a_level_ends_at_it(bank, tmp_path, share):
    trained, level, reached = descend(bank, tmp_path, share)
    assert reached == pytest.approx(level, rel=1e-3)
    # It is the same training up to there: watching it changes nothing.
    whole = learn("residual", bank, SPLIT, LONG, batch_size=2, folder=tmp_path / "whole")
    assert trained.curves == whole.curves[: trained.epoch + 1] and len(trained.curves) < len(whole.curves)


def test_a_training_that_never_comes_down_keeps_its_last_epoch(bank, tmp_path):
    trained, level, reached = descend(bank, tmp_path, 1e-9)
    assert reached > level and trained.epoch == LONG.epochs - 1


def test_a_training_that_begins_below_its_level_ends_with_the_first_epoch(bank, tmp_path):
    trained, level, reached = descend(bank, tmp_path, 1e3)
    assert reached < level and trained.epoch == 0


@pytest.mark.slow
def test_a_descent_killed_after_any_checkpoint_ends_with_the_same_bits(bank, tmp_path, monkeypatch):
    whole, _, _ = descend(bank, tmp_path / "whole", 0.3)
    write, saved = loop._files.write_atomically, []

    def dies(path, content):
        write(path, content)
        saved.append(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "CHECKPOINT_SPACING", 0)
    monkeypatch.setattr(loop, "CHECKPOINT_INTERVAL", 0)  # after every batch
    monkeypatch.setattr(loop._files, "write_atomically", dies)
    for _ in range(1000):
        try:
            killed, _, _ = descend(bank, tmp_path / "killed", 0.3)
        except KeyboardInterrupt:
            continue
        break
    assert len(saved) > 4 * whole.epoch  # also within the epoch in which it came down, before it did and after
    assert killed.curves == whole.curves and same_weights(killed.backbone, whole.backbone)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_trains_as_the_processor_does(bank, tmp_path):
    losses = []
    for device in ("cpu", "cuda"):
        recipe = dataclasses.replace(RECIPE, device=device)
        trained = learn("residual", bank, SPLIT, recipe, folder=tmp_path / device)
        losses.append([row["train_loss"] for row in trained.curves])
        assert next(trained.backbone.parameters()).device.type == device
    assert losses[1][0] == pytest.approx(losses[0][0], rel=1e-3)


# TEAM-Net has dropout, which draws of torch's own generator, and SGD's momentum.
@pytest.mark.parametrize(("reads", "backbone"), [("motion", "coviar"), ("joint", "teamnet")])
def test_a_killed_training_ends_with_the_same_bits(bank, tmp_path, monkeypatch, reads, backbone):
    recipe = dataclasses.replace(RECIPE, tuning=PLANS[backbone].tuning)

    def train(folder):
        return learn(reads, bank, SPLIT, recipe, folder=tmp_path / folder)

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = train("a")

    predict, calls = trainer.predict, []

    def dies(*arguments):
        calls.append(1)
        if len(calls) == 2:  # in the middle of the second epoch
            raise KeyboardInterrupt
        return predict(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "predict", dies)
        with pytest.raises(KeyboardInterrupt):
            train("b")
    resumed = train("b")
    assert resumed.curves == whole.curves
    assert same_weights(resumed.backbone, whole.backbone)


@pytest.mark.slow
@pytest.mark.parametrize(("reads", "backbone"), [("motion", "coviar"), ("joint", "teamnet")])
def test_a_training_killed_within_an_epoch_goes_on_at_its_next_batch(bank, tmp_path, monkeypatch, reads, backbone):
    recipe = dataclasses.replace(RECIPE, tuning=PLANS[backbone].tuning)
    split = dataclasses.replace(SPLIT, train=tuple(range(8)))

    def train(folder):
        (tmp_path / folder).mkdir(exist_ok=True)
        return learn(reads, bank, split, recipe, batch_size=2, parts=2, folder=tmp_path / folder)

    whole = train("a")
    monkeypatch.setattr(loop, "CHECKPOINT_INTERVAL", 0)
    monkeypatch.setattr(loop, "CHECKPOINT_SPACING", 0)
    seen, finite = [], loop.check_finite

    def dies(loss, where, *arguments):
        seen.append(where)
        if len(seen) == 14:  # in the second part of the second epoch's third batch
            raise KeyboardInterrupt
        return finite(loss, where, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "check_finite", dies)
        with pytest.raises(KeyboardInterrupt):
            train("b")
    assert seen[-1].endswith("epoch 2, batch 3")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "check_finite", lambda loss, where, *_: seen.append(where))
        resumed = train("b")
    assert seen[14].endswith("epoch 2, batch 3") and len(seen) == 14 + 4 + 8  # two batches, and an epoch, of two parts
    assert resumed.curves == whole.curves
    assert same_weights(resumed.backbone, whole.backbone)


def test_a_checkpoint_of_another_training_is_refused(bank, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SPACING", 0)

    def train(split=SPLIT, workers=0, **changes):
        recipe = dataclasses.replace(RECIPE, **{"epochs": 1} | changes)
        learn("motion", bank, split, recipe, workers=workers, folder=tmp_path)

    train()
    for changes in (
        {"lr": 0.02},
        {"seed": 1},
        {"epochs": 2},
        {"split": dataclasses.replace(SPLIT, train=(0, 1, 2, 3))},
    ):
        with pytest.raises(TrainingError, match=r"resume/motion-backbone.pt: is the checkpoint of another training"):
            train(**changes)
    train()
    train(workers=1)  # who reads the clips decides nothing


def test_gradients_of_parts_add_up_to_a_step_on_the_mean_of_all(bank, tmp_path):
    recipe = dataclasses.replace(RECIPE, epochs=1)
    split = dataclasses.replace(SPLIT, train=(0, 1, 2, 3, 4))
    trained = learn("residual", bank, split, recipe, batch_size=5, parts=2, folder=tmp_path)

    torch.manual_seed(recipe.seed)
    network = devices.place(backbones.backbone(modality="residual", size="small", num_classes=2), "cpu")
    optimiser = torch.optim.Adam(optimisers.parameter_groups(network, recipe.tuning), eps=1e-3)
    optimisers.set_lr(optimiser, recipe.lr * optimisers.lr_share(recipe.tuning, 0.0))
    (order,) = loader.shuffled_batches(split.train, 5, recipe.seed, 0)
    for part in (order[:3], order[3:]):  # each by its own batch statistics
        drawn = sampling.draw(bank, part, modalities=["residual"], segments=2, seed=recipe.seed, epoch=0)
        inputs = sampling.finish(drawn, 32)["residual"]
        (nn.functional.cross_entropy(network(inputs), bank.labels[part], reduction="sum") / 5).backward()
    optimiser.step()
    for (name, own), other in zip(trained.backbone.named_parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-6, msg=name)


@nightly
def test_a_compiled_backbone_trains_as_it_does_uncompiled(bank, tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler")
    plain, compiled = (
        learn("motion", bank, SPLIT, recipe, folder=tmp_path / str(recipe.compiled))
        for recipe in (RECIPE, dataclasses.replace(RECIPE, compiled=True))
    )
    assert compiled.curves[0]["train_loss"] == pytest.approx(plain.curves[0]["train_loss"], rel=1e-3)
    assert list(compiled.backbone.state_dict()) == list(plain.backbone.state_dict())


def test_a_disk_without_room_is_told_by_name(bank, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # a checkpoint takes more
    try:
        with pytest.raises(RunError, match=r"cannot write the run folder .*File too large"):
            Store(tmp_path).step(
                "backbone",
                lambda folder: learn("motion", bank, SPLIT, RECIPE, folder=folder),
                {},
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "backbone").exists()


def test_the_test_clips_are_not_read(bank, tmp_path):
    read = set()

    class Watched(FrameBank):
        def open(self, clip):
            read.add(clip)
            return super().open(clip)

    learn("iframe", Watched(bank.paths, bank.labels), SPLIT, RECIPE, folder=tmp_path)
    assert read == {*SPLIT.train, *SPLIT.validation}


def test_few_validation_clips_select_no_epoch(bank, tmp_path):
    trained = learn("residual", bank, SPLIT, RECIPE, folder=tmp_path)
    assert trained.epoch == RECIPE.epochs - 1


def test_with_enough_validation_clips_the_best_epoch_is_kept(bank, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "FEWEST_VALIDATION_CLIPS", 1)
    trained = learn("residual", bank, SPLIT, RECIPE, folder=tmp_path)
    keys = [(row["validation_accuracy"], -row["validation_loss"]) for row in trained.curves]
    assert trained.epoch == keys.index(max(keys))
    shape = {"size": 32, "segments": 2, "batch_size": 1, "device": "cpu"}
    clips = loader.EvaluationLoader(bank, SPLIT.validation, ["residual"], **shape)
    loss = nn.functional.cross_entropy(*trainer.predict(trained.backbone, "residual", clips, RECIPE)).item()
    assert loss == pytest.approx(trained.curves[trained.epoch]["validation_loss"])


def test_a_loss_that_is_no_number_names_the_batch_and_its_clips():
    message = r"motion backbone, epoch 3, batch 7: the loss is nan; .* the clips: 4, 2"
    with pytest.raises(TrainingError, match=message):
        loop.check_finite(torch.tensor(float("nan")), "motion backbone, epoch 3, batch 7", ["4", "2"])


@pytest.mark.parametrize("count", [1, 2, 5, 8, 9, 16, 17])
def test_batches_hold_every_clip_once_and_none_alone(count):
    batches = list(loader.shuffled_batches(range(count), 4, seed=3, epoch=1))
    assert sorted(clip for batch in batches for clip in batch) == list(range(count))
    assert count == 1 or min(map(len, batches)) >= 2
    assert batches == list(loader.shuffled_batches(range(count), 4, seed=3, epoch=1))


def test_the_learning_rate_rises_then_falls_to_zero():
    values = [optimisers.warm_cosine(progress) for progress in np.linspace(0, 1, 101)]
    assert max(values) == pytest.approx(1, abs=1e-6)
    assert values.index(max(values)) == 10
    assert values[-1] == pytest.approx(0, abs=1e-12)
    assert 0 < values[0] < 0.2


def test_biases_and_norms_do_not_decay():
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    decayed, others = optimisers.parameter_groups(module, PLANS["coviar"].tuning)
    assert [p.ndim for p in decayed["params"]] == [4]
    assert [p.ndim for p in others["params"]] == [1, 1, 1]
    assert (decayed["weight_decay"], others["weight_decay"]) == (1e-4, 0)


def test_heads_learn_faster_where_the_plan_says_so():
    network = teamnet.team_backbone(size="small", num_classes=3)
    groups = optimisers.parameter_groups(network, PLANS["teamnet"].tuning)
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))
    heads = {id(p): 5.0 if p.ndim > 1 else 10.0 for net in network.backbones.values() for p in net.head.parameters()}
    for group in groups:
        assert {heads.get(id(p), 1.0) for p in group["params"]} == {group["factor"]}
    optimiser = optimisers.OPTIMISERS["sgd"](groups)
    optimisers.set_lr(optimiser, 0.01)
    assert sorted({group["lr"] for group in optimiser.param_groups}) == [0.01, 0.05, 0.1]


def test_the_learning_rate_falls_tenfold_at_the_milestones():
    shares = [optimisers.lr_share(PLANS["teamnet"].tuning, epoch / 50) for epoch in range(50)]
    assert shares == pytest.approx([1.0] * 30 + [0.1] * 10 + [0.01] * 5 + [0.001] * 5)
    assert optimisers.lr_share(PLANS["coviar"].tuning, 0.3) == optimisers.warm_cosine(0.3)
