"""Time the decoder against the least that any PyAV program must do on the same clips.

Usage: python benchmarks/decode.py [CLIP ...]   (default: ../shared/clips/golden/*.mp4)

The floor is one PyAV pass over the clip with one thread: decode each frame, export its motion vectors, convert it to
RGB. Everything runs on one core, and in turns within one run, so that the ratios hold on a busy machine; the times are
CPU times, the median of 7.
"""

import os
import statistics
import sys
import time
from pathlib import Path

import av

from pkdlib.bitstream import CompressedVideo

REPEATS = 7


def floor(path):
    """Do the least that vectors and RGB frames need."""
    with av.open(str(path), metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        stream.codec_context.options = {"flags2": "+export_mvs"}
        for frame in container.decode(stream):
            vectors = frame.side_data.get("MOTION_VECTORS")
            if vectors is not None:
                vectors.to_ndarray()
            frame.to_ndarray(format="rgb24")


def opening(path):
    """Open and index, and close."""
    CompressedVideo(path).close()


def everything(path):
    """Decode all modalities of all frames, accumulated."""
    with CompressedVideo(path) as video:
        for _ in video.frames():
            pass


def plain(path):
    """Decode all modalities of all frames, each against the frame before."""
    with CompressedVideo(path) as video:
        for _ in video.frames(accumulate=False):
            pass


def motion_alone(path):
    """Trace motion without any RGB."""
    with CompressedVideo(path) as video:
        for _ in video.frames(image=False, residual=False):
            pass


def one_sample(path):
    """Open a file for one sample, as a data loader may."""
    with CompressedVideo(path) as video:
        gop = len(video.gops) // 2
        video.sample(gop, video.gops[gop].length // 2)


TASKS = {
    "image, accumulated motion and residual": everything,
    "image, plain motion and residual": plain,
    "accumulated motion alone": motion_alone,
    "open and index": opening,
    "open and read one sample in the middle": one_sample,
}


def measure(path):
    """Return each task's median CPU time, in seconds."""
    tasks = {"floor": floor, **TASKS}
    times = {name: [] for name in tasks}
    for _ in range(REPEATS + 1):
        for name, task in tasks.items():
            start = time.process_time()
            task(path)
            times[name].append(time.process_time() - start)
    return {name: statistics.median(values[1:]) for name, values in times.items()}  # the first turn warms up


def main(paths):
    """Print a table for each clip."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for path in paths:
        medians = measure(path)
        with CompressedVideo(path) as video:
            count = video.num_frames
        print(f"{path.name}: {count} frames; floor, one PyAV pass with vectors and RGB: ", end="")
        print(f"{medians['floor'] * 1e3:.1f} ms, {count / medians['floor']:.0f} frames/s")
        for name in TASKS:
            print(f"  {name:<40}{medians[name] * 1e3:8.1f} ms {medians[name] / medians['floor']:6.2f} x the floor")


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[2] / "shared" / "clips" / "golden"
    clips = [Path(name) for name in sys.argv[1:]] or sorted(root.glob("*.mp4"))
    if not clips:
        sys.exit(f"no clips in {root}; name some")
    main(clips)
