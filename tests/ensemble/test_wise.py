import numpy as np
import pytest
import scipy.optimize
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

from pkdlib.ensemble import stacking, wise
from tests.extent import examples


def draw(seed, samples=80, exits=4, classes=5):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=samples)
    logits = rng.normal(size=(samples, exits, classes))
    logits[np.arange(samples), :, labels] += rng.uniform(0, 1.5, exits)
    return logits, labels


def objective(weights, logits, labels, l1=0.0):
    """What a fit minimises, as its formula stands."""
    scores = np.einsum("nkc,k->nc", logits, weights)
    losses = scipy.special.logsumexp(scores, axis=1) - scores[np.arange(len(labels)), labels]
    pull = weights - 1 / len(weights)
    return losses.mean() + wise.RIDGE / 2 * (pull**2).sum() + l1 * np.abs(weights).sum()


def second_optimiser(logits, labels, ridge, l1, nonnegative):
    """Minimise over the positive and negative parts of the weights, where the penalty is smooth, within bounds."""
    exits = logits.shape[1]
    truth = np.arange(len(labels)), labels

    def evaluate(parts):
        up, down = parts[:exits], parts[exits:]
        scores = np.einsum("nkc,k->nc", logits, up - down)
        log_p = scores - scipy.special.logsumexp(scores, axis=1, keepdims=True)
        pull = up - down - 1 / exits
        errors = np.exp(log_p)
        errors[truth] -= 1
        slope = np.einsum("nkc,nc->k", logits, errors) / len(labels) + ridge * pull
        value = -log_p[truth].mean() + ridge / 2 * (pull**2).sum() + l1 * parts.sum()
        return value, np.concatenate([slope + l1, -slope + l1])

    bounds = [(0, None)] * exits + [(0, 0 if nonnegative else None)] * exits
    tight = {"gtol": 1e-10, "ftol": 0, "maxiter": 20_000, "maxfun": 50_000}
    start = np.full(2 * exits, 0.1) * np.repeat([1, 0 if nonnegative else 1], exits)
    found = scipy.optimize.minimize(evaluate, start, jac=True, bounds=bounds, method="L-BFGS-B", options=tight)
    return found.x[:exits] - found.x[exits:]


@examples(20)
@given(seed=st.integers(0, 10_000), exits=st.integers(1, 6))
@pytest.mark.parametrize("l1", [0.0, 0.05])
@pytest.mark.parametrize("nonnegative", [False, True])
def test_the_fit_equals_a_second_optimiser(seed, exits, l1, nonnegative):
    logits, labels = draw(seed, exits=exits)
    if exits > 1:
        logits[:, 0] *= -1  # an exit that is wrong as a rule wants a negative weight
    fitted = wise.fit(logits, labels, l1=l1, nonnegative=nonnegative)
    other = second_optimiser(logits, labels, wise.RIDGE, l1, nonnegative)
    np.testing.assert_allclose(fitted, other, atol=1e-4)
    assert objective(fitted, logits, labels, l1) <= objective(other, logits, labels, l1) + 1e-9


def test_the_sign_constraint_binds_where_a_weight_would_be_negative():
    logits, labels = draw(2)
    logits[:, 0] *= -1
    assert wise.fit(logits, labels)[0] < 0
    assert wise.fit(logits, labels, nonnegative=True)[0] == 0


def test_a_strong_l1_term_leaves_no_weight():
    logits, labels = draw(4)
    assert (wise.fit(logits, labels, l1=10.0) == 0).all()
    some = wise.fit(logits, labels, l1=0.0)
    assert np.abs(wise.fit(logits, labels, l1=0.05)).sum() < np.abs(some).sum()


@pytest.mark.parametrize("options", [{}, {"l1": 0.05}, {"nonnegative": True}])
def test_edges(options):
    rng = np.random.default_rng(0)
    same = np.repeat(rng.normal(size=(40, 1, 4)), 3, axis=1)
    labels = rng.integers(3, size=40)  # the fourth class is missing
    weights = wise.fit(same, labels, **options)
    np.testing.assert_allclose(weights, weights[0], atol=1e-6)  # the ridge shares it out
    assert np.isfinite(wise.fit(same[:1], labels[:1], **options)).all()
    zero = wise.fit(np.zeros((5, 2, 3)), np.arange(5) % 3, **options)
    np.testing.assert_allclose(zero, 0.0 if "l1" in options else 0.5, atol=1e-6)  # the penalties alone decide


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": np.full((4, 2, 3), np.inf)}, "infinite or NaN logits are refused"),
        ({"logits": np.full((4, 2, 3), np.nan)}, "infinite or NaN logits are refused"),
        ({"logits": np.zeros((4, 3))}, "logits: shape"),
        ({"logits": np.zeros((0, 2, 3))}, "logits: shape"),
        ({"labels": np.zeros(3, int)}, "labels: shape"),
        ({"labels": np.array([0, 1, 2, 3])}, "labels: need integers from 0 to 2"),
        ({"labels": np.array([0.0, 1, 2, 0])}, "labels: need integers"),
        ({"ridge": -1.0}, "ridge: -1.0 must be above 0"),
        ({"l1": -0.1}, "l1: -0.1 must be 0 or above"),
    ],
)
def test_what_cannot_be_fitted_is_named(change, message):
    good = {"logits": np.zeros((4, 2, 3)), "labels": np.array([0, 1, 2, 0])}
    with pytest.raises(ValueError, match=message):
        wise.fit(**good | change)


def test_the_temperature_lowers_confidence_that_is_too_high():
    rng = np.random.default_rng(1)
    labels = rng.integers(3, size=2000)
    logits = rng.normal(size=(2000, 3))
    logits[np.arange(2000), labels] += 1.0  # with unit noise these are calibrated: log p(z | y) differ by z_y
    assert wise.fit_temperature(logits, labels, ridge=1e-6) == pytest.approx(1.0, abs=0.1)
    assert wise.fit_temperature(5 * logits, labels, ridge=1e-6) == pytest.approx(0.2, abs=0.02)


def test_stacking_is_at_a_minimum_and_scores_in_plain_loops():
    logits, labels = draw(7, samples=30, exits=2, classes=3)
    fitted = stacking.fit_stacking(logits, labels)

    def evaluate(flat):
        matrix, bias = flat[:18].reshape(6, 3), flat[18:]
        total = 0.0
        for n in range(30):
            z = logits[n].ravel() @ matrix + bias
            total += np.log(np.exp(z).sum()) - z[labels[n]]
        return total / 30 + wise.RIDGE / 2 * (matrix**2).sum()

    flat = np.concatenate([fitted.matrix.ravel(), fitted.bias])
    np.testing.assert_allclose(scipy.optimize.approx_fprime(flat, evaluate, 1e-6), 0, atol=1e-5)
    row, score = logits[4].ravel(), fitted.scores(logits)[4]
    for c in range(3):
        assert score[c] == pytest.approx(sum(row[i] * fitted.matrix[i, c] for i in range(6)) + fitted.bias[c])
    with pytest.raises(ValueError, match="this stacking takes 6"):
        fitted.scores(logits[:, :1])


def test_stacking_lives_with_a_class_that_is_missing():
    logits, labels = draw(8, samples=20)
    fitted = stacking.fit_stacking(logits, np.minimum(labels, 3))
    assert (fitted.scores(logits).argmax(1) < 4).all()


def test_the_references_variants_end_in_its_fallbacks():
    logits = np.random.default_rng(3).normal(size=(5, 12, 4))
    variants = wise.reference_variant_scores(logits)
    for n in range(5):
        np.testing.assert_allclose(variants["no_scaling"][n, 4], sum(logits[n, k] for k in range(5)))
        finals = logits[n, 3] + logits[n, 7] + logits[n, 11]
        np.testing.assert_allclose(variants["no_scaling"][n, 11], finals)
        np.testing.assert_array_equal(variants["no_lateral"][n], logits[n])
    with pytest.raises(ValueError, match="11 exits; the reference's variants need 4 of each network"):
        wise.reference_variant_scores(logits[:, 1:])


def test_orders_visit_one_network_after_the_other():
    visited = wise.visiting_order(("residual", "motion"))
    assert visited[:5] == ("residual-1", "residual-2", "residual-3", "residual-4", "motion-1")
    assert wise.visiting_order(("iframe",)) == ("iframe-1", "iframe-2", "iframe-3", "iframe-4")


def test_separable_logits_have_a_finite_optimum():
    labels = np.arange(30) % 3
    logits = np.stack([np.eye(3)[labels] * 10, np.eye(3)[labels] * 5], axis=1)
    weights = wise.fit(logits, labels)
    assert np.isfinite(weights).all()
    gradient = scipy.optimize.approx_fprime(weights, objective, 1e-7, logits, labels)
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
    fitted = wise.wise_weights(logits, labels)
    assert [len(w) for w in fitted] == [1, 2, 3, 4]
    changed = logits.copy()
    changed[:, 3] = 0
    again = wise.wise_weights(changed, labels)
    for k in range(3):
        np.testing.assert_array_equal(fitted[k], again[k])


def test_scores_are_weighted_sums():
    logits, _ = draw(6)
    combined = wise.weighted_scores(logits, wise.uniform_weights(4))
    for k in range(1, 5):
        np.testing.assert_allclose(combined[:, k - 1], logits[:, :k].mean(axis=1))
