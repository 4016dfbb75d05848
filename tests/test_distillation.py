import copy

import numpy as np
import pytest
import torch
from torch.nn import functional

from pkdlib import clips, distillation, networks, training
from pkdlib.clips import FrameBank
from pkdlib.datasets import Split
from pkdlib.distillation import METHODS, Stage
from pkdlib.networks import MODALITIES
from pkdlib.training import Recipe

RECIPE = Recipe(size="small", input_size=32, segments=2, batch_size=4, epochs=6, lr=0.01, seed=0)
SPLIT = Split(train=tuple(range(8)), validation=(8, 9), test=(10, 11))


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bank")
    rng = np.random.default_rng(0)
    for clip in range(12):
        np.save(folder / f"{clip:02}.npy", rng.integers(0, 256, (4, 8, 36, 48)).astype(np.uint8))
    return FrameBank(tuple(sorted(folder.iterdir())), torch.arange(12) % 3)


@pytest.fixture(scope="module")
def backbones():
    torch.manual_seed(5)
    return {m: networks.backbone(modality=m, size="small", num_classes=3).eval() for m in MODALITIES}


def train(backbones, bank, folder, **changes):
    return distillation.train_exits(
        backbones, bank, SPLIT, changes.pop("recipe", RECIPE), num_classes=3, folder=folder, **changes
    )


def test_the_loss_is_the_formula_in_plain_loops():
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(3, 4)), rng.dirichlet(np.ones(4), 3)
    total = 0.0
    for b in range(3):
        scaled = [z / 2.5 for z in logits[b]]
        for c in range(4):
            total -= targets[b, c] * (scaled[c] - np.log(sum(np.exp(z) for z in scaled))) * 2.5**2
    loss = distillation.soft_cross_entropy(torch.tensor(logits), torch.tensor(targets), 2.5)
    assert loss.item() == pytest.approx(total / 3)


def test_with_labels_it_is_plain_cross_entropy():
    logits, labels = torch.randn(5, 4), torch.tensor([0, 3, 1, 1, 2])
    soft = distillation.soft_cross_entropy(logits, functional.one_hot(labels, 4).float())
    torch.testing.assert_close(soft, functional.cross_entropy(logits, labels))


def test_extreme_logits_give_a_finite_loss():
    # log(softmax(z)) is -inf here, as in the reference; log_softmax is not.
    logits = torch.tensor([[0.0, 200.0]])
    assert torch.isfinite(distillation.soft_cross_entropy(logits, torch.tensor([[1.0, 0.0]])))


def test_every_schedule_is_whole():
    for name, schedule in METHODS.items():
        assert sum(stage.share for stage in schedule) == pytest.approx(1), name


def test_pkd_takes_its_teachers_in_the_papers_order_and_shares():
    teachers = [distillation.teacher_at(METHODS["pkd"], epoch / 300) for epoch in range(300)]
    assert teachers == ["motion"] * 50 + ["residual"] * 50 + ["iframe"] * 200
    assert {distillation.teacher_at(METHODS["ce"], epoch / 300) for epoch in range(300)} == {"labels"}


def test_a_boundary_on_a_whole_epoch_stays_there():
    thirds = (Stage("motion", 1 / 3), Stage("residual", 1 / 3), Stage("iframe", 1 / 3))
    assert [distillation.teacher_at(thirds, epoch / 3) for epoch in range(3)] == ["motion", "residual", "iframe"]


def test_frozen_means_frozen(backbones, bank, tmp_path):
    before = {m: copy.deepcopy(net.state_dict()) for m, net in backbones.items()}
    train(backbones, bank, tmp_path)
    for modality, net in backbones.items():
        assert not net.training
        for name, value in net.state_dict().items():  # batch-norm statistics too
            assert torch.equal(value, before[modality][name]), (modality, name)


def test_methods_begin_with_the_same_weights(backbones):
    exits = distillation.new_exits(backbones, ("ce", "pkd"), num_classes=3, seed=4)
    for modality in MODALITIES:
        pairs = zip(exits[f"{modality}-ce"].parameters(), exits[f"{modality}-pkd"].parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("method", ["ce", "pkd"])
def test_training_together_equals_an_independent_loop_for_each_exit(backbones, bank, tmp_path, method):
    torch.set_num_threads(1)
    together = train(backbones, bank, tmp_path).exits["motion"][method]
    # The same from the definitions: one exit, its own Adam, whole networks run anew for every batch.
    for number in range(3):
        alone = distillation.new_exits(backbones, [method], num_classes=3, seed=0)[f"motion-{method}"][number]
        optimiser = torch.optim.Adam(alone.parameters(), lr=0.01, eps=1e-3)
        for epoch in range(6):
            teacher = {"ce": ["labels"] * 6, "pkd": ["motion", "residual"] + ["iframe"] * 4}[method][epoch]
            # Milestones at 1/2, 2/3 and 5/6 of six epochs.
            optimiser.param_groups[0]["lr"] = 0.01 * [1, 1, 1, 0.1, 0.01, 0.001][epoch]
            for indices in training.shuffled_batches(SPLIT.train, 4, 0, epoch):
                batch = clips.training_batch(
                    bank, indices, modalities=MODALITIES, size=32, segments=2, seed=0, epoch=epoch
                )
                with torch.no_grad():
                    stages = list(backbones["motion"].features(batch["motion"].flatten(0, 1)))
                    if teacher == "labels":
                        target = functional.one_hot(bank.labels[indices], 3).float()
                    else:
                        target = backbones[teacher](batch[teacher]).softmax(1)
                loss = -(target * alone(stages[number], 2).log_softmax(1)).sum(1).mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        for (name, expected), value in zip(alone.named_parameters(), together[number].parameters(), strict=True):
            torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_a_killed_training_ends_with_the_same_bits(backbones, bank, tmp_path, monkeypatch):
    torch.set_num_threads(1)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = train(backbones, bank, tmp_path / "a")
    original, calls = distillation.frozen_pass, []

    def dies(*arguments):
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(distillation, "frozen_pass", dies)
        with pytest.raises(KeyboardInterrupt):
            train(backbones, bank, tmp_path / "b")
    resumed = train(backbones, bank, tmp_path / "b")
    assert resumed.curves == whole.curves
    for modality in MODALITIES:
        for method in METHODS:
            a, b = whole.exits[modality][method].state_dict(), resumed.exits[modality][method].state_dict()
            assert all(torch.equal(a[name], b[name]) for name in a)
