import pandas as pd
import pytest

from pkdlib.companion.claims import aggregate


def counts(**columns) -> dict:
    return {"split": 0, "seed": 0, "part": "test", "group": "a", "clips": 10} | columns


@pytest.fixture
def exits():
    rows = [counts(modality="motion", method="backbone", exit=4, correct=8)]
    for number, ce, pkd in ((1, 4, 6), (2, 5, 5), (3, 7, 4)):
        rows.append(counts(modality="motion", method="ce", exit=number, correct=ce))
        rows.append(counts(modality="motion", method="pkd", exit=number, correct=pkd))
    rows += [row | {"group": "b"} for row in rows]
    rows += [counts(modality="motion", method="ce", exit=1, correct=10) | {"part": "validation"}]
    return pd.DataFrame(rows)


def test_a_summary_gives_every_method_the_networks_end(exits):
    summary = aggregate.accuracy_summary(exits)
    ends = summary[summary["exit"] == 4]
    assert set(ends["method"]) == {"ce", "pkd"}
    assert (ends["accuracy"] == 0.8).all()
    first = summary.set_index(["method", "exit"])["accuracy"]
    assert (first["ce", 1], first["pkd", 1]) == (0.4, 0.6)


def test_exits_that_learned_from_labels_are_told_by_their_kind(exits):
    plain = {"modality": "motion", "method": "ce", "exit": 1, "lr_factor": 1.0, "epochs_factor": 1.0}
    others = {"method": "pkd"}, {"lr_factor": 3.0}, {"epochs_factor": 2.0}, {"part": "validation"}
    trials = [counts(**plain, kind=kind, correct=right) for kind, right in (("light", 3), ("paper", 6))]
    trials += [counts(**plain, kind="light", correct=9) | other for other in others]
    summary = aggregate.kind_summary(pd.concat([pd.DataFrame(trials), exits], ignore_index=True))
    found = summary.set_index(["method", "exit"])["accuracy"].to_dict()
    assert found == {("light", 1): 0.3, ("paper", 1): 0.6, ("light", 4): 0.8, ("paper", 4): 0.8}


BASE = ("residual motion iframe", "wise", "max_softmax")
CURVES = ["system", "kind", "method", "order", "rule", "criterion", "setting", "group", "gmac", "accuracy", "clips"]


def early_exit_curves() -> pd.DataFrame:
    rows = [
        ("cascade", "light", "ce", *BASE, 1.0, "a", 1.0, 1.0, 30),
        ("cascade", "light", "ce", *BASE, 1.0, "b", 1.0, 0.0, 10),
        ("cascade", "light", "ce", *BASE, 0.9, "a", 0.5, 1.0, 30),
        ("cascade", "light", "ce", *BASE, 0.9, "b", 0.1, 0.0, 10),
        ("cascade", "light", "ce", *BASE[:2], "margin", 1.0, "a", 9.0, 0.0, 30),
        ("fewer_segments", *["none"] * 5, 1.0, "a", 0.2, 0.5, 30),
        ("fewer_segments", *["none"] * 5, 1.0, "b", 0.2, 0.1, 10),
    ]
    return pd.DataFrame(rows, columns=CURVES).assign(split=0, seed=0)


def test_variants_differ_in_one_thing():
    series = set(aggregate.compared_variants(early_exit_curves(), "criterion")["series"])
    assert series == {"the most likely class", "its lead over the second"}
    assert set(aggregate.compared_variants(early_exit_curves(), "order")["series"]) == {
        "residual, motion vectors, I-frame"
    }


def test_operating_points_join_accuracy_cost_and_time():
    policies = pd.DataFrame(
        [("light", 0.5, "a", 30, 30, 0.4), ("light", 0.5, "b", 10, 0, 0.8), ("light", 1.0, "a", 30, 15, 1.0)],
        columns=["kind", "share", "group", "clips", "correct", "gmac"],
    ).assign(split=0, seed=0, method="ce", order="motion iframe residual", criterion="margin")
    rows = [("policy", "light", share, batch, share * batch, 7.0) for share in (0.5, 1.0) for batch in (1, 32)]
    rows += [("fewer_segments", "none", 1.0, batch, 2.0, 3.0) for batch in (1, 32)]
    names = ["system", "kind", "setting", "batch", "milliseconds", "decoding"]
    latency = pd.DataFrame(rows, columns=names).assign(split=0, seed=0)
    points = aggregate.operating_points(early_exit_curves(), policies, latency)
    half = points[(points["system"] == "policy, light classifiers") & (points["setting"] == 0.5)].iloc[0]
    assert (half["gmac"], half["milliseconds_1"], half["milliseconds_32"]) == (0.5, 0.5, 16)
    assert half["accuracy"] == 0.5  # the mean over groups, as every interval's estimate is


def test_an_audit_has_an_interval_for_each_gain_and_switch_in_their_order():
    rows = [("PKD - CE", "clean", 1.0), ("PKD - CE", "all together", 4.5), ("cost saved", "clean", 20.0)]
    rows += [("cost saved", "cost of right answers only", 55.0)]
    table = pd.DataFrame(rows, columns=["gain", "switch", "difference"])
    table = pd.concat([table.assign(seed=seed, split=0, group=group) for seed in (0, 1) for group in "ab"])
    summary = aggregate.audit_summary(table)
    assert summary[["gain", "switch", "difference"]].to_numpy().tolist() == [list(row) for row in rows]
    assert summary["unit"].str.startswith("%").tolist() == [False, False, True, True]
