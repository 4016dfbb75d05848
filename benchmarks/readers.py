"""Compare readers of motion vectors: what each can open, what it gives, and how long it takes beside one PyAV pass.

Usage: python benchmarks/readers.py [--write] [CLIP ...]   (default: the clips in ../shared/clips, and small files of
older codecs that are encoded here)

Readers that are not installed are skipped, with a line that says so: `motion-vector-extractor` comes by pip, CoViAR's
`coviar` and `cv_reader` are compiled by hand. The checks run each reader on each file in a process of its own, so that
a crash is a result, with all cores; each file is read several times, for vectors may differ from run to run.

The times are those of `benchmarks/decode.py`: CPU time on one core, in turns within one run, the median of 7, as a
ratio to one PyAV pass with vectors and RGB frames. With `--write` the tables go to `results/readers`.
"""

import csv
import hashlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

import av
import numpy as np

from pkdlib import _files
from pkdlib.companion.runs import store
from pkdlib.video.reader import CompressedVideo

ROOT = Path(__file__).resolve().parents[1]
TABLES = ROOT / "results" / "readers"
CLIPS = ROOT.parent / "shared" / "clips"
TIMED = ("golden/*.mp4", "formats/*_h264*.mp4", "paper_datasets/*.avi")
CHECKED = (*TIMED, "formats/carphone_pristine.mp4", "formats/h264_10bits.mp4", "formats/h265_video.mp4")
CHECKED += ("formats/av1_video.mkv",)
REPEATS = 7
READINGS = 10
FIELDS = ("source", "w", "h", "src_x", "src_y", "dst_x", "dst_y", "motion_x", "motion_y", "motion_scale")
# File name -> codec, encoder options and picture size of the small files that are encoded here.
ENCODED = {
    "mpeg4_qpel_bframes.mkv": ("mpeg4", {"flags": "+qpel+mv4", "bf": "2"}, (340, 256)),
    "mpeg1.mpg": ("mpeg1video", {}, (340, 256)),
    "mpeg2.mpg": ("mpeg2video", {"bf": "2"}, (340, 256)),
    "h263.avi": ("h263", {}, (176, 144)),
    "msmpeg4v3.avi": ("msmpeg4", {}, (340, 256)),
    "wmv1.avi": ("wmv1", {}, (340, 256)),
    "wmv2.avi": ("wmv2", {}, (340, 256)),
    "flv1.flv": ("flv", {}, (340, 256)),
    "vp8.webm": ("libvpx", {}, (340, 256)),
    "vp9.webm": ("libvpx-vp9", {}, (340, 256)),
}


def pyav(path, rgb=True, threading="SLICE", threads=1):
    """Do the least that vectors and, if wanted, RGB frames need: with both, this is the floor."""
    with av.open(str(path), metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.thread_count = threading, threads
        stream.codec_context.options = {"flags2": "+export_mvs"}
        for frame in container.decode(stream):
            data = frame.side_data.get("MOTION_VECTORS")
            vectors = None if data is None else data.to_ndarray()
            if rgb:
                frame.to_ndarray(format="rgb24")
            yield vectors


def pyav_by_frames(path):
    """Read with PyAV and two threads that decode different frames."""
    return pyav(path, rgb=False, threading="FRAME", threads=2)


def extractor(path, rgb=True):
    """Read with motion-vector-extractor."""
    from mvextractor.videocap import VideoCap

    video = VideoCap()
    if not video.open(str(path)):
        raise ValueError("open() returned False")
    video.set_decode_frames(rgb)
    while True:
        good, _, vectors, _ = video.read()
        if not good:
            break
        yield vectors
    video.release()


def ours(path, accumulate=True, rgb=True):
    """Read with this library: dense motion, and with RGB the pictures and residuals too."""
    with CompressedVideo(path) as video:
        for frame in video.frames(accumulate, image=rgb, residual=rgb):
            yield frame.motion


def our_vectors(path):
    """Read the codec's own vectors with this library."""
    with CompressedVideo(path) as video:
        for frame in video.frames(image=False, motion=False, residual=False, vectors=True):
            yield frame.vectors


def coviar(path, representations=(1, 2)):
    """Read with CoViAR's loader, sample by sample, as its data set does (its GOPs have 12 frames)."""
    from coviar import get_num_frames, load

    for index in range(get_num_frames(str(path))):
        arrays = [load(str(path), index // 12, index % 12, number, True) for number in representations]
        if arrays[0] is None:
            raise ValueError(f"load() returned None for frame {index}")
        yield arrays[0]


def cv_reader(path):
    """Read with cv_reader: a list of all frames, each with a field of vectors and a residual."""
    from cv_reader import api

    for frame in api.read_video(str(path), 0):
        yield frame["motion_vector"]


# Name -> what must be importable, and what its distribution is called.
READERS = {
    "PyAV, 2 frame threads": (pyav_by_frames, "av", "av"),
    "motion-vector-extractor": (extractor, "mvextractor", "motion-vector-extractor"),
    "coviar": (coviar, "coviar", "coviar"),
    "cv_reader": (cv_reader, "cv_reader", "cv-reader"),
    "pkdlib": (ours, "pkdlib", "pkdlib"),
}
# What is timed: reader, what it gives, and how to call it. The first is the floor.
TASKS = (
    ("PyAV alone", "vectors and pictures", pyav),
    ("PyAV alone", "vectors", lambda path: pyav(path, rgb=False)),
    ("motion-vector-extractor", "vectors and pictures", extractor),
    ("motion-vector-extractor", "vectors", lambda path: extractor(path, rgb=False)),
    ("coviar", "accumulated motion and residual", coviar),
    ("coviar", "accumulated motion", lambda path: coviar(path, (1,))),
    ("cv_reader", "vectors and residual", cv_reader),
    ("pkdlib", "accumulated motion, residual and pictures", ours),
    ("pkdlib", "accumulated motion", lambda path: ours(path, rgb=False)),
    ("pkdlib", "vectors", our_vectors),
)


def installed(name):
    """Say whether a reader can be imported."""
    return name not in READERS or importlib.util.find_spec(READERS[name][1]) is not None


def listed(vectors):
    """Bring a frame's vectors into one form: int32 rows of the ten fields that both PyAV and the extractor give."""
    if vectors is None or len(vectors) == 0:
        return np.zeros((0, len(FIELDS)), np.int32)
    if vectors.dtype.names:
        vectors = np.stack([vectors[name].astype(np.int32) for name in FIELDS], axis=1)
    return np.ascontiguousarray(vectors, np.int32)


def drawn(rows, height, width):
    """Draw vectors to the past as a dense field, by the rules that the book's page on the compressed domain states."""
    field = np.zeros((height, width, 2), np.int16)
    for row in rows.tolist():
        if row[0] < 0:
            field[copied(row, height, width)] = row[5] - row[3], row[6] - row[4]
    return field


def copied(row, height, width):
    """Return the rows and columns of a block that lie inside the picture and come from inside it."""
    _, w, h, src_x, src_y, x, y, *_ = row
    dx, dy = x - src_x, y - src_y
    top, left = max(y - h // 2, dy, 0), max(x - w // 2, dx, 0)
    bottom, right = min(y + h // 2, height, height + dy), min(x + w // 2, width, width + dx)
    return slice(top, max(bottom, top)), slice(left, max(right, left))


def borrowed(rows, height, width):
    """Mark the pixels that follow a vector to the future: pkdlib takes their motion from another frame."""
    marks = np.zeros((height, width), bool)
    for source in (1, -1):  # the past has the last word
        for row in rows.tolist():
            if row[0] == source:
                marks[copied(row, height, width)] = source > 0
    return marks


def digests(frames):
    """Hash each frame's array."""
    return [hashlib.sha256(np.ascontiguousarray(frame).tobytes()).hexdigest()[:16] for frame in frames]


def check(name, path):
    """Read a file several times with one reader, and compare with PyAV's export; runs in a process of its own."""
    expected = [listed(vectors) for vectors in pyav(path, rgb=False)]
    vectors, read = any(map(len, expected)), READERS[name][0]
    if name == "pkdlib":
        with CompressedVideo(path) as video:
            height, width = video.height, video.width
        keep = [~borrowed(rows, height, width)[..., None] for rows in expected]
        expected = [drawn(rows, height, width) * mask for rows, mask in zip(expected, keep, strict=True)]
        readings = [
            digests(field * mask for field, mask in zip(ours(path, accumulate=False, rgb=False), keep, strict=False))
            for _ in range(2)
        ]
    elif name not in ("coviar", "cv_reader"):
        readings = [digests(map(listed, read(path))) for _ in range(READINGS)]
    else:  # their arrays have other forms: only stability is compared
        readings, expected = [digests(read(path)) for _ in range(2)], None
    unstable = sum(len(set(found)) > 1 for found in zip(*readings, strict=True))
    result = {"vectors": vectors, "frames": len(readings[0]), "unstable": unstable}
    if expected is not None:
        # A frame counts as different if no reading of it gave PyAV's vectors.
        pairs = zip(digests(expected), zip(*readings, strict=True), strict=False)
        result["different"] = sum(one not in found for one, found in pairs)
    return result


def outcome(name, path):
    """Check one reader on one file, and say in a word how it went."""
    call = [sys.executable, __file__, "--check", name, str(path)]
    done = subprocess.run(call, capture_output=True, text=True, check=False, encoding="utf-8")
    if done.returncode < 0:
        return {"outcome": f"crashes (signal {-done.returncode})"}
    if done.returncode:
        return {"outcome": "refused", "reason": done.stderr.strip().splitlines()[-1]}
    result = json.loads(done.stdout.splitlines()[-1])
    with_vectors = result.pop("vectors")
    return {"outcome": "read" if with_vectors else "no vectors", **result}


def encode(folder):
    """Encode the small files of other codecs from moving noise, and yield those whose encoder is there."""
    for name, (codec, options, (width, height)) in ENCODED.items():
        if codec not in av.codecs_available:
            print(f"{name}: skipped, this PyAV has no encoder {codec}")
            continue
        rng = np.random.default_rng(0)
        texture = np.kron(rng.integers(0, 255, (80, 100, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream(codec, rate=25, options={"g": "12", **options})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.thread_count, stream.bit_rate = 1, 2_000_000
            for index in range(36):
                picture = np.ascontiguousarray(texture[2 * index :, 3 * index :][:height, :width])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        yield folder / name


def describe(path, root):
    """Name a file, its codec and its number of frames as PyAV decodes them."""
    with av.open(str(path), metadata_errors="ignore") as container:
        kinds = [frame.pict_type for frame in container.decode(video=0)]
        codec = container.streams.video[0].codec_context.codec.canonical_name
        bframes = any(av.video.frame.PictureType(kind).name == "B" for kind in kinds)
    name = path.relative_to(root).as_posix() if root else path.name
    return {"file": name, "codec": codec, "b_frames": bframes, "decoded": len(kinds)}


def exhaust(frames):
    """Read all frames."""
    for _ in frames:
        pass


def timings(path, description, readable):
    """Time every task that can be done, in turns."""
    tasks = [task for task in TASKS if task[0] == "PyAV alone" or task[0] in readable]
    times = [[] for _ in tasks]
    for _ in range(REPEATS + 1):
        for seconds, (_, _, read) in zip(times, tasks, strict=True):
            start = time.process_time()
            exhaust(read(path))
            seconds.append(time.process_time() - start)
    medians = [statistics.median(seconds[1:]) for seconds in times]  # the first turn warms up
    for (reader, gives, _), median in zip(tasks, medians, strict=True):
        row = {"file": description["file"], "codec": description["codec"], "b_frames": description["b_frames"]}
        row |= {"frames": description["decoded"], "reader": reader, "gives": gives}
        yield row | {"milliseconds": f"{1e3 * median:.1f}", "ratio": f"{median / medians[0]:.2f}"}


def write(name, rows, columns):
    """Write one table."""
    TABLES.mkdir(parents=True, exist_ok=True)
    with (TABLES / name).open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns, restval="", extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def record(names):
    """Say what the tables were made with."""
    found = store.provenance()
    for name in names:
        try:
            found["versions"][READERS[name][2]] = metadata.version(READERS[name][2])
        except metadata.PackageNotFoundError:
            found["versions"].setdefault(READERS[name][2], "from a checkout")
    counts = {"repeats": REPEATS, "readings": READINGS}
    return {"command": "python benchmarks/readers.py --write", "ffmpeg": av.ffmpeg_version_info, **counts, **found}


def main(arguments):
    """Check and time all readers on all files."""
    named = [Path(argument) for argument in arguments if argument != "--write"]
    names = [name for name in READERS if installed(name)]
    for name in READERS:
        if name not in names:
            print(f"{name}: skipped, it is not installed")
    timed = named or [path for pattern in TIMED for path in sorted(CLIPS.glob(pattern))]
    checked = named or [path for pattern in CHECKED for path in sorted(CLIPS.glob(pattern))]
    if not checked:
        sys.exit(f"no clips in {CLIPS}; name some")
    formats, speed = [], []
    with tempfile.TemporaryDirectory() as folder:
        made = [] if named else list(encode(Path(folder)))
        for path in [*checked, *made]:
            description = describe(path, CLIPS if path.is_relative_to(CLIPS) else None)
            for name in names:
                # A refusal names the file as it was given: only its own name is kept.
                row = {**description, "reader": name, **outcome(name, path)}
                row["reason"] = row.get("reason", "").replace(str(path), path.name)
                formats.append(row)
                print(*(f"{key} {value}" for key, value in row.items() if value != ""), sep=", ")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for path in timed:
        description = describe(path, CLIPS if path.is_relative_to(CLIPS) else None)
        good = ("read", "no vectors")
        rows = [row for row in formats if row["file"] == description["file"] and row["outcome"] in good]
        for row in timings(path, description, {row["reader"] for row in rows}):
            speed.append(row)
            print(f"{row['file']}: {row['reader']}, {row['gives']}: {row['ratio']} x the floor")
    if "--write" in arguments:
        columns = ["file", "codec", "b_frames", "decoded", "reader", "outcome", "frames", "different", "unstable"]
        write("formats.csv", formats, [*columns, "reason"])
        columns = ["file", "codec", "b_frames", "frames", "reader", "gives", "milliseconds", "ratio"]
        write("speed.csv", speed, columns)
        _files.write_json(TABLES / store.RECORD, record(names))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--check"]:
        print(json.dumps(check(sys.argv[2], Path(sys.argv[3])), default=bool))
    else:
        main(sys.argv[1:])
