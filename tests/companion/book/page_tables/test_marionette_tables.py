import pandas as pd

from pkdlib.companion import results
from pkdlib.companion.book.page_tables import marionette_tables

DIFFICULTY = {"pan": 1.0, "shake": 0.2, "noise": 2.0, "manner": 1.0, "looseness": 4.0, "movement": 0.6, "handheld": 0.3}


def test_each_trial_has_a_row_with_what_was_changed(monkeypatch):
    trials = [
        ("quick", 0.8, 2.0, {"iframe": 0.7, "motion": 0.5}),
        ("full", 0.0, 5.0, {"iframe": 0.1, "residual": 0.25}),
    ]
    rows = [
        DIFFICULTY
        | {"profile": profile, "appearance": dial, "noise": noise, "network": name, "best_validation_accuracy": value}
        | {"note": None if profile == "full" else "six props"}
        for profile, dial, noise, reached in trials
        for name, value in reached.items()
    ]
    monkeypatch.setattr(results, "calibration", lambda name: pd.DataFrame(rows))
    table = marionette_tables.calibration()
    assert table.columns.tolist() == [
        "profile",
        "appearance",
        "noise",
        "I-frame, %",
        "residual, %",
        "motion vectors, %",
        "otherwise",
    ]
    assert table.to_numpy().tolist() == [
        ["`quick`", "0.8", "2", "70.0", "", "50.0", "six props"],
        ["`full`", "0", "5", "10.0", "25.0", "", ""],
    ]


def test_the_dial_is_that_of_the_records_and_turns_upwards():
    table = marionette_tables.dial()
    values = table["appearance"].astype(float)
    assert len(table) == 5 and values.is_monotonic_increasing and values.is_unique
    found = results.published("full", "marionette")["exits"].query("part == 'test' and method == 'backbone'")
    counts = found[found["modality"] == "iframe"][["correct", "clips"]].sum()
    told = float(table.loc[values == 0.8, "I-frame, %"].item().split()[0])
    assert abs(told - 100 * counts["correct"] / counts["clips"]) < 2  # runs weigh alike there, clips here
