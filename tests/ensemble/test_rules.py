"""Rules and late fusion on bare arrays, against sums written out."""

import numpy as np
import pytest

from pkdlib import ensemble
from pkdlib.ensemble import wise

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 40)
LOGITS = RNG.normal(size=(40, 4, 3)) + 2 * np.eye(3)[LABELS][:, None] * np.linspace(0, 1, 4)[:, None]


@pytest.mark.parametrize("rule", ensemble.RULES)
def test_a_rule_gives_a_vector_a_prefix(rule):
    vectors = ensemble.RULES[rule](LOGITS, LABELS)
    assert [len(vector) for vector in vectors] == [1, 2, 3, 4]
    scores = ensemble.weighted_scores(LOGITS, vectors)
    for sample, prefix in ((0, 1), (7, 3), (39, 4)):
        wanted = sum(vectors[prefix - 1][k] * LOGITS[sample, k] for k in range(prefix))
        np.testing.assert_allclose(scores[sample, prefix - 1], wanted)


def test_rules_keep_their_word():
    assert all((vector >= 0).all() for vector in ensemble.RULES["wise_nonnegative"](-LOGITS, LABELS))
    assert [vector.tolist() for vector in ensemble.RULES["uniform"](LOGITS[:, :2], LABELS)] == [[1], [0.5, 0.5]]
    plain, thinned = (np.abs(ensemble.RULES[rule](LOGITS, LABELS)[-1]).sum() for rule in ("wise", "wise_l1"))
    assert thinned < plain


def test_late_fusion_takes_its_weights_from_the_held_out_samples_alone():
    fused = ensemble.late_fusion(LOGITS[:20], LABELS[:20], LOGITS[20:])
    weights = wise.fit(LOGITS[:20], LABELS[:20])
    np.testing.assert_allclose(fused, sum(weights[k] * LOGITS[20:, k] for k in range(4)))
    changed = LOGITS[20:].copy()
    changed[1:] = RNG.normal(size=changed[1:].shape)
    np.testing.assert_allclose(ensemble.late_fusion(LOGITS[:20], LABELS[:20], changed)[0], fused[0])
    with pytest.raises(ValueError, match="logits: infinite or NaN"):
        ensemble.late_fusion(LOGITS[:20], LABELS[:20], LOGITS[20:] * np.inf)
