"""What the paper's training would take on the GPU that was measured: projections from throughput."""

import pandas as pd

from pkdlib.encodings import MODALITY_LABELS
from pkdlib.reports import as_markdown

# Training clips of the first official split (UCF-101's shrinks by what validates; this is the whole list).
TRAINING_CLIPS = {"UCF-101": 9_537, "HMDB-51": 3_570}
# The reference's epochs of fine-tuning a network (all three), and of its internal classifiers by PKD.
BACKBONE_EPOCHS, EXIT_EPOCHS = 510, 300
VARIANT_NAMES = {
    "float32": "float32",
    "bfloat16": "bfloat16",
    "channels_last": "bfloat16, channels last",
    "compiled": "the same, compiled",
}
USED = "channels_last"


def throughput(measured: pd.DataFrame) -> str:
    """Set out the clips a second that each network trains, by variant.

    Args:
        measured: Of `results.throughput`.

    Returns:
        A Markdown table.
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
    return as_markdown(pd.DataFrame(rows))


def feeding(speed: pd.DataFrame) -> str:
    """Set out the clips a second that a processor decodes and prepares while a network trains.

    Args:
        speed: Of `results.feeding`.

    Returns:
        A Markdown table.
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
    return as_markdown(pd.DataFrame(rows))


def memory(grown: pd.DataFrame) -> str:
    """Say how memory grew while many samples were read.

    Args:
        grown: The table `memory` of `results.feeding`.

    Returns:
        A sentence.
    """
    row = grown.iloc[0]
    return (
        f"Over the second tenth of {row['samples']:,.0f} samples the processes held {row['early_mib']:.0f} MiB of "
        f"their own, over the last {row['late_mib']:.0f} MiB."
    )


def hours(measured: pd.DataFrame, speed: pd.DataFrame) -> str:
    """Project the hours of one split and seed, step by step, and how many cores must decode meanwhile.

    A network's time is epochs x clips / (clips a second in training). The internal classifiers of all three train in
    one pass over the frozen networks; only that pass is projected, at the rate of testing: the classifiers' own part
    was not measured.

    Args:
        measured: Of `results.throughput`.
        speed: The table `speed` of `results.feeding`.

    Returns:
        A Markdown table.
    """
    rates = measured[measured["variant"] == USED].set_index("network")
    one_core = speed[speed["processes"] == 0].set_index("read")["clips_per_second"]
    rows = []
    for dataset, clips in TRAINING_CLIPS.items():
        for name, rate in rates["training_clips_per_second"].items():
            spent = BACKBONE_EPOCHS * clips / rate / 3600
            step = f"{MODALITY_LABELS[name]} network, {BACKBONE_EPOCHS} epochs"
            rows.append((dataset, step, f"{spent:.1f}", f"{rate / one_core[name]:.0f}"))
        per_clip = (1 / rates["testing_clips_per_second"]).sum()
        cores = 1 / per_clip / one_core["all three"]
        step = f"internal classifiers, {EXIT_EPOCHS} epochs"
        rows.append((dataset, step, f"{EXIT_EPOCHS * clips * per_clip / 3600:.1f}", f"{cores:.0f}"))
    return as_markdown(pd.DataFrame(rows, columns=["data", "step", "hours on one GPU", "cores to decode as fast"]))


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
