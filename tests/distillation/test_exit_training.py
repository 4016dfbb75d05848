import copy
import dataclasses
import types

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from pkdlib.companion.presets import PLANS
from pkdlib.data import loader, sampling
from pkdlib.data.datasets import Split
from pkdlib.data.frame_cache import FrameBank
from pkdlib.distillation import exit_training, losses, schedules, specs
from pkdlib.distillation.schedules import METHODS, TEAM_METHODS, Method, Stage
from pkdlib.distillation.specs import ExitSpec
from pkdlib.models import backbones as networks
from pkdlib.models import exit_heads, teamnet
from pkdlib.models.backbones import MODALITIES
from pkdlib.training.trainer import Recipe

RECIPE = Recipe(epochs=6, lr=0.01, tuning=PLANS["coviar"].exit_tuning)
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


TRIALS = [*specs.exit_specs("light", METHODS), *specs.exit_specs("paper", ["ce", "pkd"])]


def train(backbones, bank, folder, **changes):
    recipe, wanted = changes.pop("recipe", RECIPE), changes.pop("wanted", TRIALS)
    shape = {"size": 32, "segments": 2, "batch_size": 4, "parts": 1, "seed": 0, "device": "cpu"}
    batches = loader.BatchLoader(bank, SPLIT.train, list(backbones), **shape)
    shape = {"num_classes": 3, "segments": 2, "folder": folder}
    return exit_training.train_specs(backbones, batches, recipe, wanted, **shape, **changes)


def test_the_loss_is_the_formula_in_plain_loops():
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(3, 4)), rng.dirichlet(np.ones(4), 3)
    total = 0.0
    for b in range(3):
        scaled = [z / 2.5 for z in logits[b]]
        for c in range(4):
            total -= targets[b, c] * (scaled[c] - np.log(sum(np.exp(z) for z in scaled))) * 2.5**2
    teacher = 2.5 * np.log(targets) + 7  # at that temperature
    loss = losses.soft_cross_entropy(torch.tensor(logits), torch.tensor(teacher), 2.5)
    assert loss.item() == pytest.approx(total / 3)


def test_with_labels_it_is_plain_cross_entropy():
    logits, labels = torch.randn(5, 4), torch.tensor([0, 3, 1, 1, 2])
    soft = losses.cross_entropy(logits, functional.one_hot(labels, 4).float())
    torch.testing.assert_close(soft, functional.cross_entropy(logits, labels))


def test_extreme_logits_give_a_finite_loss():
    # log(softmax(z)) is -inf here, as in the reference; log_softmax is not.
    logits = torch.tensor([[0.0, 200.0]])
    assert torch.isfinite(losses.soft_cross_entropy(logits, -logits))


def test_what_coincides_is_trained_once():
    counts = {m: sum(trial.modality == m for trial in specs.exit_specs("light", METHODS)) for m in MODALITIES}
    assert counts == {"iframe": 8, "motion": 9, "residual": 9}


def test_frozen_means_frozen(backbones, bank, tmp_path):
    before = {m: copy.deepcopy(net.state_dict()) for m, net in backbones.items()}
    train(backbones, bank, tmp_path)
    for modality, net in backbones.items():
        assert not net.training
        for name, value in net.state_dict().items():  # batch-norm statistics too
            assert torch.equal(value, before[modality][name]), (modality, name)


def test_trials_begin_with_the_same_weights(backbones):
    for group in exit_training.stacked(backbones, TRIALS, num_classes=3, segments=2, seed=4):
        first, *others = group.unstack().values()
        for other in others:
            assert all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("kind", ["light", "paper"])
def test_a_stack_computes_what_its_members_do(backbones, kind):
    torch.manual_seed(1)
    features = [torch.randn(4, width, 9, 9) for width in (24, 48, 96)]
    members = [exit_heads.internal_classifiers(kind, backbone=backbones["motion"], num_classes=3) for _ in range(3)]
    for number, stage in enumerate(features):
        stack = exit_heads.Stack([exits[number] for exits in members])
        expected = torch.stack([exits[number](stage, 2) for exits in members])
        torch.testing.assert_close(stack(stage, 2), expected, atol=1e-5, rtol=1e-5)
        for member, exits in zip(stack.unstack(), members, strict=True):  # batch norm's statistics too
            torch.testing.assert_close(member.state_dict(), exits[number].state_dict(), atol=1e-5, rtol=1e-5)


def train_alone(backbone, trial, plan, batches, labels):
    """From the definitions: one exit, its own Adam, whole networks run anew for every batch; 50 steps."""
    alone = exit_heads.internal_classifiers(trial.kind, backbone=backbone, num_classes=3, segments=2)
    method = plan.methods[trial.method]
    for number, exit_ in enumerate(alone):
        optimiser = torch.optim.Adam(exit_.parameters(), eps=1e-3)
        for epoch in range(25):
            teacher = schedules.teacher_at(method.stages, epoch / 25)
            teacher = trial.modality if teacher == "own" else teacher
            factor = 0.1 ** sum(epoch / 25 >= milestone for milestone in plan.exit_tuning.milestones)
            optimiser.param_groups[0]["lr"] = 0.01 * trial.lr_factor * factor
            for indices, stages, finals in batches[epoch]:
                target = functional.one_hot(labels[indices], 3).float()
                logits = exit_(stages[trial.modality][number], 2)
                loss = functional.cross_entropy(logits, target)
                if teacher != "labels":
                    t = trial.temperature_factor
                    soft = -t * t * ((finals[teacher] / t).softmax(1) * (logits / t).log_softmax(1)).sum(1).mean()
                    loss = method.label_weight * loss + (1 - method.label_weight) * soft
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    return alone


def assert_same_weights(exits, expected, tolerance):
    for (name, value), other in zip(exits.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(value, other, atol=tolerance, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


def train_together(backbones, bank, plan, wanted, teachers, folder):
    """Train in one pass, and keep for every batch what the exits read and what `teachers` says of it."""
    torch.set_num_threads(1)
    recipe = dataclasses.replace(RECIPE, epochs=25, tuning=plan.exit_tuning)
    exits = train(backbones, bank, folder, recipe=recipe, wanted=wanted, methods=plan.methods).exits
    batches = []
    for epoch in range(25):
        batches.append([])
        for indices in loader.shuffled_batches(SPLIT.train, 4, 0, epoch):
            drawn = sampling.draw(bank, indices, modalities=list(backbones), segments=2, seed=0, epoch=epoch)
            batch = sampling.finish(drawn, 32)
            with torch.no_grad():
                stages = {m: list(net.features(batch[m].flatten(0, 1))) for m, net in backbones.items()}
                batches[-1].append((indices, stages, teachers(batch, stages)))
    return types.SimpleNamespace(exits=exits, batches=batches)


OTHERS = [ExitSpec("motion", "light", "pkd", 3.0), ExitSpec("motion", "light", "pkd", temperature_factor=4.0)]


@pytest.fixture(scope="module")
def together(backbones, bank, tmp_path_factory):
    def finals(batch, _):
        return {m: net(batch[m]) for m, net in backbones.items()}

    wanted = [*TRIALS, *OTHERS]
    return train_together(backbones, bank, PLANS["coviar"], wanted, finals, tmp_path_factory.mktemp("together"))


@pytest.mark.parametrize("trial", [*TRIALS, *OTHERS], ids=lambda trial: trial.key)
def test_training_together_equals_an_independent_loop_for_each_exit(backbones, bank, together, trial):
    torch.manual_seed(0)
    # A convolution behind batch norm multiplies float32's rounding; a light classifier does not.
    tolerance = {"light": 1e-5, "paper": 1e-4}[trial.kind]
    own = (backbones[trial.modality], trial, PLANS["coviar"], together.batches, bank.labels)
    assert_same_weights(together.exits[trial], train_alone(*own), tolerance)


JOINT = specs.exit_specs("squeezed", TEAM_METHODS, networks=("joint",))


@pytest.fixture(scope="module")
def team():
    torch.manual_seed(6)
    return {"joint": teamnet.team_backbone(size="small", num_classes=3).eval()}


@pytest.fixture(scope="module")
def team_together(team, bank, tmp_path_factory):
    branches = team["joint"].backbones

    def finals(_, stages):
        vectors = stages["joint"][3].split([192, 192, 192], dim=1)
        rows = {m: net.head(vector) for (m, net), vector in zip(branches.items(), vectors, strict=True)}
        own = {m: (logits[0::2] + logits[1::2]) / 2 for m, logits in rows.items()}
        return own | {"joint": own["iframe"] + own["motion"] + own["residual"]}

    return train_together(team, bank, PLANS["teamnet"], JOINT, finals, tmp_path_factory.mktemp("team"))


def test_no_two_methods_coincide_for_a_joint_network():
    assert [trial.method for trial in JOINT] == list(TEAM_METHODS) == list(METHODS)


@pytest.mark.parametrize("trial", JOINT, ids=lambda trial: trial.key)
def test_teamnets_exits_train_together_as_alone_taught_by_its_branches(team, bank, team_together, trial):
    torch.manual_seed(0)
    own = (team["joint"], trial, PLANS["teamnet"], team_together.batches, bank.labels)
    assert_same_weights(team_together.exits[trial], train_alone(*own), 1e-5)


def test_a_stack_of_squeezed_classifiers_computes_what_its_members_do(team):
    torch.manual_seed(1)
    members = [exit_heads.internal_classifiers("squeezed", backbone=team["joint"], num_classes=3, segments=2)[1]]
    members.append(copy.deepcopy(members[0]))
    torch.nn.init.normal_(members[1].head.weight)
    vectors = torch.randn(6, team["joint"].widths[1])
    expected = torch.stack([torch.cat([vectors[0::2], vectors[1::2]], dim=1) @ m.head.weight.T for m in members])
    expected += torch.stack([m.head.bias for m in members])[:, None]
    torch.testing.assert_close(exit_heads.Stack(members)(vectors, 2), expected)
    torch.testing.assert_close(torch.stack([m(vectors, 2) for m in members]), expected)


def test_a_temperature_softens_the_targets(backbones, bank, tmp_path):
    wanted = [ExitSpec("motion", "light", "iframe"), ExitSpec("motion", "light", "ce")]
    for name in ("warm", "plain"):
        (tmp_path / name).mkdir()
    warm = train(backbones, bank, tmp_path / "warm", wanted=wanted, temperature=4.0).exits
    plain = train(backbones, bank, tmp_path / "plain", wanted=wanted).exits
    taught, labelled = ([e[trial][0].head.weight for e in (warm, plain)] for trial in wanted)
    assert not torch.equal(*taught)
    assert torch.equal(*labelled)  # labels have no temperature


def test_a_label_weight_of_one_is_cross_entropy(backbones, bank, tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "labelled", Method((Stage("iframe"),), label_weight=1.0))
    exits = train(backbones, bank, tmp_path, wanted=[ExitSpec("motion", "light", m) for m in ("ce", "labelled")]).exits
    a, b = (module[0].head.weight for module in exits.values())
    torch.testing.assert_close(a, b)


def test_the_curves_tell_every_trials_loss(backbones, bank, tmp_path):
    curves = train(backbones, bank, tmp_path).curves
    assert len(curves) == 6 * len(TRIALS)
    ce = [row["loss"] for row in curves if (row["modality"], row["kind"], row["method"]) == ("motion", "paper", "ce")]
    assert ce[-1] < ce[0]


def test_a_killed_training_ends_with_the_same_bits(backbones, bank, tmp_path, monkeypatch):
    torch.set_num_threads(1)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = train(backbones, bank, tmp_path / "a")
    original, calls = exit_training.frozen_pass, []

    def dies(*arguments):
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(exit_training, "frozen_pass", dies)
        with pytest.raises(KeyboardInterrupt):
            train(backbones, bank, tmp_path / "b")
    resumed = train(backbones, bank, tmp_path / "b")
    assert resumed.curves == whole.curves
    for trial in TRIALS:
        a, b = whole.exits[trial].state_dict(), resumed.exits[trial].state_dict()
        assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("height", "width"), [(24, 24), (7, 10), (4, 4), (3, 5)])
def test_the_deterministic_pool_is_torch_s_own(height, width):
    planes = torch.randn(2, 3, height, width, dtype=torch.float64, requires_grad=True)
    wanted = nn.functional.adaptive_avg_pool2d(planes, 4)
    try:
        torch.use_deterministic_algorithms(True)
        pooled = exit_heads.GridPool(4)(planes)
    finally:
        torch.use_deterministic_algorithms(False)
    torch.testing.assert_close(pooled, wanted)
    weight = torch.randn_like(wanted)
    (one,) = torch.autograd.grad((pooled * weight).sum(), planes)
    (other,) = torch.autograd.grad((wanted * weight).sum(), planes)
    torch.testing.assert_close(one, other)
