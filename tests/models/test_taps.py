"""Exits on modules that know nothing of exits: what they yield is what hooks see, and the rest is the module itself."""

import contextlib

import pytest
import torch
from torch import nn

from pkdlib import models
from pkdlib.early_exit import criteria, policies
from pkdlib.models import MultiExitNetwork, NetworkError


class Planes(nn.Module):
    """A residual connection around a tap, and control flow that no trace could follow."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)

    def forward(self, images):
        features = self.first(images)
        around = self.second(features) + features
        if around.mean() > 1e9:
            raise ValueError("never")
        return self.head(around.reshape(len(images), 6, -1).mean(2))


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.places = nn.Embedding(5, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.head = nn.Linear(8, 4)

    def forward(self, tokens):
        places = self.places(torch.arange(tokens.shape[1]))
        return self.head((self.encoder(tokens + places) + places).mean(1))


def vectors():
    return nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4))


CASES = {
    "planes": (Planes, ["first", "second"], (3, 8, 8), (6, 6, 4)),
    "within": (Planes, ["first.0"], (3, 8, 8), (6, 4)),
    # As many tokens as samples: places must not be taken for samples.
    "tokens": (Tokens, ["encoder.layers.0", "encoder.layers.1"], (5, 8), (8, 8, 4)),
    "vectors": (vectors, ["1", "3"], (7,), (5, 6, 4)),
}


@pytest.fixture(params=CASES)
def case(request):
    make, taps, shape, widths = CASES[request.param]
    torch.manual_seed(0)
    module, samples = make().eval(), torch.randn(5, *shape)
    return module, taps, samples, widths


def seen_by_hooks(module, taps, samples):
    """The taps' outputs and the module's own, by forward hooks."""
    seen = {}
    with contextlib.ExitStack() as hooks, torch.no_grad():
        for name in taps:
            hook = lambda *call, name=name: seen.__setitem__(name, call[-1])  # noqa: E731
            hooks.enter_context(contextlib.closing(_Removed(module.get_submodule(name).register_forward_hook(hook))))
        logits = module(samples)
    return [*(seen[name] for name in taps), logits]


class _Removed:
    def __init__(self, handle):
        self.close = handle.remove


def test_the_features_are_what_hooks_see(case):
    module, taps, samples, widths = case
    backbone = models.tapped(module, at=taps, example=samples)
    assert backbone.widths == widths
    with torch.no_grad():
        for found, wanted in zip(backbone.features(samples), seen_by_hooks(module, taps, samples), strict=True):
            torch.testing.assert_close(found, wanted)


def test_samples_that_have_left_change_nothing_for_the_others(case):
    module, taps, samples, _ = case
    backbone, left = models.tapped(module, at=taps, example=samples[:2]), torch.arange(5)
    wanted = seen_by_hooks(module, taps, samples)
    with torch.no_grad():
        features = backbone.features(samples)
        value = next(features)
        for expected in wanted[1:]:
            keep = torch.arange(len(left) - 1, 0, -1)[: len(left) - 2]  # the last ones, backwards
            left, value = left[keep], features.send(keep)
            torch.testing.assert_close(value, expected[left], rtol=1e-4, atol=1e-5)


def test_nothing_is_computed_behind_the_last_exit_asked_for(case):
    module, taps, samples, _ = case
    backbone = models.tapped(module, at=taps, example=samples)
    run = []
    handle = module.get_submodule("4" if taps == ["1", "3"] else "head").register_forward_hook(lambda *_: run.append(1))
    features = backbone.features(samples)
    for _ in taps:
        next(features)
    assert not run
    next(features)
    assert run
    handle.remove()


def test_the_module_itself_is_left_as_it_was(case):
    module, taps, samples, _ = case
    before, wanted = dict(module.state_dict()), module(samples)
    backbone = models.tapped(module, at=taps, example=samples)
    features = backbone.features(samples)
    next(features)  # and never asked again
    assert all("forward" not in vars(part) for part in module.modules())
    torch.testing.assert_close(module(samples), wanted)
    assert all(value is before[name] or torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert {name.removeprefix("module.") for name in backbone.state_dict()} == set(before)


def test_light_exits_hang_on_planes_tokens_and_vectors_alike(case):
    module, taps, samples, widths = case
    backbone = models.tapped(module, at=taps, example=samples)
    network = MultiExitNetwork(backbone=backbone, exits=models.light_classifiers(backbone, 4, 1)).eval()
    with torch.no_grad():
        logits = network(samples)
        features = seen_by_hooks(module, taps, samples)[0]
    assert [tuple(own.shape) for own in logits] == [(5, 4)] * len(widths)
    pooled = features.numpy().reshape(5, *features.shape[1:])
    pooled = {2: pooled, 3: pooled.mean(1) if pooled.ndim == 3 else None, 4: pooled.mean((-1, -2))}[pooled.ndim]
    head = network.exits[0].head
    torch.testing.assert_close(logits[0], torch.from_numpy(pooled) @ head.weight.T + head.bias)
    costs = models.exit_costs(network, samples[:1])
    assert len(costs.cumulative) == len(widths) and sorted(costs.cumulative) == list(costs.cumulative)


def test_leaving_early_answers_as_running_everything(case):
    module, taps, samples, widths = case
    backbone = models.tapped(module, at=taps, example=samples)
    network = MultiExitNetwork(backbone=backbone, exits=models.light_classifiers(backbone, 4, 1)).eval()
    weights = tuple(torch.eye(len(widths))[k][: k + 1].numpy() for k in range(len(widths)))  # each exit for itself
    with torch.no_grad():
        scores = torch.stack(network(samples), dim=1).double().numpy()
    threshold = float(sorted(criteria.max_softmax(scores)[:, 0])[2])
    policy = policies.Policy(order=("one",), weights=weights, threshold=threshold)
    found = policies.execute({"one": network}, lambda name, left: samples[left], 5, policy)
    exits = policies.leave_at(scores, threshold)
    assert found.exits.tolist() == exits.tolist() and (exits == 0).sum() == 2
    assert found.labels.tolist() == scores[range(5), exits].argmax(1).tolist()


class _Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, vectors):
        return self.layer(self.layer(vectors))


@pytest.mark.parametrize(
    ("module", "at", "message"),
    [
        (vectors(), ["11"], r"Sequential has no submodule '11'; it has, for instance: 1"),
        (vectors(), [""], r"no submodule ''; it has, for instance: 0, 1, 2"),
        (_Twice(), ["layer"], r"submodule 'layer' of _Twice is called 2 times in a pass, not once"),
        (_Twice(), ["unused"], r"submodule 'unused' of _Twice is called 0 times"),
        (nn.Sequential(nn.Linear(4, 4), nn.Unflatten(1, (2, 2))), ["0"], r"gives no logits \(B, classes\)"),
        (nn.Sequential(nn.Linear(4, 4), nn.Softmax(0)), ["0"], r"otherwise where others are beside it"),
    ],
)
def test_what_cannot_be_tapped_is_told_in_one_line(module, at, message):
    width = 7 if isinstance(module, nn.Sequential) and len(module) == 5 else 4
    with pytest.raises(NetworkError, match=message) as caught:
        models.tapped(module, at=at, example=torch.randn(3, width))
    assert "\n" not in str(caught.value)


def test_one_sample_is_no_example():
    with pytest.raises(NetworkError, match="example: two samples or more"):
        models.tapped(vectors(), at=["1"], example=torch.randn(1, 7))
