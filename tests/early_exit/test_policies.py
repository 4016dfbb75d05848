import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pkdlib.companion.presets import PLANS
from pkdlib.early_exit import criteria, policies
from pkdlib.early_exit.policies import Answers, Policy
from pkdlib.ensemble import wise
from pkdlib.models import backbones, exit_heads
from pkdlib.models.backbones import MODALITIES, MultiExitNetwork
from tests.extent import examples

ORDER = PLANS["coviar"].orders[0]


@pytest.fixture(scope="module")
def cascade():
    torch.manual_seed(1)
    nets = {}
    for modality in MODALITIES:
        backbone = backbones.backbone(modality=modality, size="small", num_classes=4)
        exits = exit_heads.internal_classifiers("paper", backbone=backbone, num_classes=4)
        nets[modality] = MultiExitNetwork(backbone=backbone, exits=exits).eval()
    clips = {m: torch.randn(12, 2, backbones.CHANNELS[m], 32, 32) * 3 for m in MODALITIES}
    rng = np.random.default_rng(0)
    weights = [rng.uniform(0.5, 2.0, k) for k in range(1, 13)]
    return nets, clips, weights


def all_scores(nets, clips, weights, order=ORDER):
    with torch.no_grad():
        stacked = [logits.double().numpy() for m in order for logits in nets[m](clips[m])]
    return wise.weighted_scores(np.stack(stacked, axis=1), weights)


def run(nets, clips, policy, batch=12):
    """Execute in batches, as one set of answers; and what was loaded, as (modality, positions)."""
    loaded, parts = [], []
    for start in range(0, 12, batch):

        def load(modality, positions, start=start):
            loaded.append((modality, (start + positions).tolist()))
            return clips[modality][start + positions]

        parts.append(policies.execute(nets, load, min(batch, 12 - start), policy))
    joined = [np.concatenate([getattr(p, f.name) for p in parts]) for f in dataclasses.fields(Answers)]
    return Answers(*joined), loaded


SETTINGS = [
    *itertools.product(["max_softmax"], [0.3, 0.45, 0.6, 0.8, 1.0]),
    *itertools.product(["margin", "entropy"], [0.05, 0.2, 0.5]),
    *itertools.product(["patience"], [1.5, 3.5, 6.5]),
]


@pytest.mark.parametrize("order", [ORDER, ("motion", "iframe", "residual")])
@pytest.mark.parametrize("batch", [1, 5, 12])
@pytest.mark.parametrize(("criterion", "threshold"), SETTINGS)
def test_stopping_for_real_gives_what_the_logits_say(cascade, order, batch, criterion, threshold):
    nets, clips, weights = cascade
    policy = Policy(order=order, weights=tuple(weights), criterion=criterion, threshold=threshold)
    answers, _ = run(nets, clips, policy, batch)
    scores = all_scores(nets, clips, weights, order)
    exits = policies.leave_at(scores, threshold, criterion)
    near = answers.distances < 1e-5
    assert near.sum() <= 1
    assert (near | (answers.exits == exits)).all()
    assert (near | (answers.labels == scores[np.arange(12), exits].argmax(1))).all()


class OnGpu(torch.Tensor):
    """A tensor of the processor that, like a GPU's, is no NumPy array until it is fetched."""

    def cpu(self):
        return self.as_subclass(torch.Tensor)

    def numpy(self):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu()")


def test_networks_on_a_gpu_answer_alike(cascade):
    nets, clips, weights = cascade
    sure = criteria.max_softmax(all_scores(nets, clips, weights))
    policy = Policy(order=ORDER, weights=tuple(weights), threshold=float(np.quantile(sure, 0.8)))
    expected, _ = run(nets, clips, policy)
    found, _ = run(nets, {m: clip.as_subclass(OnGpu) for m, clip in clips.items()}, policy)
    assert len(set(expected.exits)) > 2
    for name in ("labels", "confidences", "exits", "distances"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_those_who_left_are_not_computed_any_more(cascade):
    nets, clips, weights = cascade
    sure = criteria.max_softmax(all_scores(nets, clips, weights))
    policy = Policy(order=ORDER, weights=tuple(weights), threshold=float(np.quantile(sure, 0.8)))
    ran = []
    hooks = [
        stage.register_forward_hook(lambda _, inputs, __, name=(m, i): ran.append((name, len(inputs[0]) // 2)))
        for m in MODALITIES
        for i, stage in enumerate(nets[m].backbone.stages)
    ]
    answers, loaded = run(nets, clips, policy)
    for hook in hooks:
        hook.remove()
    members = [(m, number) for m in policy.order for number in range(4)]
    expected = [(members[k], int((answers.exits >= k).sum())) for k in range(12) if (answers.exits >= k).any()]
    assert len({count for _, count in expected}) > 2  # some leave on the way
    assert ran == expected
    for modality, positions in loaded:
        first = 4 * policy.order.index(modality)
        assert positions == np.flatnonzero(answers.exits >= first).tolist()


def test_all_leave_at_the_first_exit_or_none_does(cascade):
    nets, clips, weights = cascade
    everyone, loaded = run(nets, clips, Policy(order=ORDER, weights=tuple(weights), threshold=-np.inf))
    assert (everyone.exits == 0).all()
    assert [modality for modality, _ in loaded] == ["residual"]
    nobody, loaded = run(nets, clips, Policy(order=ORDER, weights=tuple(weights)))
    assert (nobody.exits == 11).all()
    assert [modality for modality, _ in loaded] == ["residual", "motion", "iframe"]


def test_fewer_networks_make_a_shorter_cascade(cascade):
    nets, clips, weights = cascade
    answers, _ = run(nets, clips, Policy(order=("motion",), weights=tuple(weights[:4])))
    assert (answers.exits == 3).all()


def test_logits_that_are_not_finite_are_refused(cascade):
    nets, clips, weights = cascade
    broken = {m: c.clone() for m, c in clips.items()}
    broken["residual"][3] = np.inf
    with pytest.raises(ValueError, match=r"exit residual-1: infinite or NaN logits"):
        run(nets, broken, Policy(order=ORDER, weights=tuple(weights)))
    with pytest.raises(ValueError, match="infinite or NaN scores"):
        policies.leave_at(np.full((1, 2, 3), np.nan), 0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"criterion": "sure"}, "'sure' is not known; the criteria are: max_softmax, margin, entropy, patience"),
        ({"threshold": float("nan")}, "threshold is not a number"),
        ({"weights": (np.ones(2),)}, r"weights: vectors of lengths \[2\]"),
        ({"weights": ()}, r"weights: vectors of lengths \[\]"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(change, message):
    good = {"order": ("motion",), "weights": tuple(wise.uniform_weights(4))}
    with pytest.raises(ValueError, match=message):
        Policy(**good | change)


def test_confidences_in_plain_loops():
    scores = np.random.default_rng(0).normal(size=(6, 5, 4)) * 2
    for n, sample in enumerate(scores):
        in_a_row, before = 0, None
        for k, score in enumerate(sample):
            p = sorted(np.exp(score) / np.exp(score).sum())
            in_a_row = in_a_row + 1 if score.argmax() == before else 1
            before = score.argmax()
            assert criteria.max_softmax(scores)[n, k] == pytest.approx(p[-1])
            assert criteria.margin(scores)[n, k] == pytest.approx(p[-1] - p[-2])
            assert criteria.entropy(scores)[n, k] == pytest.approx(1 + sum(x * np.log(x) for x in p) / np.log(4))
            assert criteria.patience(scores)[n, k] == in_a_row


def test_identical_logits_never_look_sure():
    scores = np.zeros((3, 4, 5))
    assert (policies.leave_at(scores, 0.5) == 3).all()
    assert (policies.leave_at(scores, 0.0, "margin") == 3).all()
    assert criteria.entropy(scores) == pytest.approx(0, abs=1e-12)
    assert (policies.leave_at(scores, 2.5, "patience") == 2).all()


@examples(30)
@given(seed=st.integers(0, 1000), criterion=st.sampled_from(sorted(policies.CRITERIA)), aim=st.floats(0.1, 1))
def test_the_chosen_threshold_is_the_best_of_all(seed, criterion, aim):
    rng = np.random.default_rng(seed)
    scores, labels = rng.normal(size=(15, 4, 3)) * 2, rng.integers(3, size=15)
    costs = np.array([1.0, 2.0, 4.0, 8.0])
    seen = np.unique(policies.CRITERIA[criterion](scores))
    every = [-np.inf, *(seen[1:] + seen[:-1]) / 2, np.inf]  # at most 60: no candidate is left out
    rows = policies.trade_off(scores, labels, costs, every, criterion)

    def met(**goal):
        threshold = policies.choose_threshold(scores, labels, costs, criterion=criterion, **goal)
        (row,) = policies.trade_off(scores, labels, costs, [threshold], criterion)
        return row["accuracy"], row["gmac"]

    budget = 1 + 7 * aim
    within = [(row["accuracy"], -row["gmac"]) for row in rows if row["gmac"] <= budget]
    accuracy, gmac = met(budget=budget)
    assert (accuracy, -gmac) == pytest.approx(max(within))
    enough = [(row["gmac"], -row["accuracy"]) for row in rows if row["accuracy"] >= aim]
    if enough:
        accuracy, gmac = met(accuracy=aim)
        assert (gmac, -accuracy) == pytest.approx(min(enough))
    else:
        with pytest.raises(ValueError, match="cannot be met: thresholds reach accuracies up to"):
            met(accuracy=aim)


def test_one_aim_at_a_time():
    data = np.zeros((1, 2, 3)), np.zeros(1, int), np.ones(2)
    for aims in ({}, {"accuracy": 0.5, "budget": 1.0}):
        with pytest.raises(ValueError, match="either accuracy or budget"):
            policies.choose_threshold(*data, **aims)


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
    assert policies.leave_at(scores, 0.7).tolist() == expected


def test_wrong_answers_are_charged_too():
    # One clip sure and right at the first exit, one sure and wrong there.
    scores = np.array([[[9.0, 0.0], [9.0, 0.0]], [[9.0, 0.0], [0.0, 9.0]]])
    (row,) = policies.trade_off(scores, np.array([0, 1]), np.array([1.0, 10.0]), thresholds=[0.9])
    assert row == {"setting": 0.9, "gmac": 1.0, "accuracy": 0.5, "clips": 2}


def test_a_threshold_of_one_never_leaves_early():
    scores = np.full((3, 4, 2), 0.0)
    scores[:, :, 0] = 800.0
    assert policies.leave_at(scores, 1.0).tolist() == [3, 3, 3]


def test_later_networks_pay_for_the_ones_before():
    costs = policies.cascade_costs(
        {"residual": (1, 2, 3, 4), "motion": (10, 20, 30, 40), "iframe": (5, 6, 7, 8)}, ORDER
    )
    assert costs.tolist() == [1, 2, 3, 4, 14, 24, 34, 44, 49, 50, 51, 52]
    assert list(itertools.accumulate(costs, max)) == costs.tolist()


def test_the_chosen_policy_is_the_best_of_all_that_the_budget_allows():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 30)
    weights, costs = tuple(wise.uniform_weights(3)), np.array([1.0, 2.0, 4.0])
    orders = []
    for name in ("a", "b"):
        scores = rng.normal(size=(30, 3, 3)) + np.eye(3)[labels][:, None] * np.array([0.5, 1, 2])[:, None]
        orders.append(policies.ScoredOrder((name,), weights, scores, costs))
    chosen = policies.choose_policy(orders, labels, share=0.6)
    best = (-1.0, 0.0)
    for own in orders:
        for criterion, confidence in criteria.CRITERIA.items():
            for threshold in {*confidence(own.scores)[:, :-1].ravel(), -np.inf, np.inf}:
                exits = policies.leave_at(own.scores, threshold, criterion)
                right = (own.scores[range(30), exits].argmax(1) == labels).mean()
                if costs[exits].mean() <= 0.6 * costs[-1]:
                    best = max(best, (right, -costs[exits].mean()))
    (own,) = (own for own in orders if own.order == chosen.order)
    exits = policies.leave_at(own.scores, chosen.threshold, chosen.criterion)
    assert ((own.scores[range(30), exits].argmax(1) == labels).mean(), -costs[exits].mean()) == pytest.approx(best)
    assert chosen.weights is weights


def test_a_policy_for_other_networks_is_refused_before_anything_is_computed():
    networks = {"motion": MultiExitNetwork(backbone=None, exits=torch.nn.ModuleList([torch.nn.Identity()] * 3))}
    policy = Policy(order=("motion",), weights=tuple(wise.uniform_weights(2)))
    with pytest.raises(ValueError, match=r"weights: 2 vectors; \('motion',\) have 4 exits"):
        policies.execute(networks, lambda name, left: pytest.fail("computed"), 1, policy)
