import numpy as np
import pandas as pd
import pytest

from pkdlib.companion.book.page_tables import verdict_tables
from pkdlib.companion.claims.claims import CLAIMS

TITLE = {claim.id: claim.title for claim in CLAIMS}


def judged():
    columns = ["claim", "comparison", "role", "estimate", "verdict", "qualifier"]
    rows = [
        ("early-exit", "a", "primary", -1.0, "does not hold", "reversed"),
        ("early-exit", "b", "secondary", 2.0, "holds", ""),
        ("ic-gain", "PKD - CE, iframe exit 1", "primary", 0.5, "undecided", ""),
        ("ic-curriculum", "PKD - motion_only, light classifiers", "secondary", 2.0, "holds", ""),
        ("flatness-order", "c", "primary", np.log(2), "holds", ""),
        ("ic-gain", "", "secondary", np.nan, "not measured", ""),
    ]
    frame = pd.DataFrame(rows, columns=columns)
    frame = frame.assign(low=frame["estimate"] - 1, high=frame["estimate"] + 1, smallest_effect=3.0, seeds=5, runs=10)
    frame = frame.assign(title=frame["claim"].map(TITLE), data="x, strong", dataset="x", groups=7, caveat="small data")
    of = {"mean over the exits of": "iframe, residual"}
    return frame.assign(details=[{"largest of 9": "exit 2"}, {}, {}, of, {}, {}])


def test_every_claim_has_one_row_with_words_figure_interval_and_verdict():
    table = verdict_tables.findings(judged()).set_index("claim")
    assert len(table) == len(CLAIMS) and list(table.columns) == ["what was found", "x"]
    assert table.loc[TITLE["early-exit"], "x"] == "-1.0 (-2.0 to +0.0): does not hold (reversed)"
    assert table.loc[TITLE["flatness-order"], "x"] == "2.00 times (0.74 to 5.44): holds"  # no logarithms for readers
    assert table.loc[TITLE["ic-curriculum"], "x"] == verdict_tables.NOT_MEASURED  # secondary comparisons alone
    assert (table["what was found"] == [claim.finding for claim in CLAIMS]).all()


def test_a_readers_own_run_stands_beside_without_a_verdict():
    own = judged().assign(estimate=[7.0, 7.0, np.nan, 7.0, np.log(2), 7.0], low=np.nan, high=np.nan)
    assert verdict_tables.own_figures(own).to_numpy().tolist() == [
        [TITLE["early-exit"], "+7.0"],
        [TITLE["flatness-order"], "2.00 times"],
    ]
    drawn = verdict_tables.primary_effects(judged(), judged().assign(estimate=7.0))
    assert drawn[["claim", "label", "estimate", "verdict"]].to_numpy().tolist() == [
        [TITLE["ic-gain"], "x, strong", 0.5, "undecided"],
        [TITLE["ic-gain"], "your run", 7.0, "your run"],
        [TITLE["early-exit"], "x, strong", -1.0, "does not hold"],
        [TITLE["early-exit"], "your run", 7.0, "your run"],
    ]


def test_every_measured_comparison_stands_in_words_with_what_it_rests_on():
    ((name, table),) = verdict_tables.every_comparison(judged())
    assert name == "x, strong" and len(table) == 5
    assert table["claim"].tolist()[:3] == [TITLE["early-exit"], "", TITLE["ic-gain"]]
    assert table["verdict"].iloc[0] == "does not hold (reversed)"
    assert table["comparison"].tolist()[2:4] == [
        "PKD less CE, I-frame exit 1",
        "PKD less motion teacher, light classifiers; networks: I-frame, residual",
    ]
    ((_, table),) = verdict_tables.what_they_rest_on(judged())
    assert table[["seeds", "runs", "groups"]].iloc[0].tolist() == ["5", "10", "7"]
    assert table["details"].iloc[0] == "largest of 9: exit 2"
    assert table["what limits it"].tolist()[:3] == ["small data", "", "small data"]


def test_comparisons_of_a_claim_stand_in_a_row_for_each_study(monkeypatch):
    monkeypatch.setattr(verdict_tables, "judged", lambda claims: judged()[judged()["claim"].isin(claims)])
    found = verdict_tables.by_study("early-exit", {"first": "a", "second": "b", "third": "no such comparison"})
    assert found.to_dict("records") == [
        {
            "study": "x, strong",
            "first": "-1.0 (-2.0 to +0.0): does not hold (reversed)",
            "second": "+2.0 (+1.0 to +3.0): holds",
            "third": "",
        }
    ]
    assert list(verdict_tables.by_study("no such claim", {"first": "a"}).columns) == ["study", "first"]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("PKD - iframe, paper classifiers", "PKD less I-frame teacher, paper classifiers"),
        (
            "pkd with a cross-fitted teacher - ce, exits",
            "PKD with a cross-fitted teacher less cross-entropy, exits",
        ),
        (
            "WISE - its last exit alone, largest over the prefixes",
            "WISE less its last exit alone, largest over the prefixes",
        ),
        ("Fisher-Rao norm, motion / iframe", "Fisher-Rao norm, motion / I-frame"),
    ],
)
def test_comparisons_have_no_keys_in_their_names(key, words):
    rows = judged().iloc[:1].assign(comparison=key)
    ((_, table),) = verdict_tables.every_comparison(rows)
    assert table["comparison"].item() == words


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
    assert verdict_tables.smallest_effects(none).empty and verdict_tables.primary_effects(none).empty
    assert list(verdict_tables.every_comparison(none)) == list(verdict_tables.what_they_rest_on(none)) == []
    assert verdict_tables.findings(none)["claim"].tolist() == list(TITLE.values())
