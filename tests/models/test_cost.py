"""Costs against closed forms written out by hand and against the published costs of ResNets."""

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pkdlib.companion.experiments import costs as run_costs
from pkdlib.models import exit_heads
from pkdlib.models.cost import GMAC, ExitCosts, evaluation_mode, exit_costs, macs
from tests.extent import examples


@examples(25)
@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 4),
    filters=st.integers(1, 5),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    groups=st.integers(1, 2),
    side=st.integers(4, 9),
)
def test_convolution(batch, channels, filters, kernel, stride, padding, groups, side):
    layer = nn.Conv2d(channels * groups, filters * groups, kernel, stride, padding, groups=groups)
    out = (side + 2 * padding - kernel) // stride + 1
    by_hand = batch * out * out * (filters * groups) * channels * kernel * kernel
    assert macs(layer, torch.zeros(batch, channels * groups, side, side)) == by_hand


@examples(10)
@given(batch=st.integers(1, 4), inputs=st.integers(1, 9), outputs=st.integers(1, 9), bias=st.booleans())
def test_linear(batch, inputs, outputs, bias):
    assert macs(nn.Linear(inputs, outputs, bias=bias), torch.zeros(batch, inputs)) == batch * inputs * outputs


def test_callable_with_two_inputs():
    assert macs(torch.matmul, torch.zeros(3, 4), torch.zeros(4, 5)) == 3 * 4 * 5


# paper-facts of the ResNets at 224 x 224 (convolutions and the last linear layer, unit 1e9)
@pytest.mark.parametrize(("name", "gmac"), [("resnet18", 1.81), ("resnet50", 4.09)])
def test_resnets_cost_what_is_published(name, gmac):
    network = torchvision.models.get_model(name, weights=None).to("meta")
    measured = macs(network, torch.zeros(1, 3, 224, 224, device="meta")) / GMAC
    assert measured == pytest.approx(gmac, rel=0.01)


# paper-facts, section 5, computed from the reference's layers: each exit's cost with all before it, and its own part
@pytest.mark.parametrize(
    ("reads", "cumulative", "own", "bare"),
    [
        ("residual", [1.12, 1.65, 2.18, 2.59], [0.543, 0.116, 0.116], 1.81),
        ("motion", [1.08, 1.61, 2.14, 2.55], [0.543, 0.116, 0.116], 1.77),
        ("iframe", [1.25, 3.20, 6.52, 7.33], [0.463, 0.925, 1.851], 4.09),
    ],
)
def test_the_papers_exits_cost_what_was_computed(reads, cumulative, own, bare):
    costs = run_costs.exit_costs(((reads, "paper"),), exit_heads.KINDS["paper"], 101, 1, 224)[reads]
    assert [each / GMAC for each in costs.cumulative] == pytest.approx(cumulative, rel=0.01)
    assert [each / GMAC for each in costs.own[:3]] == pytest.approx(own, rel=0.01) and costs.own[3] == 0
    assert costs.bare / GMAC == pytest.approx(bare, rel=0.01)


def test_motion_stem_is_cheaper_by_its_missing_channel():
    network = torchvision.models.resnet18(weights=None).to("meta")
    rgb = macs(network, torch.zeros(1, 3, 224, 224, device="meta"))
    network.conv1 = nn.Conv2d(2, 64, 7, stride=2, padding=3, bias=False, device="meta")
    motion = macs(network, torch.zeros(1, 2, 224, 224, device="meta"))
    assert rgb - motion == 112 * 112 * 64 * 7 * 7


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList([nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, stride=2, padding=1)])
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        for stage in self.stages:
            x = stage(x)
        return self.head(x.mean((2, 3)))


class MultiExit(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = Backbone()
        self.exits = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, 2, 1), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8, 5)) for c in (4, 6)
        )

    def iterate(self, x):
        for stage, ic in zip(self.backbone.stages, self.exits, strict=True):
            x = stage(x)
            yield ic(x)
        yield self.backbone.head(x.mean((2, 3)))


def test_exit_costs_by_hand():
    first, second, head = 8 * 8 * 4 * 3 * 9, 4 * 4 * 6 * 4 * 9, 6 * 5
    ic1, ic2 = 8 * 8 * 2 * 4 + 8 * 5, 4 * 4 * 2 * 6 + 8 * 5
    assert exit_costs(MultiExit(), torch.zeros(1, 3, 8, 8)) == ExitCosts(
        cumulative=(first + ic1, first + ic1 + second + ic2, first + ic1 + second + ic2 + head),
        own=(ic1, ic2, 0),
        bare=first + second + head,
    )


def test_exit_costs_leave_no_hook_behind():
    network = MultiExit()
    exit_costs(network, torch.zeros(1, 3, 8, 8))
    assert not any(e._forward_hooks or e._forward_pre_hooks for e in network.exits)


def test_modes_and_batch_norm_statistics_are_left_as_they_were():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout()).train()
    network[1].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    macs(network, torch.randn(2, 3, 5, 5))
    assert [part.training for part in network] == [True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_modes_are_restored_after_an_error():
    network = nn.Sequential(nn.Linear(3, 2)).train()
    with pytest.raises(RuntimeError):
        macs(network, torch.zeros(1, 4))
    assert network.training


def test_module_runs_in_eval_mode_and_without_gradient():
    seen = []

    class Probe(nn.Module):
        def forward(self, x):
            seen.append((self.training, torch.is_grad_enabled()))
            return x

    macs(Probe().train(), torch.zeros(1))
    assert seen == [(False, False)]


def test_evaluation_mode_leaves_other_objects_alone():
    with evaluation_mode(torch.relu):
        assert macs(torch.relu, torch.zeros(3)) == 0
