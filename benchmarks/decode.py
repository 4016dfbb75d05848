"""Time the decoder against the least that any PyAV program must do on the same clips.

Usage: python benchmarks/decode.py [--write] [CLIP ...]   (default: ../shared/clips/golden/*.mp4)

There are two floors: one PyAV pass over the clip that decodes each frame and exports its motion vectors, and one that
converts each frame to RGB besides. Everything runs on one core, with one thread, in turns within one run, so that the
ratios hold on a busy machine; the times are CPU times, the median of 7 (of 3 for passes over the long file). A clip is
opened anew for each pass, without a kept index, and for random samples with one. The long file is one clip, 60 times
over. The parts of a pass, each by itself on frames that are decoded already, tell where its time goes. With `--write`
the table goes to `results/decode`.
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from itertools import chain, islice
from pathlib import Path

import av
import numpy as np

from pkdlib import _files
from pkdlib.companion.runs import store
from pkdlib.video import blocks, motion
from pkdlib.video.reader import CompressedVideo, View

REPEATS = 7
REPEATS_OF_LONG = 3
FOLDS = 60
PARTED = 96  # frames on which the parts of a pass are measured
LONG = 6000  # frames of the file whose reading is weighed
SAMPLES = 40  # random samples in one measurement
CROP = View(crop=(16, 58, 224, 224))
TABLES = Path(__file__).resolve().parents[1] / "results" / "decode"
NOTHING = {"image": False, "motion": False, "residual": False}
TRAINING = View(crop=(0, 42, 256, 256), size=(224, 224), normalise=True)


def floor(path, rgb):
    """Do the least that vectors, and RGB frames if asked for, need."""
    with av.open(str(path), metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        stream.codec_context.options = {"flags2": "+export_mvs"}
        for frame in container.decode(stream):
            vectors = frame.side_data.get("MOTION_VECTORS")
            if vectors is not None:
                vectors.to_ndarray()
            if rgb:
                frame.to_ndarray(format="rgb24")


def everything(path, **options):
    """Read all frames of a file."""
    with CompressedVideo(path) as video:
        for _ in video.frames(**options):
            pass


def iframes(path):
    """Decode the I-frames alone."""
    with CompressedVideo(path) as video:
        for gop in range(len(video.gops)):
            video.iframe(gop)


def one_sample(path, cache, rng):
    """Open a file with a kept index, and read one sample."""
    with CompressedVideo(path, cache=cache) as video:
        video.sample(*drawn(video, rng))


def three_samples(path, cache, view, rng):
    """Open a file with a kept index, and read three samples, as training does for three segments."""
    with CompressedVideo(path, cache=cache) as video:
        video.samples([drawn(video, rng) for _ in range(3)], view=view)


def drawn(video, rng):
    """Draw a P-frame."""
    gop = int(rng.integers(len(video.gops)))
    return gop, int(rng.integers(1, max(2, video.gops[gop].length))) % video.gops[gop].length


def interleaved(tasks, repeats=REPEATS):
    """Return each task's median CPU time, in seconds, of runs in turns; the first turn warms up."""
    times = {name: [] for name in tasks}
    for _ in range(repeats + 1):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


PASSES = {
    # What is read: how, and which floor it is held against.
    "all frames: image, accumulated motion and residual": (everything, True),
    "all frames: image, plain motion and residual": (partial(everything, accumulate=False), True),
    "all frames: accumulated motion alone": (partial(everything, image=False, residual=False), False),
    "all frames: the codec's own vectors": (partial(everything, **NOTHING, vectors=True), False),
    "all frames: decoded, nothing given": (partial(everything, **NOTHING), False),
    "all frames: accumulated residual alone": (partial(everything, image=False, motion=False), True),
    "all frames: images alone": (partial(everything, motion=False, residual=False), True),
    "I-frames alone": (iframes, True),
    "open and index": (lambda path: CompressedVideo(path).close(), True),
}


def parts(path):
    """Return parts of a pass over a clip without B-frames, and how many times longer it is than what they work on."""
    with CompressedVideo(path) as video:
        frames = list(islice(video.frames(motion=False, residual=False, vectors=True), PARTED))
        height, width, whole = video.height, video.width, video.num_frames / len(frames)
    gops = [[(frame.vectors, "past") for frame in frames if frame.gop == gop] for gop in range(frames[-1].gop + 1)]
    places, colours = motion.still(height, width).copy(), frames[0].image.copy()
    plans = [plan for gop in gops for plan in blocks.plans(gop, height, width)]

    def each(function):
        for frame in frames:
            function(frame)

    def move(plane):
        for plan in plans:
            blocks.move(plane, plane, plan.past)

    return {
        "a part: finding what moves, and from where": lambda: [blocks.plans(gop, height, width) for gop in gops],
        "a part: moving the places of pixels": partial(move, places),
        "a part: moving their colours": partial(move, colours),
        "a part: subtracting places": partial(each, lambda frame: motion.displacement(places)),
        "a part: subtracting pictures": partial(each, lambda frame: motion.residual(frame.image, colours)),
    }, whole


def passes(path, repeats):
    """Give a row for each way to read a clip, and each part of it: its time, and its ratio to the floor."""
    tasks = {rgb: partial(floor, path, rgb) for rgb in (False, True)}
    tasks |= {name: partial(task, path) for name, (task, _) in PASSES.items()}
    pieces, whole = parts(path)
    medians = interleaved(tasks | pieces, repeats)
    yield path.name, "floor: one PyAV pass with vectors", medians[False], 1.0
    yield path.name, "floor: one PyAV pass with vectors and RGB", medians[True], 1.0
    for name, (_, rgb) in PASSES.items():
        yield path.name, name, medians[name], medians[name] / medians[rgb]
    for name in pieces:
        yield path.name, name, whole * medians[name], whole * medians[name] / medians[True]


def samples(path, cache):
    """Give a row for each kind of random sample: the mean time of one call."""
    CompressedVideo(path, cache=cache).close()
    opened = CompressedVideo(path, cache=cache)
    rng = np.random.default_rng(0)
    tasks = {
        "one random sample, file open": lambda: opened.sample(*drawn(opened, rng)),
        "one random sample, opening with the kept index": partial(one_sample, path, cache, rng),
        "three random samples, 224 x 224 crop": partial(three_samples, path, cache, CROP, rng),
        "three random samples, 256 to 224, normalised": partial(three_samples, path, cache, TRAINING, rng),
    }
    many = {name: lambda task=task: [task() for _ in range(SAMPLES)] for name, task in tasks.items()}
    for name, median in interleaved(many).items():
        yield path.name, name, median / SAMPLES, None
    opened.close()


def concatenated(path, target, times):
    """Write a raw stream several times over, which is a raw stream again."""
    target.write_bytes(path.read_bytes() * times)
    return target


def peak_memory(path):
    """Return the largest memory of a process that reads all of a file in one pass, in MiB, and of one that opens it."""
    program = (
        "import sys; from pkdlib.video.reader import CompressedVideo; video = CompressedVideo(sys.argv[1])\n"
        "if sys.argv[2] == 'read':\n  for frame in video.frames(): pass\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    return [
        int(subprocess.check_output([sys.executable, "-c", program, str(path), how])) / 1024 for how in ("read", "open")
    ]


def write(rows):
    """Keep the table, with the record of its run."""
    TABLES.mkdir(parents=True, exist_ok=True)
    with open(TABLES / "speed.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file", "what", "milliseconds", "ratio"])
        for name, what, seconds, ratio in rows:
            table.writerow([name, what, f"{seconds * 1e3:.2f}", "" if ratio is None else f"{ratio:.2f}"])
    told = {"command": "python benchmarks/decode.py --write", "repeats": REPEATS, "ffmpeg": av.ffmpeg_version_info}
    _files.write_json(TABLES / store.RECORD, {**told, **store.provenance()})


def main():
    """Print a table, and keep it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", metavar="CLIP", nargs="*", type=Path, help="raw MPEG-4 streams (the golden clips)")
    parser.add_argument("--write", action="store_true", help="keep the table in results/decode")
    chosen = parser.parse_args()
    root = Path(__file__).resolve().parents[2] / "shared" / "clips" / "golden"
    clips = chosen.clips or sorted(root.glob("*.mp4"))
    if not clips:
        sys.exit(f"no clips in {root}; name some")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        largest = max(clips, key=lambda path: path.stat().st_size)
        long = concatenated(largest, Path(folder) / f"{FOLDS}x_{largest.name}", FOLDS)
        for path in [*clips, long]:
            for row in chain(passes(path, REPEATS_OF_LONG if path is long else REPEATS), samples(path, folder)):
                rows.append(row)
                name, what, seconds, ratio = row
                told = "" if ratio is None else f"{ratio:7.2f} x its floor"
                print(f"{name:<26}{what:<52}{seconds * 1e3:9.2f} ms{told}", flush=True)
        with CompressedVideo(clips[0]) as video:
            times = -(-LONG // video.num_frames)
        read, opened = peak_memory(concatenated(clips[0], Path(folder) / "long.mp4", times))
        print(
            f"one pass over {times * video.num_frames} frames: at most {read:.0f} MiB; opening alone: {opened:.0f} MiB"
        )
    if chosen.write:
        write(rows)


if __name__ == "__main__":
    main()
