import pandas as pd

from pkdlib.companion import results
from pkdlib.companion.book.page_tables import reader_tables


def test_what_a_file_was_not_timed_for_is_left_empty():
    timed = [("a", "open", 2.0, 0.1), ("b", "floor", 4.0, 1.0), ("b", "seek", 3.0, None)]
    table = reader_tables.decoder_speed(pd.DataFrame(timed, columns=["file", "what", "milliseconds", "ratio"]))
    assert table.to_numpy().tolist() == [["open", "0.10 ×", ""], ["seek", "", "3.0 ms"]]


def test_the_readers_tables_hold_what_was_measured():
    measured, tried = results.readers()["speed"], results.readers()["formats"]
    golden = measured[measured["file"].str.startswith("golden/")]
    ours = golden.query("reader == 'pkdlib' and gives == 'accumulated motion'")["ratio"]
    table = reader_tables.speed(measured).set_index("reader: what it gives")
    column = f"the paper's form, {golden['file'].nunique()} clips"
    assert table.loc["pkdlib: accumulated motion", column] == f"{ours.min():.1f} to {ours.max():.1f}"

    extractor = tried[tried["reader"] == "motion-vector-extractor"]
    with_b = extractor[(extractor["codec"] == "h264") & extractor["b_frames"]]
    table = reader_tables.formats(tried).set_index("codec")
    assert len(table) == len(extractor[["codec", "b_frames"]].drop_duplicates())
    cell = table.loc["H.264, B-frames", "motion-vector-extractor"]
    unstable, frames = (int(with_b[name].sum()) for name in ("unstable", "frames"))
    assert f"{unstable} of {frames} frames" in cell and table.loc["H.264, B-frames", "files"] == f"{len(with_b)}"


def test_a_reader_that_fails_is_told_as_it_failed():
    columns = ["file", "codec", "b_frames", "decoded", "reader", "outcome", "frames", "different", "unstable", "reason"]
    rows = [
        ("a", "mpeg4", False, 9, "one", "read", 9, 2, 0, ""),
        ("b", "mpeg4", False, 9, "one", "crashes (signal 11)", None, None, None, ""),
        ("a", "mpeg4", False, 9, "two", "refused", None, None, None, "no"),
        ("b", "mpeg4", False, 9, "two", "refused", None, None, None, "no"),
    ]
    (row,) = reader_tables.formats(pd.DataFrame(rows, columns=columns)).to_numpy().tolist()
    assert row[2].split("; ") == ["reads", "crashes (signal 11)", "2 of 9 frames differ"]


def test_the_decoders_table_holds_every_measurement():
    timed = results.decoder()
    table = reader_tables.decoder_speed(timed).set_index("what is read")
    rows = timed[~timed["what"].str.startswith("floor")]
    assert (table != "").to_numpy().sum() == len(rows) and table.shape[1] == timed["file"].nunique()
