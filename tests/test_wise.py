import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from pkdlib import wise


def draw(seed, samples=80, exits=4, classes=5):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=samples)
    logits = rng.normal(size=(samples, exits, classes))
    logits[np.arange(samples), :, labels] += rng.uniform(0, 1.5, exits)
    return logits, labels


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), exits=st.integers(1, 6))
def test_the_fit_equals_a_second_optimiser(seed, exits):
    logits, labels = draw(seed, exits=exits)
    fitted = wise.fit(logits, labels)
    other = scipy.optimize.minimize(
        wise.objective, np.ones(exits), args=(logits, labels, wise.RIDGE), method="BFGS", options={"gtol": 1e-9}
    )
    np.testing.assert_allclose(fitted, other.x, atol=1e-4)


def test_the_objective_is_the_formula_in_plain_loops():
    logits, labels = draw(1, samples=7, exits=2, classes=3)
    weights = np.array([0.3, 1.2])
    total = 0.0
    for n in range(7):
        score = [sum(weights[k] * logits[n, k, c] for k in range(2)) for c in range(3)]
        total += np.log(sum(np.exp(s) for s in score)) - score[labels[n]]
    expected = total / 7 + 0.05 * ((0.3 - 0.5) ** 2 + (1.2 - 0.5) ** 2)
    assert wise.objective(weights, logits, labels, 0.1) == pytest.approx(expected)


def test_separable_logits_have_a_finite_optimum():
    labels = np.arange(30) % 3
    logits = np.stack([np.eye(3)[labels] * 10, np.eye(3)[labels] * 5], axis=1)
    weights = wise.fit(logits, labels)
    assert np.isfinite(weights).all()
    gradient = scipy.optimize.approx_fprime(weights, wise.objective, 1e-7, logits, labels, wise.RIDGE)
    np.testing.assert_allclose(gradient, 0, atol=1e-4)


def test_without_a_ridge_the_fit_is_refused():
    with pytest.raises(ValueError, match="no finite optimum"):
        wise.fit(*draw(0), ridge=0)


def test_a_useless_exit_gets_less_weight_than_a_good_one():
    logits, labels = draw(3, samples=400, exits=2)
    logits[:, 0] = np.random.default_rng(0).normal(size=logits[:, 0].shape)
    useless, good = wise.fit(logits, labels, ridge=1e-3)
    assert abs(useless) < 0.3 * good


def test_each_prefix_sees_its_own_exits_only():
    logits, labels = draw(5)
    fitted = wise.fit_prefixes(logits, labels)
    assert [len(w) for w in fitted] == [1, 2, 3, 4]
    changed = logits.copy()
    changed[:, 3] = 0
    again = wise.fit_prefixes(changed, labels)
    for k in range(3):
        np.testing.assert_array_equal(fitted[k], again[k])


def test_scores_are_weighted_sums():
    logits, _ = draw(6)
    combined = wise.scores(logits, wise.uniform_weights(4))
    for k in range(1, 5):
        np.testing.assert_allclose(combined[:, k - 1], logits[:, :k].mean(axis=1))
