"""What reading takes, and what readers of motion vectors do with files: tables of the committed benchmarks."""

from itertools import product

import numpy as np
import pandas as pd

from pkdlib.companion.book.page_tables.layout import span

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


def decoder_speed(timed: pd.DataFrame) -> pd.DataFrame:
    """Set out what each way of reading costs.

    Args:
        timed: Of `results.decoder`.

    Returns:
        A column a file, ratios to the floor where there is one, else milliseconds a call; empty where a file was not
        read so.
    """
    files = timed["file"].unique()
    header = ["what is read", *(name.removesuffix("_mpeg4.mp4").replace("_", " ") for name in files)]
    rows = []
    for what, group in timed[~timed["what"].str.startswith("floor")].groupby("what", sort=False):
        cells = group.set_index("file").reindex(files)
        column, form = ("ratio", "{:.2f} ×") if cells["ratio"].notna().any() else ("milliseconds", "{:.1f} ms")
        rows.append([what, *("" if np.isnan(value) else form.format(value) for value in cells[column])])
    return pd.DataFrame(rows, columns=header)


def speed(measured: pd.DataFrame) -> pd.DataFrame:
    """Set out how long readers take beside one PyAV pass with vectors and pictures.

    Args:
        measured: The table `speed` of `results.readers`.

    Returns:
        The smallest and the largest ratio over the clips of each kind.
    """
    golden, codecs = measured["file"].str.startswith("golden/"), measured["codec"].map(CODEC_NAMES)
    who = measured["reader"] + ": " + measured["gives"]
    measured = measured.assign(kind=np.where(golden, "the paper's form", codecs), who=who)
    counts = measured.groupby("kind", sort=False)["file"].nunique()
    cells = measured.groupby(["who", "kind"])["ratio"].agg(lambda rows: span(rows.min(), rows.max(), "{:.1f}"))
    header = ["reader: what it gives", *(f"{name}, {count} clips" for name, count in counts.items())]
    floor, *others = measured["who"].unique()
    rows = [[f"{floor} (the floor)", *["1"] * len(counts)]]
    rows += [[who, *(cells.get((who, name), "") for name in counts.index)] for who in others]
    return pd.DataFrame(rows, columns=header)


def formats(tried: pd.DataFrame) -> pd.DataFrame:
    """Set out what readers do with files of each codec.

    Args:
        tried: The table `formats` of `results.readers`.

    Returns:
        codec, files, and a column for each reader.
    """
    readers, rows = list(tried["reader"].unique()), []
    for codec, b_frames in product(CODEC_NAMES, (False, True)):
        files = tried[(tried["codec"] == codec) & (tried["b_frames"] == b_frames)]
        if len(files):
            cells = [_outcome(files[files["reader"] == reader]) for reader in readers]
            name = CODEC_NAMES[codec] + (", B-frames" if b_frames else "")
            rows.append([name, str(files["file"].nunique()), *cells])
    return pd.DataFrame(rows, columns=["codec", "files", *readers])


def _outcome(files: pd.DataFrame) -> str:
    read = files[files["outcome"].isin(["read", "no vectors"])]
    others = {"read": "reads", "refused": "refuses", "no vectors": "pictures, no vectors"}
    words = [others.get(outcome, outcome) for outcome in files["outcome"].unique()]
    for column, what in (("unstable", "vary from run to run"), ("different", "differ")):
        if (count := int(read[column].fillna(0).sum())) > 0:
            words.append(f"{count} of {int(read['frames'].sum())} frames {what}")
    return "; ".join(words)
