import itertools

import numpy as np
import pytest
import torch

from pkdlib import classifiers, early_exit, networks, wise
from pkdlib.networks import MODALITIES, MultiExitNetwork


@pytest.fixture(scope="module")
def cascade():
    torch.manual_seed(1)
    nets = {}
    for modality in MODALITIES:
        backbone = networks.backbone(modality=modality, size="small", num_classes=4)
        exits = classifiers.internal_classifiers("paper", backbone=backbone, num_classes=4)
        nets[modality] = MultiExitNetwork(backbone=backbone, exits=exits).eval()
    clips = {m: torch.randn(12, 2, networks.CHANNELS[m], 32, 32) * 3 for m in MODALITIES}
    rng = np.random.default_rng(0)
    weights = [rng.uniform(0.5, 2.0, k) for k in range(1, 13)]
    return nets, clips, weights


def all_scores(nets, clips, weights):
    with torch.no_grad():
        stacked = [logits.double().numpy() for m in early_exit.modalities_in_order() for logits in nets[m](clips[m])]
    return wise.scores(np.stack(stacked, axis=1), weights)


@pytest.mark.parametrize("threshold", [0.3, 0.45, 0.6, 0.8, 1.0])
def test_stopping_for_real_gives_what_the_logits_say(cascade, threshold):
    nets, clips, weights = cascade
    scores = all_scores(nets, clips, weights)
    exits = early_exit.leave_at(scores, threshold)
    for n in range(12):
        answer = early_exit.classify(nets, {m: c[n : n + 1] for m, c in clips.items()}, weights, threshold)
        assert answer.exit == exits[n]
        assert answer.label == scores[n, exits[n]].argmax()


def test_nothing_behind_the_exit_is_computed(cascade):
    nets, clips, weights = cascade
    ran = []
    hooks = [
        stage.register_forward_hook(lambda *_, name=(m, i): ran.append(name))
        for m in MODALITIES
        for i, stage in enumerate(nets[m].backbone.stages)
    ]
    answer = early_exit.classify(nets, {m: c[:1] for m, c in clips.items()}, weights, threshold=0.0)
    for hook in hooks:
        hook.remove()
    assert answer.exit == 0
    assert ran == [("residual", 0)]


def test_where_clips_leave_in_plain_loops():
    rng = np.random.default_rng(2)
    scores = rng.normal(size=(30, 5, 3)) * 2
    expected = []
    for sample in scores:
        for k, score in enumerate(sample):
            probabilities = np.exp(score) / np.exp(score).sum()
            if probabilities.max() > 0.7 or k == 4:
                expected.append(k)
                break
    assert early_exit.leave_at(scores, 0.7).tolist() == expected


def test_wrong_answers_are_charged_too():
    # One clip sure and right at the first exit, one sure and wrong there.
    scores = np.array([[[9.0, 0.0], [9.0, 0.0]], [[9.0, 0.0], [0.0, 9.0]]])
    (row,) = early_exit.trade_off(scores, np.array([0, 1]), np.array([1.0, 10.0]), thresholds=[0.9])
    assert row == {"setting": 0.9, "gmac": 1.0, "accuracy": 0.5, "clips": 2}


def test_a_threshold_of_one_never_leaves_early():
    scores = np.full((3, 4, 2), 0.0)
    scores[:, :, 0] = 800.0
    assert early_exit.leave_at(scores, 1.0).tolist() == [3, 3, 3]


def test_later_networks_pay_for_the_ones_before():
    costs = early_exit.cascade_costs({"residual": (1, 2, 3, 4), "motion": (10, 20, 30, 40), "iframe": (5, 6, 7, 8)})
    assert costs.tolist() == [1, 2, 3, 4, 14, 24, 34, 44, 49, 50, 51, 52]
    assert list(itertools.accumulate(costs, max)) == costs.tolist()
