"""Exits of one's own networks: any modules, batches and losses, against loops that know nothing of stacks and specs."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from pkdlib import distillation, models
from pkdlib.training import Recipe, TrainingError, Tuning, loop, optimisers

LABELS = torch.arange(24) % 3
INPUTS = torch.eye(3)[LABELS] + 0.5 * torch.randn(24, 3, generator=torch.Generator().manual_seed(0))
BATCHES = [(INPUTS[:8], LABELS[:8]), (INPUTS[8:], LABELS[8:])]
# The learning rate stays as it is.
RECIPE = Recipe(epochs=4, lr=0.05, tuning=Tuning(milestones=(2.0,)))


@pytest.fixture
def nets():
    torch.manual_seed(3)
    made = {}
    for name, width in (("student", 5), ("teacher", 9)):
        net = nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))
        made[name] = models.tapped(net, at=["1", "3"], example=INPUTS)
    return made


def logit_mse(logits, teacher, temperature):
    return ((logits - teacher) / temperature).square().mean(dim=(-2, -1))


def soft(logits, teacher, temperature):
    p = (teacher / temperature).softmax(1)
    return -(temperature**2) * (p * (logits / temperature).log_softmax(1)).sum(1).mean()


@pytest.mark.parametrize(("loss", "plain"), [(distillation.soft_cross_entropy, soft), (logit_mse, logit_mse)])
def test_each_exit_trains_as_in_a_loop_of_its_own(nets, loss, plain):
    schedules = {
        "labels": distillation.labels(),
        "mixed": distillation.progressive(own=1 / 2, teacher=1 / 2, label_weight=0.25),
    }
    shape = {"num_classes": 3, "loss": loss, "temperature": 2.0}
    trained = distillation.train_exits(nets, BATCHES, schedules, RECIPE, **shape)
    assert {name: list(own) for name, own in trained.items()} == {name: ["student", "teacher"] for name in schedules}
    student, teacher = nets["student"].module, nets["teacher"].module
    for name, own in trained.items():
        torch.manual_seed(RECIPE.seed)
        alone = models.light_classifiers(nets["student"], 3, 1)
        optimiser = optimisers.OPTIMISERS["adam"](alone.parameters(), lr=RECIPE.lr)
        for epoch in range(4):
            for inputs, labels in BATCHES:
                with torch.no_grad():
                    first = student[:2](inputs)
                    features, taught = [first, student[2:4](first)], (student if epoch < 2 else teacher)(inputs)
                optimiser.zero_grad()
                for exit_, read in zip(alone, features, strict=True):
                    labelled = functional.cross_entropy(exit_.head(read), labels)
                    mixed = 0.75 * plain(exit_.head(read), taught, 2.0) + 0.25 * labelled
                    (labelled if name == "labels" else mixed).backward()
                optimiser.step()
        for (key, value), wanted in zip(own["student"].exits.named_parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-4, atol=1e-6, msg=lambda m, k=key: f"{k}: {m}")


def test_the_networks_stay_as_they_are(nets):
    before = {name: {key: value.clone() for key, value in net.state_dict().items()} for name, net in nets.items()}
    trained = distillation.train_exits(nets, BATCHES, {"ce": distillation.labels()}, RECIPE, num_classes=3)
    for name, network in trained["ce"].items():
        assert network.backbone is nets[name] and not network.training
        assert all(torch.equal(value, before[name][key]) for key, value in nets[name].state_dict().items())
        torch.testing.assert_close(network(INPUTS)[-1], nets[name].module(INPUTS))


def test_exits_of_one_s_own_kind(nets):
    def blank(backbone, num_classes, segments):
        made = models.light_classifiers(backbone, num_classes, segments)
        for exit_ in made:
            nn.init.zeros_(exit_.head.weight)
        return made

    recipe = Recipe(epochs=1, lr=0.0)
    trained = distillation.train_exits(nets, BATCHES, {"ce": distillation.labels()}, recipe, num_classes=3, exits=blank)
    assert not trained["ce"]["student"].exits[1].head.weight.any()


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_teacher_that_is_no_network_is_told_before_anything_is_trained(nets, share):
    schedule = distillation.progressive(**{"own": 1 - share} if share < 1 else {}, iframe=share)
    known = r"student, teacher, own \(the student's own network\) and labels$"
    message = f"^method 'PKD': the teacher 'iframe' is not known; teachers are {known}"
    with pytest.raises(distillation.MethodError, match=message):
        distillation.train_exits(nets, BATCHES, {"PKD": schedule}, RECIPE, num_classes=3)


def test_samples_of_an_infinite_loss_are_named(nets):
    broken = [(INPUTS[:8], LABELS[:8]), (torch.full((2, 3), torch.inf), LABELS[:2])]
    with pytest.raises(TrainingError, match=r"epoch 1, batch 2: the loss is nan; .*: sample 9 of the epoch, sample 10"):
        distillation.train_exits(nets, broken, {"ce": distillation.labels()}, RECIPE, num_classes=3)


def test_a_training_that_was_killed_goes_on_with_the_same_bits(nets, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SPACING", 0)
    monkeypatch.setattr(loop, "CHECKPOINT_INTERVAL", 0)
    schedules = {"PKD": distillation.progressive(own=1 / 2, teacher=1 / 2)}

    def train(folder):
        loader = DataLoader(TensorDataset(INPUTS, LABELS), 8, shuffle=True)
        options = {"num_classes": 3, "folder": folder and tmp_path / folder}
        trained = distillation.train_exits(nets, loader, schedules, RECIPE, **options)
        return trained["PKD"]["student"].exits.state_dict()

    whole, save, calls = train(None), loop.Checkpoint.save, []

    def dies(checkpoint, state):
        save(checkpoint, state)
        calls.append(state["batch"])
        if len(calls) == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop.Checkpoint, "save", dies)
        with pytest.raises(KeyboardInterrupt):
            train("run")
    assert calls[-1] > 0  # within an epoch
    resumed = train("run")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
