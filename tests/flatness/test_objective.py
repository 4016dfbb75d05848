"""The loss as a function of parameters, and what is refused."""

import math

import pytest
import torch
from torch import nn

from pkdlib.flatness.objective import Objective
from tests.flatness.tiny import dense_gradient, joined, make_batches, make_network, make_objective


def test_loss_is_the_mean_over_samples():
    network, batches = make_network(), make_batches((1, 6, 2))
    inputs, labels = joined(batches)
    together = nn.functional.cross_entropy(network(inputs), labels).item()
    assert Objective(network, batches).loss() == pytest.approx(together, rel=1e-12)
    assert Objective(network, [(inputs, labels)]).loss() == pytest.approx(together, rel=1e-12)


def test_gradient_is_that_of_all_samples_at_once():
    objective = make_objective()
    loss, gradient = objective.loss_and_gradient(objective.point())
    assert loss == pytest.approx(objective.loss(), rel=1e-12)
    torch.testing.assert_close(gradient, dense_gradient(objective.model, objective.batches), rtol=1e-9, atol=1e-12)


def test_other_points_are_other_networks_and_leave_this_one_alone():
    objective = make_objective(["3"])
    before = {name: value.clone() for name, value in objective.model.state_dict().items()}
    point = objective.point() * 1.5
    found, _ = objective.loss_and_gradient(point)
    assert found == pytest.approx(objective.loss(point), rel=1e-12)
    assert all(torch.equal(value, before[name]) for name, value in objective.model.state_dict().items())
    assert all(p.grad is None for p in objective.model.parameters())
    with torch.no_grad():
        objective.model[3].weight *= 1.5
        objective.model[3].bias *= 1.5
    assert objective.loss() == pytest.approx(found, rel=1e-12)
    assert found != pytest.approx(make_objective().loss(), rel=1e-3)


def test_parts_are_named_by_whole_components():
    network = nn.Sequential()
    network.add_module("head", nn.Linear(162, 3))
    network.add_module("header", nn.Linear(3, 3))
    batches = [(x.flatten(1), y) for x, y in make_batches((4,))]
    network.double().eval()
    assert Objective(network, batches, ["head"]).size == 162 * 3 + 3
    assert Objective(network, batches, ["head.bias", "header"]).size == 3 + 9 + 3
    assert Objective(network, batches, ["header", "header.bias"]).size == 9 + 3


def test_a_loss_that_overflows_away_from_the_network():
    objective = make_objective()
    with pytest.raises(ValueError, match="move the weights less far"):
        objective.loss(objective.point() * math.inf)
    with pytest.raises(ValueError, match="move the weights less far"):
        objective.loss_and_gradient(objective.point() * math.inf)


class TestBadInput:
    @pytest.mark.parametrize("batches", [[], [(torch.zeros(0, 2, 9, 9), torch.zeros(0, dtype=torch.int64))]])
    def test_no_samples(self, batches):
        with pytest.raises(ValueError, match="no samples"):
            Objective(make_network(), batches)

    def test_batch_norm_in_training_mode(self):
        network = make_network()
        network[4].train()
        with pytest.raises(ValueError, match=r"batch norm '4' .* call model.eval\(\)"):
            Objective(network, make_batches())

    def test_batch_norm_without_running_statistics(self):
        network = nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False), *make_network()).double().eval()
        with pytest.raises(ValueError, match="batch norm '0'"):
            Objective(network, make_batches())

    def test_dropout_in_training_mode(self):
        network = nn.Sequential(*make_network(), nn.Dropout()).eval()
        network[9].train()
        with pytest.raises(ValueError, match=r"1 parts .* \(the last: '9'\): call model.eval\(\)"):
            Objective(network, make_batches())

    def test_unknown_part(self):
        with pytest.raises(ValueError, match=r"none at 'haed'.*top-level parts: 0, 1, 3"):
            make_objective(["haed"])

    def test_no_parameters(self):
        with pytest.raises(ValueError, match="no parameters"):
            make_objective([])

    def test_frozen_parameters(self):
        network = make_network()
        network[0].requires_grad_(False)
        with pytest.raises(ValueError, match=r"1 of 9 parameters take no gradient \(the first: '0.weight'\)"):
            Objective(network, make_batches())
        assert Objective(network, make_batches(), ["8"]).size == 15

    def test_parameters_without_effect(self):
        network = make_network()
        network[1].unused = nn.Linear(2, 2).eval()
        with pytest.raises(ValueError, match=r"depend on 2 of 11 parameters \(the first: '1.unused.weight'\)"):
            Objective(network, make_batches())

    def test_loss_not_finite(self):
        network = make_network()
        with torch.no_grad():
            network[8].bias[0] = math.nan
        with pytest.raises(ValueError, match="loss on these samples is nan"):
            Objective(network, make_batches())
