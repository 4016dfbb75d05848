"""What the paper's training would take on the GPU that was measured: tables of throughput, and projections from it."""

import math

import pandas as pd

from pkdlib.companion.names import MODALITY_LABELS

# Training clips of the first official split (UCF-101's shrinks by what validates; this is the whole list).
TRAINING_CLIPS = {"UCF-101": 9_537, "HMDB-51": 3_570}
# The reference's epochs of fine-tuning a network (all three), and of its internal classifiers by PKD.
BACKBONE_EPOCHS, EXIT_EPOCHS = 510, 300
# Three official splits with five seeds each.
CELLS = 15
VARIANT_NAMES = {
    "float32": "float32",
    "bfloat16": "bfloat16",
    "channels_last": "bfloat16, channels last",
    "compiled": "the same, compiled",
}
USED = "channels_last"


def throughput(measured: pd.DataFrame) -> pd.DataFrame:
    """Set out the clips a second that each network trains, by variant.

    Args:
        measured: Of `results.throughput`.

    Returns:
        A row a network and variant.
    """
    rows = []
    for variant, own in measured.groupby("variant", sort=False):
        for row in own.itertuples():
            testing = f"{row.testing_clips_per_second:.0f}" if row.testing_clips_per_second > 0 else ""
            rows.append(
                {
                    "network": MODALITY_LABELS[row.network],
                    "precision and layout": VARIANT_NAMES[variant],
                    "training, clips/s": f"{row.training_clips_per_second:.0f}",
                    "testing, clips/s": testing,
                    "GPU busy": f"{row.gpu_busy_percent:.0f} %",
                    "of a matrix product's rate": f"{100 * row.share_of_peak:.0f} %",
                    "memory": f"{row.peak_memory_gib:.1f} GiB",
                }
            )
    return pd.DataFrame(rows)


def feeding(speed: pd.DataFrame) -> pd.DataFrame:
    """Set out the clips a second that a processor decodes and prepares while a network trains.

    Args:
        speed: Of `results.feeding`.

    Returns:
        A row for each modality, and for all three.
    """
    rows = []
    for read, own in speed.groupby("read", sort=False):
        rates = own.set_index("processes")["clips_per_second"]
        rows.append(
            {
                "read": MODALITY_LABELS.get(read, read),
                "clips/s, one core": f"{rates[0]:.1f}",
                "of the floor's time": f"{own['over_floor'].iloc[0]:.1f} x",
                "by one process ahead": f"{rates[1]:.1f}",
                "by two": f"{rates[2]:.1f}",
                "two over one": f"{own['two_over_one'].iloc[0]:.2f} x",
            }
        )
    return pd.DataFrame(rows)


def memory(grown: pd.DataFrame) -> pd.DataFrame:
    """Set out how memory grew while many samples were read.

    Args:
        grown: The table `memory` of `results.feeding`.

    Returns:
        What was measured, MiB over the second tenth of the samples, and over the last.
    """
    row = grown.iloc[0]
    held = "held by one process that reads, its free memory given back before each look"
    resident = "resident in all seven with two a modality that read ahead, free memory included"
    rows = [
        (held, f"{row['held_early_mib']:.1f}", f"{row['held_late_mib']:.1f}"),
        (resident, f"{row['resident_early_mib']:.0f}", f"{row['resident_late_mib']:.0f}"),
    ]
    return pd.DataFrame(rows, columns=["MiB", "second tenth", "last tenth"])


def hours(measured: pd.DataFrame, speed: pd.DataFrame) -> pd.DataFrame:
    """Project the hours of one split and seed, step by step, and how many cores must decode meanwhile.

    A step's time is epochs x clips / (clips a second); its cores are that rate over that of one process that decodes.

    Args:
        measured: Of `results.throughput`.
        speed: The table `speed` of `results.feeding`.

    Returns:
        A row a data set and step.
    """
    one_core = speed[speed["processes"] == 1].set_index("read")["clips_per_second"]
    rows = [
        (dataset, step, f"{clips * epochs / rate / 3600:.1f}", f"{rate / one_core[read]:.0f}")
        for dataset, clips in TRAINING_CLIPS.items()
        for step, read, epochs, rate in _steps(measured)
    ]
    return pd.DataFrame(rows, columns=["data", "step", "hours on one GPU", "cores to decode as fast"])


def grid(measured: pd.DataFrame) -> pd.DataFrame:
    """Project the days of all splits and seeds, on one GPU and on four that take one split and seed each.

    The days of `CELLS` splits and seeds one after the other, and of a quarter of them, rounded up.

    Args:
        measured: Of `results.throughput`.

    Returns:
        A row a data set.
    """
    rows = []
    for dataset, clips in TRAINING_CLIPS.items():
        days = sum(clips * epochs / rate for _, _, epochs, rate in _steps(measured)) / 86_400
        rows.append((dataset, f"{days * CELLS:.1f}", f"{days * math.ceil(CELLS / 4):.1f}"))
    return pd.DataFrame(rows, columns=["data", "days on one GPU", "days on four"])


def proof(found: pd.DataFrame) -> pd.DataFrame:
    """Set out what became of a grid that was killed and started again (`benchmarks/grid.py`).

    Args:
        found: Of `results.grid`.

    Returns:
        What was counted, and how many.
    """
    row = found.iloc[0]
    counted = [
        ("notebooks in the grid", row["jobs"]),
        ("written when it was killed", row["jobs_finished_when_killed"]),
        ("run by the second start", row["jobs_run_by_second_start"]),
        ("notebooks made anew", row["notebooks_redone"]),
        ("steps that were finished when it was killed", row["steps_finished_when_killed"]),
        ("steps made anew", row["steps_redone"]),
        ("tables, those of times left out", row["tables"]),
        ("their rows", f"{row['rows']:,}"),
        ("tables that differ from those of `pkd reproduce` by itself", row["tables_that_differ"]),
    ]
    return pd.DataFrame(counted, columns=["what", "how many"])


def bank_bytes(clips: int, *, candidates: int, short_side: int) -> int:
    """Compute the size of a frame bank of clips in the paper's form, of 340 x 256 pixels.

    Args:
        clips: Their number.
        candidates: Frames of each.
        short_side: Height that they are kept at, in pixels.

    Returns:
        The size in bytes, one for each pixel of eight planes.
    """
    return clips * candidates * 8 * short_side * round(short_side * 340 / 256)


def _steps(measured: pd.DataFrame) -> list[tuple[str, str, int, float]]:
    # Step, what it reads, epochs and clips a second. The internal classifiers of all three networks train in one pass
    # over the frozen networks; only that pass is projected, at the rate of testing.
    rates = measured[measured["variant"] == USED].set_index("network")
    steps = [
        (f"{MODALITY_LABELS[name]} network, {BACKBONE_EPOCHS} epochs", name, BACKBONE_EPOCHS, rate)
        for name, rate in rates["training_clips_per_second"].items()
    ]
    together = 1 / (1 / rates["testing_clips_per_second"]).sum()
    return [*steps, (f"internal classifiers, {EXIT_EPOCHS} epochs", "all three", EXIT_EPOCHS, together)]
