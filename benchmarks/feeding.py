"""Time what feeds a network whose clips are decoded while it trains, and watch its memory.

Usage: python benchmarks/feeding.py [--write] [--samples N] [CLIP ...]   (default: ../shared/clips/paper_datasets/*)

The clips are first brought to the paper's form (340 x 256, MPEG-4 Part 2, GOP 12). Each sample then is a clip of three
segments at 224 pixels, with the multi-scale crop and flip, as `pkdlib.data.loader` gives it to a training. The floor is
what libavcodec takes, on one core, to decode the frames that the same samples need and to export their vectors: from
each segment's key frame to its place. Timed beside it, in turns, so that the ratios hold on a busy machine: all of the
work in this process, as where a processor trains; and one process and two that read ahead, with the crop and the
normalisation left out, which are then the GPU's work. The figures are medians. The clips' indices are kept, as a
training keeps them.

The cores that a GPU needs are its rate (`results/throughput`) over that of one process that reads ahead.

Memory is compared between the second tenth of N samples and the last, twice. Once this process reads them by itself,
and gives what its allocator has free back to the system before each look: what is left is held. Then processes read
ahead, as in a training, and all is counted as it lies there, free or not: that swings, and creeps up at first, with
what the allocator keeps and with pages that a forked process comes to own by touching them. With `--write` the tables
go to `results/feeding`.
"""

import argparse
import csv
import ctypes
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import av
import numpy as np
import torch

from pkdlib import _files
from pkdlib.companion.runs import store
from pkdlib.data import frame_cache, sampling
from pkdlib.data.loader import BatchLoader, MicroBatch
from pkdlib.video import transcode
from pkdlib.video.reader import CompressedVideo

ROOT = Path(__file__).resolve().parents[1]
TABLES, THROUGHPUT = ROOT / "results" / "feeding", ROOT / "results" / "throughput" / "throughput.csv"
MODALITIES, SEGMENTS, SIZE = ("iframe", "motion", "residual"), 3, 224
BATCH, BATCHES, REPEATS = 10, 4, 5
ALL_FRAMES = 100_000
MEASURED = {"all three": MODALITIES, **{name: (name,) for name in MODALITIES}}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("clips", nargs="*", type=Path, metavar="CLIP")
    arguments = parser.parse_args()
    sources = arguments.clips or sorted((ROOT.parent / "shared" / "clips" / "paper_datasets").iterdir())
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        files = in_paper_form(sources, Path(folder))
        speeds = [row for name, modalities in MEASURED.items() for row in rates(files, name, modalities)]
        memory = growth(files, arguments.samples)
    needs(speeds)
    if arguments.write:
        write(TABLES / "speed.csv", speeds)
        write(TABLES / "memory.csv", [memory])
        _files.write_json(TABLES / store.RECORD, store.provenance() | {"clips": [path.name for path in sources]})


def in_paper_form(sources: list[Path], folder: Path) -> frame_cache.ClipFiles:
    """Transcode the clips, and list each one often enough for a few batches."""
    for number, source in enumerate(sources):
        transcode.transcode(source, folder / f"{number}.mp4")
    paths = sorted(folder.iterdir()) * (-(-BATCH * BATCHES // len(sources)))
    return frame_cache.ClipFiles(
        tuple(paths), torch.zeros(len(paths), dtype=torch.int64), ALL_FRAMES, 256, folder / "indices"
    )


def feed(files: frame_cache.ClipFiles, modalities: tuple[str, ...], workers: int) -> BatchLoader:
    """Prepare a feed of a few batches an epoch."""
    shape = {"size": SIZE, "segments": SEGMENTS, "batch_size": BATCH, "parts": 1, "seed": 0, "device": "cpu"}
    return BatchLoader(files, range(BATCH * BATCHES), modalities, **shape, workers=workers)


def rates(files: frame_cache.ClipFiles, name: str, modalities: tuple[str, ...]) -> list[dict[str, float | str]]:
    """Time a few batches decoded by the floor, in this process, and ahead by one process and by two."""
    feeds = {workers: feed(files, modalities, workers) for workers in (0, 1, 2)}
    for own in feeds.values():  # start the processes
        consume(own.epoch(0))
    runs_of = {0: consume, 1: read, 2: read}
    seconds: dict[int | None, list[float]] = {key: [] for key in (None, *feeds)}
    for epoch in range(1, REPEATS + 1):
        places = drawn(files, epoch)
        seconds[None].append(timed(lambda places=places: floor(places)))
        for workers, own in feeds.items():
            run = runs_of[workers]
            seconds[workers].append(timed(lambda run=run, own=own, epoch=epoch: run(own.epoch(epoch))))
    count = BATCH * BATCHES
    medians = {key: count / statistics.median(values) for key, values in seconds.items()}
    scaling = statistics.median(a / b for a, b in zip(seconds[1], seconds[2], strict=True))
    over = statistics.median(a / b for a, b in zip(seconds[0], seconds[None], strict=True))
    print(f"{name}: {medians[0]:.1f} clips/s on one core, {over:.2f} times the floor's time ", end="")
    print(f"({medians[None]:.1f} clips/s); ahead by one process {medians[1]:.1f}, by two {medians[2]:.1f} ", end="")
    print(f"({scaling:.2f} times)", flush=True)
    return [
        {"read": name, "processes": key, "clips_per_second": medians[key], "over_floor": over, "two_over_one": scaling}
        for key in feeds
    ]


def drawn(files: frame_cache.ClipFiles, epoch: int) -> list[tuple[Path, list[tuple[int, int]]]]:
    """List the key frames and places that an epoch's samples decode."""
    found = []
    for clip in range(BATCH * BATCHES):
        with CompressedVideo(files.paths[clip]) as video:
            inter = [i for gop in video.gops for i in range(gop.start + 1, gop.start + gop.length)]
            places = sampling.segment_draws(len(inter), SEGMENTS, np.random.default_rng((0, epoch, clip)))
            found.append((files.paths[clip], [(video.gops[video.locate(inter[i])[0]].start, inter[i]) for i in places]))
    return found


def floor(wanted: list[tuple[Path, list[tuple[int, int]]]]) -> None:
    """Decode from each key frame to its place, and export the vectors."""
    for path, places in wanted:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_count = 1
            stream.codec_context.options = {"flags2": "+export_mvs"}
            for key, place in places:
                container.seek(round(key / stream.average_rate / stream.time_base), stream=stream)
                for _, frame in zip(range(place - key + 1), container.decode(stream), strict=False):
                    vectors = frame.side_data.get("MOTION_VECTORS")
                    if vectors is not None:
                        vectors.to_ndarray()


def growth(files: frame_cache.ClipFiles, samples: int) -> dict[str, float]:
    """Read many samples, one modality after the other, and compare the memory at the beginning and the end."""
    found: dict[str, float] = {"samples": samples}
    for name, workers, look in (("held", 0, held), ("resident", 2, resident)):
        feeds = [feed(files, (modality,), workers) for modality in MODALITIES]
        seen = []
        for epoch in range(-(-samples // (BATCH * BATCHES))):
            consume(feeds[epoch % len(feeds)].epoch(epoch))
            seen.append(look())
        tenth = max(1, len(seen) // 10)
        early, late = statistics.median(seen[tenth : 2 * tenth]), statistics.median(seen[-tenth:])
        found |= {f"{name}_early_mib": early, f"{name}_late_mib": late}
        print(f"{name} over the second tenth of {samples} samples {early:.1f} MiB, over the last {late:.1f} MiB")
    return found


def held() -> float:
    """Give this process's free memory back, and say what it then has for itself, in MiB."""
    ctypes.CDLL(None).malloc_trim(0)
    return private("self")


def resident() -> float:
    """Add up the memory that this process and its children have for themselves, in MiB."""
    own = os.getpid()
    children = Path(f"/proc/{own}/task/{own}/children").read_text(encoding="utf-8").split()
    return sum(private(process) for process in (own, *children))


def private(process: int | str) -> float:
    """Say what a process has written and shares with none, in MiB."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty")) / 1024


def needs(speeds: list[dict[str, float | str]]) -> None:
    """Say how many cores keep the measured GPU busy."""
    one_core = {row["read"]: row["clips_per_second"] for row in speeds if row["processes"] == 1}
    with THROUGHPUT.open() as file:
        for row in csv.DictReader(file):
            if row["variant"] == "channels_last":
                rate = float(row["training_clips_per_second"])
                print(
                    f"{row['network']}: {rate:.0f} clips/s on the GPU need {rate / one_core[row['network']]:.0f} cores"
                )


def consume(parts: Iterator[MicroBatch]) -> None:
    """Go through parts."""
    for _ in parts:
        pass


def read(parts: Iterator[MicroBatch]) -> None:
    """Go through parts, but leave out what a GPU does of them."""
    with mock.patch.object(sampling, "finish", lambda drawn, size, device: {}):
        consume(parts)


def timed(run) -> float:
    """Time a function once."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def write(path: Path, rows: list[dict[str, float | str]]) -> None:
    """Write a table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)


if __name__ == "__main__":
    main()
