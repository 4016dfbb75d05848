"""Damaged video files for `fuzz_decode.py`: source clips, and mutations of them by number.

A mutation is a function of the seed, its number and the source clips alone.
"""

import random
import shutil
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

# ---- Sources ---------------------------------------------------------------------------------------------------------

B_FRAMES = {"max_b_frames": 2}
X264 = {"g": "6", "bf": "2", "qp": "26"}  # x264's rate control is not the same in every run, a fixed quantiser is
OWN = {
    "mpeg4_b.avi": ("mpeg4", {"g": "6"}, B_FRAMES),
    "mpeg4_b.mkv": ("mpeg4", {"g": "6"}, B_FRAMES),
    "mpeg4_b.mp4": ("mpeg4", {"g": "6"}, B_FRAMES),
    "mpeg4_b.m4v": ("mpeg4", {"g": "6"}, B_FRAMES),
    "mpeg4_p.m4v": ("mpeg4", {"g": "6"}, {}),
    "mpeg4_qpel.m4v": ("mpeg4", {"g": "6", "flags": "+qpel+mv4"}, {}),
    "mpeg4_qpel_b.avi": ("mpeg4", {"g": "6", "flags": "+qpel+mv4"}, B_FRAMES),
    "mpeg4_slices.m4v": ("mpeg4", {"g": "6", "ps": "100", "data_partitioning": "1"}, {}),
    "mpeg4_interlaced.mp4": ("mpeg4", {"g": "6", "flags": "+ildct+ilme"}, {}),
    "mpeg1.mpg": ("mpeg1video", {"g": "6"}, B_FRAMES),
    "mpeg2.mpg": ("mpeg2video", {"g": "6"}, B_FRAMES),
    "mpeg2.ts": ("mpeg2video", {"g": "6", "flags": "+ildct+ilme"}, B_FRAMES),
    "h264_b.mp4": ("libx264", X264, {}),
    "h264_b.ts": ("libx264", X264, {}),
    "h264_b.h264": ("libx264", X264, {}),
    "h264_slices.h264": ("libx264", {**X264, "bf": "0", "slices": "4"}, {}),
    "h264_interlaced.mkv": ("libx264", {**X264, "flags": "+ildct+ilme"}, {}),
    "h264_fragments.mp4": ("libx264", {**X264, "movflags": "frag_keyframe"}, {}),
    "flv1.flv": ("flv", {"g": "6"}, {}),
    "msmpeg4v3.avi": ("msmpeg4", {"g": "6"}, {}),
    "wmv2.wmv": ("wmv2", {"g": "6"}, {}),
    "h263.3gp": ("h263", {"g": "6"}, {}),
}


def write_clip(path, codec, options, attributes, size):
    """Encode a moving texture, the same bytes every time."""
    wide, high = size
    texture = np.random.default_rng(0).integers(0, 255, (high // 4 + 8, wide // 4 + 16, 3))
    texture = np.kron(texture, np.ones((4, 4, 1))).astype(np.uint8)
    with av.open(str(path), "w", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = wide, high, "yuv420p", 1
        for name, value in attributes.items():
            setattr(stream.codec_context, name, value)
        for index in range(16):
            picture = np.ascontiguousarray(texture[index : index + high, 2 * index : 2 * index + wide])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def copy_start(source, target, pictures=40):
    """Copy the first pictures of a raw stream, which is nothing but its packets in order."""
    with av.open(str(source)) as container:
        packets = [bytes(packet) for packet, _ in zip(container.demux(video=0), range(pictures), strict=False)]
    target.write_bytes(b"".join(packets))


def gather_sources(clips, folder):
    """Write all source clips into a folder."""
    for number, (name, recipe) in enumerate(OWN.items()):
        size = (176, 144) if recipe[0] == "h263" else ((96, 80), (68, 48))[number % 2]  # a splice may change the size
        write_clip(folder / f"own-{name}", *recipe, size)
    for path in sorted(clips.glob("golden/*.mp4")):
        copy_start(path, folder / f"golden-{path.name}")
    for path in sorted(clips.glob("*/**/*.*")):
        group = path.relative_to(clips).parts[0]
        if group != "golden" and path.suffix != ".py":
            shutil.copy(path, folder / f"{group}-{path.name}")


# ---- Mutations: functions of a random.Random and the bytes -----------------------------------------------------------

EXTREMES = [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
# MPEG-4, MPEG-1/2 and their systems, H.264: what starts a picture, a sequence, a parameter set, a slice, an end.
CODES = bytes.fromhex("b6 b0 b3 b5 b7 b8 00 01 20 2f 67 68 65 41 06 09 ba bb e0")
TEXTS = (
    "some words\nand more of them\n",
    "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{name}\n",  # a playlist of itself
    "ffconcat version 1.0\nfile {name}\nfile {name}\n",
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "1\n00:00:00,000 --> 00:00:01,000\nhello\n",
    "YUV4MPEG2 W30000 H30000 F25:1 Ip A0:0 C420jpeg\nFRAME\n",
    "P6 30000 30000 255\n",
)


def some(rng, longest):
    """Draw a number from 1 to `longest`, small ones as often as large ones."""
    return min(longest, int(2 ** rng.uniform(0, max(longest, 1).bit_length())))


def run_of(rng, data):
    """Draw a run of bytes."""
    start = rng.randrange(len(data))
    return start, min(len(data), start + some(rng, 4096))


def header_of(rng, data):
    """Draw a place that holds a container's or a stream's header."""
    moov = data.find(b"moov")
    start = moov - 4 if moov >= 4 and rng.random() < 0.7 else 0
    return start, min(len(data), start + rng.choice([64, 512, 3000]))


def flip(rng, data, start, end, count):
    """Flip bits between two places."""
    for _ in range(count):
        data[rng.randrange(start, end)] ^= 1 << rng.randrange(8)


def one_bit(rng, data):
    """Flip a bit."""
    flip(rng, data, 0, len(data), 1)


def many_bits(rng, data):
    """Flip up to 1024 bits."""
    flip(rng, data, 0, len(data), some(rng, 1024))


def header_bits(rng, data):
    """Flip a few bits of a header."""
    flip(rng, data, *header_of(rng, data), some(rng, 16))


def overwrite(rng, data):
    """Overwrite runs by zeros, ones or noise."""
    for _ in range(some(rng, 8)):
        start, end = run_of(rng, data)
        data[start:end] = rng.choice([bytes(end - start), b"\xff" * (end - start), rng.randbytes(end - start)])


def truncate(rng, data):
    """Keep the beginning, sometimes hardly anything or nearly all."""
    kept = rng.choice([rng.randrange(len(data)), some(rng, len(data)), len(data) - some(rng, len(data))])
    del data[max(kept, 0) :]


def delete(rng, data):
    """Take a run out."""
    start, end = run_of(rng, data)
    del data[start:end]


def insert(rng, data):
    """Put noise in."""
    start, end = run_of(rng, data)
    data[start:start] = rng.randbytes(end - start)


def duplicate(rng, data):
    """Put a run of the file in at another place."""
    start, end = run_of(rng, data)
    at = rng.randrange(len(data))
    data[at:at] = data[start:end] * some(rng, 4)


def start_codes(rng, data):
    """Put start codes in or over."""
    for _ in range(some(rng, 16)):
        at, kept = rng.randrange(len(data)), rng.choice([0, 4])
        data[at : at + kept] = b"\0\0\1" + bytes([rng.choice(CODES)])


def sizes(rng, data):
    """Write extreme numbers of 32 bits over parts of a header."""
    start, end = header_of(rng, data)
    for _ in range(some(rng, 4)):
        at = rng.randrange(start, end, 4)
        data[at : at + 4] = rng.choice(EXTREMES).to_bytes(4, rng.choice(["little", "big"]))


def magic(rng, data):
    """Keep what tells the format, and make the rest noise."""
    kept = rng.choice([4, 12, 64, 600])
    data[kept:] = rng.randbytes(some(rng, 1 << 16))


def halves(rng, data):
    """Swap two parts."""
    at = rng.choice([len(data) // 2, rng.randrange(len(data))])
    data[:] = data[at:] + data[:at]


def splice(rng, data, other):
    """Go on with another file, at start codes as often as not."""
    start, end = rng.randrange(len(data)), rng.randrange(len(other))
    if rng.random() < 0.5:  # a place after which there is no start code stays
        start, end = max(data.find(b"\0\0\1", start), start), max(other.find(b"\0\0\1", end), end)
    data[start:] = other[end:]


EDITS = {
    "one bit": one_bit,
    "many bits": many_bits,
    "header bits": header_bits,
    "overwritten runs": overwrite,
    "truncated": truncate,
    "deleted": delete,
    "inserted": insert,
    "duplicated": duplicate,
    "start codes": start_codes,
    "extreme sizes": sizes,
    "noise after magic": magic,
    "swapped halves": halves,
}
KINDS = (*EDITS, "spliced, alike", "spliced, unlike", "text", "renamed")


class Mutation(NamedTuple):
    """A damaged file: its kind, the clips that it is made of, its name and its bytes."""

    kind: str
    source: str
    name: str
    data: bytes


def mutate(seed, number, sources):
    """Make a mutation from the source clips, a dictionary of name to bytes."""
    rng = random.Random(f"{seed}:{number}")  # a text seeds the same numbers on every machine
    groups = {}
    for source in sources:
        groups.setdefault(source.partition("-")[0], []).append(source)
    kind, group = rng.choice(KINDS), rng.choice(["own", rng.choice([*groups])])  # however many clips a group has
    source = rng.choice(groups[group])
    data, suffix = bytearray(sources[source]), Path(source).suffix
    if kind in ("text", "renamed"):
        suffix = rng.choice([*sorted({Path(name).suffix for name in sources}), ".txt", ".m3u8", ".sdp"])
    name = f"m{number}{suffix}"
    if kind == "text":
        data = rng.choice(TEXTS).format(name=name).encode() * rng.choice([1, 50])
        source = "-"
    elif kind.startswith("spliced"):
        alike = kind == "spliced, alike"
        other = rng.choice([other for other in sources if (Path(other).suffix == suffix) == alike])
        splice(rng, data, sources[other])
        source = f"{source} + {other}"
    elif kind != "renamed":
        EDITS[kind](rng, data)
    return Mutation(kind, source, name, bytes(data))
