import numpy as np
import pandas as pd

from pkdlib.companion.book.page_tables import verdict_tables
from pkdlib.companion.claims.claims import CLAIMS

TITLE = {claim.id: claim.title for claim in CLAIMS}


def judged():
    columns = ["claim", "comparison", "role", "estimate", "verdict", "qualifier"]
    rows = [
        ("early-exit", "a", "primary", -1.0, "does not hold", "reversed"),
        ("early-exit", "b", "secondary", 2.0, "holds", ""),
        ("ic-gain", "c", "primary", 0.5, "undecided", ""),
        ("ic-gain", "d", "secondary", 2.0, "holds", ""),
        ("ic-gain", "e", "secondary", 3.0, "holds", ""),
        ("ic-gain", "", "secondary", np.nan, "not measured", ""),
    ]
    frame = pd.DataFrame(rows, columns=columns)
    frame = frame.assign(low=frame["estimate"] - 1, high=frame["estimate"] + 1, smallest_effect=3.0, seeds=5, runs=10)
    frame = frame.assign(title=frame["claim"].map(TITLE), data="x (full)", paper_figure="5.87: up to", groups=7)
    frame["reason"] = np.where(frame["verdict"] == "not measured", "no table", "")
    return frame.assign(details=[{"largest of 9": "exit 2"}, *[{}] * 5], caveat="small data")


def test_verdicts_are_counted_by_role():
    table = verdict_tables.counts(judged())
    assert table.iloc[:, 1:].to_numpy().tolist() == [["primary", "0", "1", "1", "0"], ["secondary", "3", "0", "0", "1"]]


def test_every_claim_has_a_row_with_its_primary_verdict_and_the_others_counted():
    table = verdict_tables.by_claim(judged()).set_index("claim")["x (full)"]
    assert len(table) == len(CLAIMS)
    assert table[TITLE["early-exit"]] == "**does not hold**; secondary: holds"
    assert table[TITLE["ic-gain"]] == "**undecided**; secondary: 2 holds, 1 not measured"
    assert table[TITLE["transfer"]] == ""
    figures = verdict_tables.with_figures(judged()).set_index("claim")["x (full)"]
    assert figures[TITLE["ic-gain"]] == "undecided: 0.50 (-0.50 to 1.50); secondary: holds at 2, not measured at 1"


def test_every_comparison_stands_with_its_figures_and_what_it_rests_on():
    ((name, table),) = verdict_tables.every_comparison(judged())
    assert name == "x (full)" and len(table) == 6
    assert table["claim"].tolist() == [TITLE["early-exit"], "", TITLE["ic-gain"], "", "", ""]
    assert table["verdict"].iloc[0] == "does not hold (reversed)"
    assert table["ours (interval)"].iloc[[0, 5]].tolist() == ["-1.00 (-2.00 to 0.00)", ""]
    ((_, table),) = verdict_tables.what_they_rest_on(judged())
    assert table[["seeds", "runs", "groups"]].iloc[0].tolist() == ["5", "10", "7"]
    assert table["details"].tolist() == ["largest of 9: exit 2", "", "", "", "", "not measured: no table"]
    assert table["what limits it"].tolist() == ["small data", "", "small data", "", "", ""]


def test_the_smallest_effects_are_medians_without_claims_of_order():
    rows = [
        ("ic-gain", "Each exit", "x (full)", 3.0),
        ("ic-gain", "Each exit", "x (full)", 1.0),
        ("ic-gain", "Each exit", "x (full)", 2.5),
        ("early-exit", "Early", "y (full)", 7.04),
        ("flatness-order", "Flat", "y (full)", 0.3),
        ("transfer", "Moved", "y (full)", np.nan),
        ("bare-fusion", "Late", "y (full)", np.inf),
    ]
    frame = pd.DataFrame(rows, columns=["claim", "title", "data", "smallest_effect"])
    table = verdict_tables.smallest_effects(frame)
    assert list(table.columns) == ["claim", "x (full)", "y (full)"]
    assert table.to_numpy().tolist() == [["Each exit", "2.5 (1.0 to 3.0; 3)", ""], ["Early", "", "7.0"]]


def test_without_results_the_tables_are_empty():
    none = pd.DataFrame()
    assert verdict_tables.counts(none).empty and verdict_tables.smallest_effects(none).empty
    assert list(verdict_tables.every_comparison(none)) == list(verdict_tables.what_they_rest_on(none)) == []
    assert verdict_tables.by_claim(none)["claim"].tolist() == list(TITLE.values())
