import pandas as pd
import pytest

from pkdlib import facts, paper_scale, results


@pytest.fixture
def measured():
    rows = [("iframe", 100.0, 400.0), ("motion", 200.0, 800.0), ("residual", 200.0, 800.0)]
    frame = pd.DataFrame(rows, columns=["network", "training_clips_per_second", "testing_clips_per_second"])
    return frame.assign(variant="channels_last", gpu_busy_percent=99, share_of_peak=0.1, peak_memory_gib=2.0)


@pytest.fixture
def speed():
    rates = {"all three": 11.1, "iframe": 33.3, "motion": 33.3, "residual": 33.3}
    rows = [(read, n, rate * (1 + 0.9 * (n == 2)), 1.5, 1.9) for read, rate in rates.items() for n in (0, 1, 2)]
    return pd.DataFrame(rows, columns=["read", "processes", "clips_per_second", "over_floor", "two_over_one"])


def test_hours_are_epochs_by_clips_over_the_rate(measured, speed):
    lines = paper_scale.hours(measured, speed).splitlines()
    # 510 epochs of 9,537 clips at 100 a second; 33 a second on a core, so three cores feed 100 a second.
    assert "| UCF-101 | I-frame network, 510 epochs | 13.5 | 3 |" in lines
    # 300 epochs at 1/400 + 1/800 + 1/800 seconds a clip: 200 clips a second, of which a core decodes 11.
    assert "| HMDB-51 | internal classifiers, 300 epochs | 1.5 | 18 |" in lines


def test_the_page_says_what_the_committed_file_holds():
    table = results.throughput()
    values = facts.collect()
    row = table[(table["network"] == "iframe") & (table["variant"] == "channels_last")].iloc[0]
    assert (
        f"| {row['training_clips_per_second']:.0f} | {row['testing_clips_per_second']:.0f} |"
        in values["throughput_table"]
    )
    assert values["throughput_device"].startswith("NVIDIA") and "hours" in values["paper_hours"]


def test_what_was_not_measured_is_left_empty(measured):
    unmeasured = measured.assign(testing_clips_per_second=float("nan"))
    assert "|  |" in paper_scale.throughput(unmeasured)


def test_a_banks_size_is_that_of_its_arrays():
    assert paper_scale.bank_bytes(2, candidates=3, short_side=128) == 2 * 3 * 8 * 128 * 170


def test_what_feeds_a_network_is_told_by_modality(speed):
    lines = paper_scale.feeding(speed).splitlines()
    assert "| all three | 11.1 | 1.5 x | 11.1 | 21.1 | 1.90 x |" in lines and len(lines) == 2 + 4
    grown = pd.DataFrame([{"samples": 20_000, "early_mib": 700.4, "late_mib": 701.2}])
    assert paper_scale.memory(grown) == (
        "Over the second tenth of 20,000 samples the processes held 700 MiB of their own, over the last 701 MiB."
    )
