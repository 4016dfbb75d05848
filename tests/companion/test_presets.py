import pytest
import torch

from pkdlib.companion import presets
from pkdlib.companion.presets import PLANS
from pkdlib.distillation.schedules import METHODS, teacher_at
from pkdlib.early_exit import policies
from pkdlib.models import backbones, exit_heads
from pkdlib.training import optimisers


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_a_plan_names_what_there_is(plan):
    assert set(plan.networks) <= set(backbones.CHANNELS)
    assert all(sorted(order) == sorted(plan.networks) for order in plan.orders)
    assert set(plan.kinds) <= set(exit_heads.KINDS)
    assert {kind for kind, _ in plan.chosen} <= set(plan.kinds)
    assert {method for _, method in plan.chosen} <= set(plan.methods)
    assert list(plan.methods) == list(METHODS)
    for tuning in (plan.tuning, plan.exit_tuning, plan.fine_tuning, plan.exit_fine_tuning):
        assert tuning.optimiser in optimisers.OPTIMISERS
        assert list(tuning.milestones) == sorted(tuning.milestones)
        assert all(0 < milestone < 1 for milestone in tuning.milestones)


def test_the_three_networks_are_visited_in_every_order_the_references_first():
    orders = PLANS["coviar"].orders
    assert orders[0] == ("residual", "motion", "iframe")
    assert len(set(orders)) == 6


def test_teamnet_takes_its_teachers_in_the_references_shares():
    stages = PLANS["teamnet"].methods["pkd"].stages
    assert [teacher_at(stages, epoch / 40) for epoch in range(40)] == ["motion"] * 3 + ["residual"] * 3 + [
        "iframe"
    ] * 34
    rates = [optimisers.lr_share(PLANS["teamnet"].exit_tuning, epoch / 40) for epoch in range(40)]
    assert rates == pytest.approx([1.0] * 25 + [0.1] * 5 + [0.01] * 5 + [0.001] * 5)


def test_fine_tuning_is_the_references():
    tuning = PLANS["coviar"].fine_tuning
    network = backbones.paper_backbone(modality="motion", num_classes=3)
    factors = {
        id(parameter): group["factor"]
        for group in optimisers.parameter_groups(network, tuning)
        for parameter in group["params"]
    }
    assert {factors[id(parameter)] for parameter in network.head.parameters()} == {1.0}
    assert {factors[id(parameter)] for parameter in network.stem.parameters()} == {0.1}
    assert {factors[id(parameter)] for parameter in network.stages.parameters()} == {0.01}
    rates = [0.01 * optimisers.lr_share(tuning, epoch / 510) for epoch in (0, 149, 150, 270, 390, 509)]
    assert rates == pytest.approx([1e-2, 1e-2, 1e-3, 1e-4, 1e-5, 1e-5])
    own = [0.01 * tuning.network_factors.get(name, 1.0) for name in PLANS["coviar"].networks]
    assert own == pytest.approx([0.0003, 0.01, 0.005])


def test_a_network_from_imagenet_is_trained_slower_below_its_classifier():
    for size, tuning in presets.IFRAME_NETWORKS.items():
        network = backbones.backbone(modality="iframe", size=size, num_classes=3)
        groups = optimisers.parameter_groups(network, tuning)
        factors = {id(parameter): group["factor"] for group in groups for parameter in group["params"]}
        head = {factors[id(parameter)] for parameter in network.head.parameters()}
        below = {factors[id(parameter)] for part in (network.stem, network.stages) for parameter in part.parameters()}
        assert head == {1.0} and max(below) < 1
        optimiser = optimisers.OPTIMISERS[tuning.optimiser](groups)
        assert isinstance(optimiser, torch.optim.AdamW)
        norms = [group for group in optimiser.param_groups if group["params"][0].ndim == 1]
        assert norms and not any(group["weight_decay"] for group in norms)


def test_the_kinds_of_all_backbones_are_known_to_readers_of_tables():
    assert presets.LIGHT_KINDS == ("light", "squeezed") and presets.PAPER_KINDS == ("paper", "squeezed")


def test_one_network_is_a_cascade_too():
    plan = PLANS["teamnet"]
    costs = policies.cascade_costs({"joint": (1, 2, 3, 4)}, plan.orders[0])
    assert costs.tolist() == [1, 2, 3, 4]
