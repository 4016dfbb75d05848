import itertools

import numpy as np
import pandas as pd
import pytest

from pkdlib import _resources
from pkdlib.companion import results
from pkdlib.companion.book import cascade_charts
from pkdlib.companion.book.page_tables import second_backbone
from pkdlib.companion.presets import PLANS

GROUPS = ("a", "b", "c", "d")
ORDERS = {name: " ".join(plan.orders[0]) for name, plan in PLANS.items()}


def tables(backbone: str, gain: int, seeds=(0, 1)) -> dict[str, pd.DataFrame]:
    """Results where PKD answers `gain` of 20 clips more than cross-entropy at every exit, and WISE 2 more than else."""
    plan = PLANS[backbone]
    cells = [
        {"split": 0, "seed": seed, "group": group, "clips": 20} for seed, group in itertools.product(seeds, GROUPS)
    ]
    where = {"part": "test", "kind": plan.light, "lr_factor": 1.0}

    def correct(method: str, seed: int) -> int:
        return 10 + gain * (method == "pkd") + seed

    trials = [
        {
            **cell,
            **where,
            "modality": modality,
            "method": method,
            "exit": exit_,
            "correct": correct(method, cell["seed"]),
        }
        for cell, modality, method, exit_ in itertools.product(cells, plan.networks, ("ce", "pkd"), (1, 2, 3))
    ]
    ends = [
        {**cell, **where, "modality": modality, "method": "backbone", "exit": 4, "correct": 15}
        for cell, modality in itertools.product(cells, plan.networks)
    ]
    cost = [
        {"split": 0, "seed": seed, "kind": kind, "modality": modality, "exit": exit_, "gmac": exit_ / 10}
        for seed, kind, modality, exit_ in itertools.product(seeds, plan.kinds, plan.networks, (1, 2, 3, 4))
    ]
    whole = 4 * len(plan.networks)
    rules = {"wise": 14, "last": 12, "uniform": 12, "tempered": 12, "stacking": 12}
    ensembles = [
        {**cell, "part": "test", "kind": kind, "method": "pkd", "rule": rule, "prefix": whole, "correct": right}
        for cell, kind, (rule, right) in itertools.product(cells, plan.kinds, rules.items())
    ]
    ensembles += [
        {
            **cell,
            "part": "test",
            "kind": "none",
            "method": "backbone",
            "rule": "late_fitted",
            "prefix": 0,
            "correct": 13,
        }
        for cell in cells
    ]
    systems = [("cascade", plan.light, method, ORDERS[backbone], "wise", "max_softmax") for method in ("ce", "pkd")]
    systems += [("fewer_segments", *["none"] * 5)]
    names = ("system", "kind", "method", "order", "rule", "criterion")
    early_exit = [
        {**cell, **dict(zip(names, system, strict=True)), "setting": s, "gmac": s, "accuracy": s / 4 + gain / 100}
        for cell, system, s in itertools.product(cells, systems, (1.0, 2.0))
    ]
    found = {"trials": trials, "exits": trials + ends, "cost": cost, "ensembles": ensembles, "early_exit": early_exit}
    return {name: pd.DataFrame(rows).assign(backbone=backbone) for name, rows in found.items()}


@pytest.fixture
def committed(tmp_path, monkeypatch):
    """Results of both backbones of one profile, those of three networks with a seed more and without the column."""
    for profile, found in (("quick", tables("coviar", 1, (0, 1, 2))), ("quick-teamnet", tables("teamnet", 3))):
        folder = tmp_path / profile / "marionette"
        folder.mkdir(parents=True)
        for name, table in found.items():
            kept = table.drop(columns="backbone") if profile == "quick" else table
            kept.to_csv(folder / f"{name}{results.PACKED}", index=False)
        (folder / "run.json").write_text('{"runs": [{"split": 0, "seed": 0}]}', encoding="utf-8")
    original = _resources.folder
    monkeypatch.setattr(_resources, "folder", lambda name: tmp_path if name == "results" else original(name))
    ((name, found),) = second_backbone.studies()
    assert name == "Marionette, one short run"
    return found


def test_only_runs_of_both_are_compared_and_old_tables_are_of_three_networks(committed):
    for name, table in committed.items():
        assert set(table["seed"]) == {0, 1}, name
        assert set(table["backbone"]) == {"coviar", "teamnet"}, name


def test_every_exit_has_its_cost_and_its_accuracy_by_pkd(committed):
    points = second_backbone.exit_points(committed).set_index(["system", "setting"])
    assert len(points) == 4 * 4
    assert points.loc[("joint network", 2), "accuracy"] == pytest.approx((13 + 14) / 40)
    assert points.loc[("residual network", 3), "accuracy"] == pytest.approx((11 + 12) / 40)
    assert points.loc[("motion-vector network", 4), "accuracy"] == pytest.approx(15 / 20)
    np.testing.assert_allclose(points["gmac"], points.index.get_level_values("setting") / 10)


def test_the_cascades_tell_what_running_all_costs(committed):
    rules = second_backbone.rules(committed)
    assert set(rules["cascade"]) == {
        "three networks, 1.200 GMAC (light classifiers)",
        "three networks, 1.200 GMAC (the paper's classifiers)",
        "TEAM-Net, 0.400 GMAC (classifiers on squeezed vectors)",
    }
    assert (rules.groupby("cascade")["rule"].nunique() == 6).all()


def test_everything_can_be_drawn(committed):
    front = cascade_charts.front(second_backbone.exit_points(committed), "gmac", "cost")
    lines = cascade_charts.accuracy_against_cost(second_backbone.curves(committed))
    for chart in (front, lines, cascade_charts.accuracy_by_rule(second_backbone.rules(committed))):
        assert chart.to_dict()
    assert set(second_backbone.curves(committed)["series"]) == {
        f"{backbone}, {system}"
        for backbone in ("TEAM-Net", "three networks")
        for system in ("cross-entropy", "PKD", "bare, fewer segments")
    }


def test_the_tables_take_the_planted_gains(committed):
    gains = second_backbone.gains(committed)
    assert {tuple(row) for row in gains.to_numpy()} == {
        ("TEAM-Net", "classifiers on squeezed vectors", "+15.0 (+15.0 to +15.0)"),
        ("three networks", "light classifiers", "+5.0 (+5.0 to +5.0)"),
    }
    fusion = second_backbone.fusion(committed).set_index("WISE, in points")
    assert (fusion["over equal weights"] == "+10.0 (+10.0 to +10.0)").all() and len(fusion) == 2
    assert (fusion["over late fusion of bare networks, fitted weights"] == "+5.0 (+5.0 to +5.0)").all()
    equal = second_backbone.at_equal_cost(committed)
    assert equal["system"].tolist() == ["cross-entropy", "PKD", "bare, fewer segments"]
    assert (equal.iloc[:, 1] == "+2.0 (+2.0 to +2.0)").all()


def test_costs_that_do_not_meet_are_told(committed):
    table = committed["early_exit"]
    far = table.assign(gmac=table["gmac"] + 5 * (table["backbone"] == "teamnet"))
    told = second_backbone.at_equal_cost({"early_exit": far}).set_index("system").iloc[:, 0]
    assert "no cost in common: 6 to 7 against 1 to 2 GMAC" in told["PKD"]


def test_without_results_of_both_there_is_nothing_to_show(monkeypatch):
    monkeypatch.setattr(second_backbone.results, "published_sets", lambda: [("full", "marionette")])
    assert list(second_backbone.studies()) == []
