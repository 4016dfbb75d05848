import pandas as pd
import pytest

from pkdlib.companion.book.page_tables import paper_scale_tables


@pytest.fixture
def measured():
    rows = [("iframe", 100.0, 400.0), ("motion", 200.0, 800.0), ("residual", 200.0, 800.0)]
    frame = pd.DataFrame(rows, columns=["network", "training_clips_per_second", "testing_clips_per_second"])
    return frame.assign(variant="channels_last", gpu_busy_percent=99, share_of_peak=0.1, peak_memory_gib=2.0)


@pytest.fixture
def speed():
    rates = {"all three": 11.1, "iframe": 33.3, "motion": 33.3, "residual": 33.3}
    rows = [(read, n, rate * (0.5, 1, 1.9)[n], 1.5, 1.9) for read, rate in rates.items() for n in (0, 1, 2)]
    return pd.DataFrame(rows, columns=["read", "processes", "clips_per_second", "over_floor", "two_over_one"])


def test_hours_are_epochs_by_clips_over_the_rate(measured, speed):
    rows = [tuple(row) for row in paper_scale_tables.hours(measured, speed).to_numpy()]
    # 510 epochs of 9,537 clips at 100 a second; 33 a second by one process, so three feed 100 a second.
    assert ("UCF-101", "I-frame network, 510 epochs", "13.5", "3") in rows
    # 300 epochs at 1/400 + 1/800 + 1/800 seconds a clip: 200 clips a second, of which a process decodes 11.
    assert ("HMDB-51", "internal classifiers, 300 epochs", "1.5", "18") in rows


def test_what_was_not_measured_is_left_empty(measured):
    unmeasured = measured.assign(testing_clips_per_second=float("nan"))
    assert (paper_scale_tables.throughput(unmeasured)["testing, clips/s"] == "").all()


def test_a_banks_size_is_that_of_its_arrays():
    assert paper_scale_tables.bank_bytes(2, candidates=3, short_side=128) == 2 * 3 * 8 * 128 * 170


def test_what_feeds_a_network_is_told_by_modality(speed):
    table = paper_scale_tables.feeding(speed)
    assert table.iloc[0].tolist() == ["all three", "5.5", "1.5 x", "11.1", "21.1", "1.90 x"] and len(table) == 4
    values = {
        "held_early_mib": 290.12,
        "held_late_mib": 290.33,
        "resident_early_mib": 700.4,
        "resident_late_mib": 741.2,
    }
    grown = pd.DataFrame([{"samples": 20_000} | values])
    assert paper_scale_tables.memory(grown).iloc[:, 1:].to_numpy().tolist() == [["290.1", "290.3"], ["700", "741"]]


def test_days_are_fifteen_times_a_split_and_seed_or_four_where_four_go_together(measured):
    # 510 epochs at 100, 200 and 200 clips a second, then 300 at 200, as above.
    cell = 9_537 * (510 * (1 / 100 + 2 / 200) + 300 / 200) / 86_400
    assert paper_scale_tables.grid(measured).iloc[0].tolist() == ["UCF-101", f"{15 * cell:.1f}", f"{4 * cell:.1f}"]


def test_the_proof_of_the_grid_sets_out_what_was_counted():
    counts = {
        "profile": "smoke",
        "splits": 3,
        "seeds": 2,
        "jobs": 36,
        "jobs_finished_when_killed": 18,
        "jobs_run_by_second_start": 17,
        "notebooks_redone": 1,
        "steps_redone": 2,
        "steps_finished_when_killed": 70,
        "tables": 15,
        "rows": 4321,
        "tables_that_differ": 5,
    }
    table = paper_scale_tables.proof(pd.DataFrame([counts]))
    assert table["how many"].tolist() == [36, 18, 17, 1, 70, 2, 15, "4,321", 5]
