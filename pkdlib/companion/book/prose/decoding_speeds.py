"""What the pages on the decoder and on other readers say of the benchmarks' tables."""

from itertools import product

import numpy as np
import pandas as pd

from pkdlib.companion.book.prose.reports import as_markdown

CODEC_NAMES = {
    "mpeg4": "MPEG-4 Part 2",
    "h264": "H.264",
    "mpeg1video": "MPEG-1",
    "mpeg2video": "MPEG-2",
    "h263": "H.263",
    "msmpeg4v3": "MS MPEG-4 v3",
    "wmv1": "WMV 1",
    "wmv2": "WMV 2",
    "flv1": "FLV 1",
    "hevc": "H.265",
    "vp8": "VP8",
    "vp9": "VP9",
    "av1": "AV1",
}


def decoder_speed(timed: pd.DataFrame) -> str:
    """Set out what each way of reading costs.

    Args:
        timed: Of `results.decoder`.

    Returns:
        A Markdown table: a column a file, ratios to the floor where there is one, else milliseconds a call; empty where
        a file was not read so.
    """
    files = timed["file"].unique()
    header = ["what is read", *(name.removesuffix("_mpeg4.mp4").replace("_", " ") for name in files)]
    rows = []
    for what, group in timed[~timed["what"].str.startswith("floor")].groupby("what", sort=False):
        cells = group.set_index("file").reindex(files)
        column, form = ("ratio", "{:.2f} ×") if cells["ratio"].notna().any() else ("milliseconds", "{:.1f} ms")
        rows.append([what, *("" if np.isnan(value) else form.format(value) for value in cells[column])])
    return as_markdown(pd.DataFrame(rows, columns=header))


def readers_speed(speed: pd.DataFrame) -> str:
    """Set out how long readers take beside one PyAV pass with vectors and pictures.

    Args:
        speed: Of `results.readers`.

    Returns:
        A Markdown table: the smallest and the largest ratio over the clips of each kind.
    """
    golden, names = speed["file"].str.startswith("golden/"), speed["codec"].map(CODEC_NAMES)
    speed = speed.assign(kind=np.where(golden, "the paper's form", names), who=speed["reader"] + ": " + speed["gives"])
    counts = speed.groupby("kind", sort=False)["file"].nunique()
    cells = speed.groupby(["who", "kind"])["ratio"].agg(lambda rows: f"{rows.min():.1f} to {rows.max():.1f}")
    header = ["reader: what it gives", *(f"{name}, {count} clips" for name, count in counts.items())]
    floor, *others = speed["who"].unique()
    rows = [[f"{floor} (the floor)", *["1"] * len(counts)]]
    rows += [[who, *(cells.get((who, name), "") for name in counts.index)] for who in others]
    return as_markdown(pd.DataFrame(rows, columns=header))


def readers_formats(formats: pd.DataFrame) -> str:
    """Set out what readers do with files of each codec.

    Args:
        formats: Of `results.readers`.

    Returns:
        A Markdown table.
    """
    readers, rows = list(formats["reader"].unique()), []
    for codec, b_frames in product(CODEC_NAMES, (False, True)):
        files = formats[(formats["codec"] == codec) & (formats["b_frames"] == b_frames)]
        if len(files):
            told = [_format_words(files[files["reader"] == reader]) for reader in readers]
            name = CODEC_NAMES[codec] + (", B-frames" if b_frames else "")
            rows.append([name, str(files["file"].nunique()), *told])
    return as_markdown(pd.DataFrame(rows, columns=["codec", "files", *readers]))


def our_ratio(speed: pd.DataFrame) -> str:
    """Say how long this library takes beside one PyAV pass where it traces.

    Args:
        speed: Of `results.readers`.

    Returns:
        The smallest and the largest ratio.
    """
    ratios = speed.loc[(speed["reader"] == "pkdlib") & speed["gives"].str.startswith("accumulated"), "ratio"]
    return f"{ratios.min():.1f} to {ratios.max():.1f}"


def _format_words(files: pd.DataFrame) -> str:
    read = files[files["outcome"].isin(["read", "no vectors"])]
    others = {"read": "reads", "refused": "refuses", "no vectors": "pictures, no vectors"}
    words = [others.get(outcome, outcome) for outcome in files["outcome"].unique()]
    for column, what in (("unstable", "vary from run to run"), ("different", "differ")):
        if (count := int(read[column].fillna(0).sum())) > 0:
            words.append(f"{count} of {int(read['frames'].sum())} frames {what}")
    return "; ".join(words)
