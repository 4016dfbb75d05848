"""Losses along directions and on planes against networks whose weights are set by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from pkdlib.flatness import landscape
from pkdlib.flatness.objective import Objective
from tests.flatness.tiny import joined, make_batches, make_network, make_objective

POSITIONS = [-0.5, 0.0, 0.25, 1.0]


def direction_of(objective, seed=0):
    return landscape.filter_normalised_direction(objective, torch.Generator().manual_seed(seed))


def moved_loss(displacements):
    """The loss of the tiny network after adding name -> tensor to its weights in place."""
    network, (inputs, labels) = make_network(), joined(make_batches())
    with torch.no_grad():
        for name, value in displacements.items():
            network.get_parameter(name).add_(value)
        return nn.functional.cross_entropy(network(inputs), labels).item()


def test_filters_have_the_norms_of_the_networks_own():
    objective = make_objective()
    found = objective.values(direction_of(objective))
    for name, parameter in objective.model.named_parameters():
        if parameter.ndim == 1:  # biases and batch norm
            assert not found[name].any()
        else:
            torch.testing.assert_close(found[name].flatten(1).norm(dim=1), parameter.detach().flatten(1).norm(dim=1))


def test_slices_are_a_brute_force_loop():
    objective = make_objective()
    losses = landscape.slices(objective, POSITIONS, directions=3, seed=7)
    assert losses.shape == (3, 4)
    assert losses[:, 1] == pytest.approx([objective.loss()] * 3, rel=1e-12)
    generator = torch.Generator().manual_seed(7)
    for row in losses:
        direction = objective.values(landscape.filter_normalised_direction(objective, generator))
        expected = [moved_loss({name: x * d for name, d in direction.items()}) for x in POSITIONS]
        assert row == pytest.approx(expected, rel=1e-12)


def test_surface_is_a_brute_force_loop():
    objective = make_objective()
    losses = landscape.surface(objective, POSITIONS, seed=3)
    assert losses[1, 1] == pytest.approx(objective.loss(), rel=1e-12)
    generator = torch.Generator().manual_seed(3)
    first, second = (objective.values(landscape.filter_normalised_direction(objective, generator)) for _ in range(2))
    for i, x in enumerate(POSITIONS):
        for j, y in enumerate(POSITIONS):
            expected = moved_loss({name: x * first[name] + y * second[name] for name in first})
            assert losses[i, j] == pytest.approx(expected, rel=1e-12)


def test_a_part_moves_alone():
    objective = make_objective(["3"])
    direction = objective.values(direction_of(objective))
    assert direction.keys() == {"3.weight", "3.bias"}
    expected = moved_loss({"3.weight": direction["3.weight"]})
    assert landscape.slices(objective, [1.0], directions=1)[0, 0] == pytest.approx(expected, rel=1e-12)


def test_dead_filters_stay_where_they_are():
    network = make_network()
    with torch.no_grad():
        network[3].weight[1] = 0
    direction = direction_of(Objective(network, make_batches()))
    assert direction.isfinite().all()


def test_deterministic_in_the_seed():
    objective = make_objective()
    torch.manual_seed(5)
    first = landscape.slices(objective, [1.0], directions=2, seed=1)
    torch.manual_seed(6)
    assert np.array_equal(landscape.slices(objective, [1.0], directions=2, seed=1), first)
    assert not np.array_equal(landscape.slices(objective, [1.0], directions=2, seed=2), first)


class TestBadInput:
    def test_no_filters(self):
        with pytest.raises(ValueError, match=r"none of 8.bias has filters"):
            landscape.slices(make_objective(["8.bias"]), POSITIONS)

    def test_no_directions(self):
        with pytest.raises(ValueError, match="directions is 0"):
            landscape.slices(make_objective(), POSITIONS, directions=0)
