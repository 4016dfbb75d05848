import dataclasses

import pandas as pd

from pkdlib.companion import flatness_controls
from pkdlib.companion.book.page_tables import flatness_tables

TRACE, NORM, EDGE = (flatness_controls.MEASURES[name] for name in ("trace", "fisher_rao_norm", "top_eigenvalue"))


def judged(words):
    rows = [
        {"data": "x (full)", "claim": "flatness-mix", "comparison": f"{measure}, {pair}"}
        | {"role": "secondary", "low": 0.0}
        | {"verdict": word.removesuffix(", reversed"), "qualifier": "reversed" if "reversed" in word else ""}
        for (measure, pair), word in words.items()
    ]
    return flatness_tables.orders(pd.DataFrame(rows))


def test_an_order_needs_both_of_its_steps():
    steps = ("motion / residual", "residual / iframe")
    words = {(TRACE, steps[0]): "holds", (TRACE, steps[1]): "holds", (NORM, steps[0]): "holds"}
    words |= {(NORM, steps[1]): "undecided", (EDGE, steps[0]): "does not hold", (EDGE, steps[1]): "holds"}
    table = flatness_tables.order_by_measure(judged(words))
    assert list(table.columns) == ["measure", "x (full), the paper's proportions"]
    assert dict(table.to_numpy()) == {TRACE: "holds", NORM: "undecided", EDGE: "does not hold"}
    assert flatness_tables.order_by_measure(flatness_tables.orders(pd.DataFrame())).empty


def test_the_sharper_of_two_is_named_first_where_it_is_decided():
    words = {(TRACE, "motion / residual"): "holds", (NORM, "motion / residual"): "does not hold, reversed"}
    words |= {(EDGE, "motion / residual"): "undecided", (TRACE, "residual / iframe"): "does not hold, reversed"}
    table = flatness_tables.sharper_by_measure(judged(words))
    assert dict(table.to_numpy()) == {
        TRACE: "motion-vector over residual; I-frame over residual",
        NORM: "residual over motion-vector",
        EDGE: "",
    }
    assert flatness_tables.sharper_by_measure(flatness_tables.orders(pd.DataFrame())).empty


def test_runs_in_the_papers_order_are_counted():
    values = {0: (1, 2, 3), 1: (1, 3, 2), 2: (2, 5, 9)}  # iframe, residual, motion
    rows = [
        ("same", 0, seed, modality, measure, value)
        for seed, triple in values.items()
        for measure in flatness_controls.MEASURES
        for modality, value in zip(("iframe", "residual", "motion"), triple, strict=True)
    ]
    frame = pd.DataFrame(rows, columns=["control", "split", "seed", "modality", "measure", "value"])
    table = flatness_tables.runs_in_order(frame)
    assert table["measure"].tolist() == list(flatness_controls.MEASURES.values())
    assert table.iloc[:, 1].tolist() == ["2 of 3"] * len(flatness_controls.MEASURES)
    assert flatness_tables.runs_in_order(frame.assign(modality="joint")).empty


def test_deviations_are_those_of_each_modality():
    rows = [
        {"modality": name, "measure": measure, "value": value}
        for name, value in (("motion", 0.1223), ("iframe", 0.8817))
        for measure in ("input_deviation", "trace")
    ]
    table = flatness_tables.deviations(pd.DataFrame(rows))
    assert dict(table.to_numpy()) == {"I-frame": "0.88", "motion-vector": "0.12"}


def test_rates_are_those_of_the_control(monkeypatch):
    mix = dataclasses.replace(flatness_controls.CONTROLS["mix"], lr_factors={"residual": 0.5, "iframe": 0.1})
    monkeypatch.setitem(flatness_controls.CONTROLS, "mix", mix)
    assert dict(flatness_tables.rates().to_numpy()) == {"motion-vector": "1", "residual": "1/2", "I-frame": "1/10"}
