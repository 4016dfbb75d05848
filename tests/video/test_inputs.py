"""Inputs as people have them: levels, edit lists, orientations, lost frames, cuts, wrong headers, names of files."""

import os
import shutil
import struct
import subprocess
import sys

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext

from pkdlib import _files, cli
from pkdlib.video import transcode
from pkdlib.video.container import DamagedVideo, UnsupportedVideo
from pkdlib.video.reader import CompressedVideo, VideoError
from tests.conftest import REPOSITORY
from tests.video.test_formats import pictures, plain_pass, write

FFMPEG = shutil.which("ffmpeg")


@pytest.fixture
def reports(shared_clips):
    """The inputs that went wrong as people reported them."""
    folder = shared_clips / "reports"
    if not folder.is_dir():
        pytest.skip(f"no reported inputs at {folder}")
    return folder


def transcoded(source, target, **size):
    with CompressedVideo(source) as video:
        transcode.transcode(source, target, **({"width": video.width, "height": video.height} | size))
    return target


def images(path):
    with CompressedVideo(path) as video:
        return [frame.image for frame in video.frames()]


# ---- R1: packets that look alike -------------------------------------------------------------------------------------


def test_a_packet_is_told_from_one_of_the_same_size_and_times(reports):
    shown = list(plain_pass(reports / "joined_fades.ts"))
    with CompressedVideo(reports / "joined_fades.ts") as video:
        assert len(video.gops) == 4 and len(shown) == video.num_frames
        for number, (start, length) in enumerate(video.gops):
            for position in (0, length - 1):
                np.testing.assert_array_equal(video.image(number, position), shown[start + position].image)


# ---- R2: levels ------------------------------------------------------------------------------------------------------

LEVELS = (10, 128, 245)
RANGES = {
    "h264_full.mp4": ("libx264", {"x264-params": "fullrange=on:qp=4"}, "yuvj420p"),
    "h264_limited.mp4": ("libx264", {"qp": "4"}, "yuv420p"),
    "hevc_full.mp4": ("libx265", {"x265-params": "log-level=none:range=full:qp=4"}, "yuvj420p"),
    "hevc_limited.mkv": ("libx265", {"x265-params": "log-level=none:qp=4"}, "yuv420p"),
    "mjpeg.avi": ("mjpeg", {"q": "2", "qmin": "1", "qmax": "2"}, "yuvj420p"),
    "mjpeg_444.mov": ("mjpeg", {"q": "2", "qmin": "1", "qmax": "2"}, "yuvj444p"),
}


def steps():
    """Three grey areas."""
    picture = np.empty((64, 96, 3), np.uint8)
    for number, level in enumerate(LEVELS):
        picture[:, 32 * number : 32 * number + 32] = level
    return picture


def assert_levels(picture, tolerance=2):
    for number, level in enumerate(LEVELS):
        area = picture[16:48, 32 * number + 8 : 32 * number + 24].astype(int)
        assert np.abs(area - level).max() <= tolerance


@pytest.mark.parametrize("name", RANGES)
def test_levels_are_kept_whatever_their_range(tmp_path, name):
    codec, options, form = RANGES[name]
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV cannot write {codec}")
    path, is_full = tmp_path / name, form.startswith("yuvj")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = 96, 64, form, 1
        stream.codec_context.color_range = 2 if is_full else 1
        for _ in range(4):
            frame = av.VideoFrame.from_ndarray(steps(), format="rgb24")
            frame = frame.reformat(format=form, dst_color_range="JPEG" if is_full else "MPEG")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (first, *_) = plain_pass(path)
    assert_levels(first.image)  # the source is what it is to be tested with
    with av.open(str(path)) as container:
        assert (next(container.decode(video=0)).color_range == 2) == is_full
    transcode.transcode(path, tmp_path / "clip.mp4", width=96, height=64)
    for image in images(tmp_path / "clip.mp4"):
        assert_levels(image)


def test_levels_of_a_reported_file(reports, tmp_path):
    for image, shown in zip(
        images(transcoded(reports / "full_range.mp4", tmp_path / "clip.mp4")),
        plain_pass(reports / "full_range.mp4"),
        strict=True,
    ):
        assert np.abs(image.astype(int) - shown.image).max() <= 2


def test_colours_of_high_definition_are_kept(tmp_path):
    """ITU-R BT.709 is not the matrix that MPEG-4 is read with."""
    path = tmp_path / "clip.mkv"
    colours = np.zeros((64, 96, 3), np.uint8)
    colours[:, :32], colours[:, 32:64], colours[:, 64:] = (200, 40, 40), (40, 200, 40), (40, 40, 200)
    options = {"x264-params": "colormatrix=bt709:qp=4"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = 96, 64, "yuv420p", 1
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(colours, format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace="ITU709")))
        container.mux(stream.encode(None))
    shown = next(plain_pass(path)).image.astype(int)
    result = images(transcoded(path, tmp_path / "clip.mp4"))[0]
    for left in (8, 40, 72):
        area = np.s_[8:56, left : left + 16]
        assert np.abs(shown[area] - colours[area]).max() <= 8  # by the other matrix it is more than 20
        assert np.abs(result[area] - shown[area]).max() <= 4


# ---- R3: edit lists --------------------------------------------------------------------------------------------------

EDITED = {
    "mpeg4.mp4": ("mpeg4", {}, {}),
    "mpeg4_b.mp4": ("mpeg4", {}, {"bframes": 2}),
    "h264.mov": ("libx264", {"x264-params": "ref=1:bframes=0"}, {}),
    "h264_b.mp4": ("libx264", {"x264-params": "ref=1:bframes=2:b-adapt=0:b-pyramid=none"}, {}),
}


def edit(data, first, count, rate=25):
    """Have an edit list show `count` frames from frame `first` on; the list is there, and has one entry."""
    at = data.index(b"elst") + 4
    assert data[at : at + 8] == struct.pack(">II", 0, 1)
    movie = struct.unpack(">I", data[data.index(b"mvhd") + 16 :][:4])[0]
    media = struct.unpack(">I", data[data.index(b"mdhd") + 16 :][:4])[0]
    begin = struct.unpack(">i", data[at + 12 :][:4])[0]  # B-frames shift the times
    entry = struct.pack(">Ii", count * movie // rate, begin + first * media // rate)
    return data[: at + 8] + entry + data[at + 16 :]


@pytest.mark.parametrize("name", EDITED)
@pytest.mark.parametrize(("first", "count"), [(3, 15), (7, 13), (0, 9), (9, 4), (13, 1), (1, 19)])
def test_what_an_edit_list_hides_is_a_reference_alone(tmp_path, name, first, count):
    codec, options, settings = EDITED[name]
    whole = write(tmp_path / f"whole_{name}", codec, {"g": "6", **options}, **settings)
    path = tmp_path / name
    path.write_bytes(edit(whole.read_bytes(), first, count))
    shown = list(plain_pass(path))
    assert 0 < len(shown) < 20
    with CompressedVideo(whole) as video:
        frames = {accumulate: list(video.frames(accumulate)) for accumulate in (True, False)}
        keys = {gop.start: video.iframe(number) for number, gop in enumerate(video.gops)}
        starts = [gop.start for gop in video.gops]
    for options in ({}, {"on_error": "keep"}, {"cache": tmp_path / "cache"}, {"cache": tmp_path / "cache"}):
        with CompressedVideo(path, **options) as video:
            assert video.num_frames == len(shown) == len(video.frame_types) == sum(gop.length for gop in video.gops)
            assert video.frame_types == "".join(frame.type for frame in shown)
            np.testing.assert_allclose(video.times, [frame.time for frame in shown])
            for accumulate in (True, False):
                numbers = []
                for frame, expected in zip(video.frames(accumulate), shown, strict=True):
                    np.testing.assert_array_equal(frame.image, expected.image)
                    (same,) = [other for other in frames[True] if np.array_equal(other.image, frame.image)]
                    other = frames[accumulate][same.index]
                    numbers.append(other.index)
                    # As in the whole file, where the key frame and all others are shown.
                    np.testing.assert_array_equal(frame.motion, other.motion)
                    np.testing.assert_array_equal(frame.residual, other.residual)
                    assert video.locate(frame.index) == (frame.gop, frame.position)
                    again = video.sample(frame.gop, frame.position, accumulate)
                    np.testing.assert_array_equal(again.motion, frame.motion)
                    np.testing.assert_array_equal(again.residual, frame.residual)
                    np.testing.assert_array_equal(video.image(frame.gop, frame.position), frame.image)
                    key = max(start for start in starts if start <= other.index)
                    np.testing.assert_array_equal(again.iframe, keys[key])
                assert numbers == sorted(numbers)
    assert len(images(transcoded(path, tmp_path / "clip.mp4"))) == len(shown)


def test_a_reported_file_that_was_trimmed(reports, tmp_path, capsys):
    with CompressedVideo(reports / "trimmed.mp4") as video:
        assert video.num_frames == 35 and video.times[0] == 0
        for frame, expected in zip(video.frames(), plain_pass(reports / "trimmed.mp4"), strict=True):
            np.testing.assert_array_equal(frame.image, expected.image)
    assert len(images(transcoded(reports / "trimmed.mp4", tmp_path / "clip.mp4"))) == 35
    assert cli.main(["inspect", str(reports / "trimmed.mp4"), "--picture", str(tmp_path / "a.png")]) == 0
    assert "frames      35 (1 I, 34 P)" in capsys.readouterr().out


# ---- R4: orientations ------------------------------------------------------------------------------------------------

TURNS = [(1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1), (0, 1, 1, 0), (0, 1, -1, 0), (0, -1, 1, 0)]
TURNS.append((0, -1, -1, 0))


def turned(source, target, turn):
    """Have a file ask for a turn: (x, y) is shown at (a x + c y, b x + d y)."""
    data, plain = source.read_bytes(), struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    a, b, c, d = (number << 16 for number in turn)
    at = data.rindex(plain)
    target.write_bytes(data[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[at + 36 :])
    return target


def placed(picture, turn):
    """Put each pixel where the matrix says."""
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
    a, b, c, d = turn
    right, down = a * x + c * y, b * x + d * y
    right, down = right - right.min(), down - down.min()
    shown = np.zeros((down.max() + 1, right.max() + 1, 3), np.uint8)
    shown[down, right] = picture
    return shown


@pytest.mark.parametrize("turn", TURNS)
def test_a_picture_is_shown_as_its_matrix_says(tmp_path, turn):
    source = write(tmp_path / "source.mp4", "mpeg4", {}, frames=pictures(3, 48, 64))
    path = turned(source, tmp_path / "turned.mp4", turn)
    stored = next(plain_pass(path)).image
    upright = placed(stored, turn)
    height, width = upright.shape[:2]
    with CompressedVideo(path) as video:
        np.testing.assert_array_equal(video.iframe(0), stored)
        as_told = np.rot90(stored[:, ::-1] if video.mirrored else stored, video.rotation // 90)
        np.testing.assert_array_equal(as_told, upright)
    if FFMPEG:
        command = [FFMPEG, "-v", "error", "-i", path, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
        played = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.uint8)
        assert np.abs(played.reshape(upright.shape).astype(int) - upright).mean() < 2
    transcode.transcode(path, tmp_path / "clip.mp4", width=width, height=height)
    result = images(tmp_path / "clip.mp4")[0].astype(int)
    others = [placed(stored, other) for other in TURNS]
    distances = [np.abs(result - other).mean() if other.shape == result.shape else 255 for other in others]
    assert np.argmin(distances) == TURNS.index(turn) and min(distances) < 8


def test_a_mirrored_file_says_so(reports, tmp_path, capsys):
    assert cli.main(["inspect", str(reports / "mirrored.mp4"), "--picture", str(tmp_path / "a.png")]) == 0
    assert "shown       mirrored, not turned; read as stored" in capsys.readouterr().out
    stored = next(plain_pass(reports / "mirrored.mp4")).image
    result = images(transcoded(reports / "mirrored.mp4", tmp_path / "clip.mp4"))[0]
    assert np.abs(result.astype(int) - stored[:, ::-1]).mean() < 5


# ---- R5: frames that are missing -------------------------------------------------------------------------------------

LOSSY = {
    "mpeg1.mpg": ("mpeg1video", 0),
    "mpeg1_b.mkv": ("mpeg1video", 2),
    "mpeg2.mkv": ("mpeg2video", 0),
    "mpeg2_b.ts": ("mpeg2video", 2),
    "mpeg2_b.mp4": ("mpeg2video", 1),
    "one.mp4": "ref=1:bframes=0",
    "refs.mkv": "ref=4:bframes=0",
    "b.mp4": "ref=3:bframes=3:b-adapt=0:b-pyramid=normal",
    "weighted.mkv": "ref=3:bframes=2:b-adapt=0:weightp=2:weightb=1",
    "fields.mp4": "tff=1:ref=2:bframes=2:b-adapt=0",
    "slices.h264": "ref=2:bframes=0:slices=4",
    "open.ts": "ref=1:bframes=2:b-adapt=0:open-gop=1",
    "refresh.ts": "ref=1:bframes=0:intra-refresh=1",
}


def without(source, target, lost):
    """Copy a video less one packet."""
    with av.open(str(source)) as container, av.open(str(target), "w") as result:
        stream = result.add_stream_from_template(container.streams.video[0])
        packets = [packet for packet in container.demux(video=0) if packet.size]
        for number, packet in enumerate(packets):
            if number != lost:
                packet.stream = stream
                result.mux(packet)
    return target


@pytest.mark.parametrize("name", LOSSY)
def test_a_frame_that_is_missing_is_damage_where_others_may_refer_to_it(tmp_path, name):
    if isinstance(LOSSY[name], str):
        options = {"x264-params": f"{LOSSY[name]}:keyint=8:scenecut=0"}
        source = write(tmp_path / f"whole_{name}", "libx264", options)
    else:
        codec, bframes = LOSSY[name]
        source = write(tmp_path / f"whole_{name}", codec, {"g": "8"}, bframes=bframes)
    whole = list(plain_pass(source))
    assert images(source)  # nothing is missing
    damaged = 0
    for lost in range(1, 16):
        path = without(source, tmp_path / name, lost)
        read = []
        try:
            with CompressedVideo(path) as video:
                for frame in video.frames():
                    read.append(frame.image)
            is_damaged = False
        except DamagedVideo as error:
            assert f"{path}: damaged: " in str(error)
            is_damaged = True
        damaged += is_damaged
        # Whatever was read is a frame of the whole video, in order.
        following = iter(whole)
        assert all(any(np.array_equal(image, frame.image) for frame in following) for image in read)
        assert is_damaged or len(read) >= len(whole) - 2
        if is_damaged:
            with CompressedVideo(path, on_error="keep") as video:
                assert "damaged" in video.damage and video.num_frames == len(list(video.frames())) >= len(read)
            with pytest.raises(DamagedVideo, match="damaged"):
                transcode.transcode(path, tmp_path / "clip.mp4", width=64, height=48)
    assert damaged > 3


@pytest.mark.slow
def test_transcode_tells_frames_of_h265_that_refer_to_a_missing_one(tmp_path):
    if "libx265" not in av.codecs_available:
        pytest.skip("this PyAV cannot write hevc")
    for name, params in (("clip.mp4", "bframes=0"), ("b.mkv", "bframes=2:b-adapt=0:open-gop=1")):
        options = {"x265-params": f"log-level=none:keyint=10:{params}"}
        source = write(tmp_path / f"whole_{name}", "libx265", options, height=96, width=128)
        assert len(list(plain_pass(source))) == 20
        told = 0
        for lost in (11, 13):
            path = without(source, tmp_path / name, lost)
            if len(list(plain_pass(path))) == 19:  # nothing refers to it
                transcode.transcode(path, tmp_path / "clip.mp4", width=64, height=48)
            else:
                told += 1
                with pytest.raises(DamagedVideo, match=r"damaged: .* cannot be decoded"):
                    transcode.transcode(path, tmp_path / "clip.mp4", width=64, height=48)
        assert told


def test_a_reported_file_with_a_frame_missing(reports, tmp_path, capsys):
    whole = images(reports / "whole.mp4")
    with CompressedVideo(reports / "lost_frame.mp4") as video:
        read = []
        with pytest.raises(DamagedVideo, match="a frame is missing before frame 15") as caught:
            read.extend(video.frames())
        assert caught.value.sound_frames == len(read) == 15
        for number in (0, 2):  # the other GOPs
            start = (0, None, 24)[number]
            for frame in video.frames(gops=number):
                np.testing.assert_array_equal(frame.image, whole[start + frame.position])
    with CompressedVideo(reports / "lost_frame.mp4", on_error="keep") as video:
        assert video.num_frames == 15 and "missing" in video.damage
        for frame in video.frames():
            np.testing.assert_array_equal(frame.image, whole[frame.index])
    assert cli.main(["inspect", str(reports / "lost_frame.mp4"), "--picture", str(tmp_path / "a.png")]) == 1
    assert "missing" in capsys.readouterr().err


# ---- R6: references and interlacing that change ----------------------------------------------------------------------

CHANGING = {
    "refs.h264": [("libx264", {"x264-params": "ref=1:bframes=0"}), ("libx264", {"x264-params": "ref=4:bframes=0"})],
    "fields.h264": [
        ("libx264", {"x264-params": "ref=1:bframes=0"}),
        ("libx264", {"x264-params": "ref=1:bframes=0:tff=1"}),
    ],
    "refs.ts": [("libx264", {"x264-params": "ref=1:bframes=0"}), ("libx264", {"x264-params": "ref=4:bframes=0"})],
    "fields.m2v": [("mpeg2video", {}), ("mpeg2video", {"flags": "+ildct+ilme"})],
    "fields.ts": [("mpeg2video", {}), ("mpeg2video", {"flags": "+ildct+ilme"})],
    "fields.mpg": [("mpeg2video", {}), ("mpeg2video", {"flags": "+ildct+ilme"})],
    "fields.m4v": [("mpeg4", {}), ("mpeg4", {"flags": "+ildct+ilme"})],
}


@pytest.mark.parametrize("name", CHANGING)
def test_a_doubt_about_any_part_is_one_about_the_whole(tmp_path, name):
    muxer = {"muxer": "m4v"} if name.endswith("m4v") else {}
    parts = [
        write(tmp_path / f"{number}_{name}", codec, options, **muxer).read_bytes()
        for number, (codec, options) in enumerate(CHANGING[name])
    ]
    for number in (0, 1):
        for joined, expected in ((parts[number], bool(number)), (parts[number] + parts[1 - number], True)):
            (tmp_path / name).write_bytes(joined)
            with CompressedVideo(tmp_path / name) as video:
                assert video.approximate is expected


def test_a_reported_file_whose_references_change(reports):
    with CompressedVideo(reports / "refs_1_then_4.h264") as video:
        assert video.approximate


# ---- R7: headers that announce more ----------------------------------------------------------------------------------


def announcing(data, more):
    """Have an AVI file's headers announce more frames than it holds."""
    data = bytearray(data)
    for at in (data.index(b"avih") + 8 + 16, data.index(b"strh") + 8 + 32):
        (count,) = struct.unpack_from("<I", data, at)
        struct.pack_into("<I", data, at, count + more)
    return bytes(data)


@pytest.mark.parametrize("codec", ["mpeg4", "libx264", "msmpeg4"])
def test_a_header_is_not_believed_over_a_whole_index(tmp_path, codec):
    source = write(tmp_path / "source.avi", codec, {"g": "6"})
    expected = images(source)
    path = tmp_path / "clip.avi"
    for more in (1, 7, 1000):
        path.write_bytes(announcing(source.read_bytes(), more))
        np.testing.assert_array_equal(images(path), expected)
        assert len(images(transcoded(path, tmp_path / "clip.mp4"))) == 20
        # What is really cut short is still told, by both.
        path.write_bytes(path.read_bytes()[: path.read_bytes().rindex(b"idx1") - 100])
        with pytest.raises(DamagedVideo, match=f"truncated: its header announces {20 + more} frames"):
            CompressedVideo(path)
        with pytest.raises(DamagedVideo, match=r"truncated|damaged"):
            transcode.transcode(path, tmp_path / "cut.mp4")
        assert not (tmp_path / "cut.mp4").exists()


def test_a_reported_file_that_announces_one_more(reports, tmp_path, capsys):
    np.testing.assert_array_equal(images(reports / "header_one_more.avi"), images(reports / "clip.avi"))
    assert cli.main(["inspect", str(reports / "header_one_more.avi"), "--picture", str(tmp_path / "a.png")]) == 0
    assert "frames      25" in capsys.readouterr().out


# ---- R8: pictures that are cut ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("clip.h264", "libx264", {"x264-params": "ref=1:bframes=0:qp=8:crop-rect=6,4,2,8"}),
        ("clip.mp4", "libx264", {"x264-params": "ref=1:bframes=0:qp=8:crop-rect=22,4,2,8"}),
        ("clip.hevc", "libx265", {"x265-params": "log-level=none:qp=8"}),
    ],
)
def test_a_cut_is_where_the_stream_says(tmp_path, name, codec, options):
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV cannot write {codec}")
    path = write(tmp_path / name, codec, options, height=96, width=128)
    if codec == "libx265":  # which cuts nothing itself
        with av.open(str(path)) as container:
            cut = "hevc_metadata=crop_left=6:crop_top=4:crop_right=2:crop_bottom=8"
            bits = BitStreamFilterContext(cut, container.streams.video[0])
            packets = [packet for packet in container.demux(video=0) if packet.size]
            path.write_bytes(b"".join(bytes(each) for packet in [*packets, None] for each in bits.filter(packet)))
    shown = list(plain_pass(path))  # which asks libavcodec not to shift the cut
    height, width = shown[0].image.shape[:2]
    transcode.transcode(path, tmp_path / "result.mp4", width=width, height=height)
    for image, expected in zip(images(tmp_path / "result.mp4"), shown, strict=True):
        right, shifted = (
            np.abs(image[:, :-8].astype(int) - other).mean()
            for other in (expected.image[:, :-8], expected.image[:, 8:])
        )
        assert right < 6 and right < shifted / 2


def test_a_reported_file_that_is_cut_at_the_left(reports, tmp_path):
    stored = images(reports / "left_crop.h264")
    for image, expected in zip(
        images(transcoded(reports / "left_crop.h264", tmp_path / "clip.mp4")), stored, strict=True
    ):
        assert np.abs(image.astype(int) - expected).mean() < 4


# ---- R12, R15: names -------------------------------------------------------------------------------------------------

NAMES = {
    "bytes that are not UTF-8": b"caf\xe9 \xff.mp4",
    "as long as it may be": b"n" * 251 + b".mp4",
    "long, and of two bytes each": "é".encode() * 125 + b".mp4",
}


@pytest.fixture
def named(request, tmp_path):
    """A clip of a name of NAMES."""
    path = tmp_path / os.fsdecode(NAMES[request.param])
    transcode.encode(pictures(14, 48, 64), tmp_path / "clip.mp4")
    try:
        (tmp_path / "clip.mp4").rename(path)
    except OSError as error:
        pytest.skip(f"this file system has no such names: {error}")
    return path


@pytest.mark.parametrize("named", NAMES, indirect=True)
def test_a_file_of_any_name_is_read_kept_and_written(named, tmp_path):
    with CompressedVideo(named, cache=tmp_path / "cache") as video:
        assert video.num_frames == 14
        video.sample(0, 5)
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / named.name
    transcode.transcode(named, target)
    assert len(list((tmp_path / "out").iterdir())) == 1


@pytest.mark.parametrize("named", NAMES, indirect=True)
def test_a_file_of_any_name_is_inspected(named, tmp_path):
    """By a terminal that takes UTF-8 alone, as most do."""
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict", "PYTHONPATH": str(REPOSITORY)}
    program = [sys.executable, "-c", "import sys; from pkdlib import cli; sys.exit(cli.main())", "inspect"]
    (tmp_path / "out").mkdir()
    for path, status in ((named, 0), (tmp_path / os.fsdecode(b"no\xe9.mp4"), 1)):
        done = subprocess.run([*program, path], cwd=tmp_path / "out", env=environment, capture_output=True)
        said = (done.stdout + done.stderr).decode()  # which is UTF-8
        assert done.returncode == status, said
        assert _files.printable(path.name) in said and "Traceback" not in said
    (picture,) = (tmp_path / "out").iterdir()
    assert picture.name.endswith(".modalities.png")


def test_names_are_shown_with_escapes():
    assert _files.printable(os.fsdecode(b"caf\xe9.mp4")) == "caf\\xe9.mp4"
    assert _files.printable("café ×.mp4") == "café ×.mp4"
    for error in (VideoError(os.fsdecode(b"\xe9: damaged")), DamagedVideo(os.fsdecode(b"\xe9: damaged"), 3)):
        assert str(error) == "\\xe9: damaged"


def test_derived_names_do_not_grow_beyond_what_file_systems_take():
    assert _files.derived("clip", ".png") == "clip.png"
    names = {_files.derived(stem, ".modalities.png") for stem in ("n" * 251, "n" * 252, "é" * 125, "n" * 250 + "m")}
    assert len(names) == 4 and all(len(os.fsencode(name)) <= 255 for name in names)


# ---- R14, and streams captured in mid-stream -------------------------------------------------------------------------


def test_too_few_frames_are_told_of_the_source(reports, tmp_path):
    source, target = reports / "one_frame.mp4", tmp_path / "clip.mp4"
    with pytest.raises(UnsupportedVideo, match=rf"^{source}: has 1 frame\(s\), too few to read motion: 2 are needed$"):
        transcode.transcode(source, target, fewest=2)
    assert not target.exists()
    transcode.transcode(source, target)
    assert len(images(target)) == 1


def test_a_prediction_that_fails_names_the_user_s_file(reports, capsys):
    pytest.importorskip("torch")
    assert cli.main(["predict", str(reports / "one_frame.mp4")]) == 1
    assert capsys.readouterr().err.startswith(f"pkd: {reports / 'one_frame.mp4'}: has 1 frame(s)")


@pytest.mark.parametrize("suffix", ["h264", "ts"])
def test_a_refresh_captured_in_mid_stream_says_so_and_is_transcoded(tmp_path, suffix):
    params = "ref=1:bframes=0:keyint=8:intra-refresh=1"
    source = write(tmp_path / f"whole.{suffix}", "libx264", {"x264-params": params}, frames=pictures(28, 96, 128))
    path = tmp_path / f"clip.{suffix}"
    with av.open(str(source)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        if suffix == "ts":
            path.write_bytes(source.read_bytes()[packets[3].pos :])
        else:
            path.write_bytes(b"".join(bytes(packet) for packet in packets[3:]))
    with pytest.raises(
        UnsupportedVideo, match=rf"{path.name}: holds no key frame: .*intra refresh.*transcode\.transcode"
    ):
        CompressedVideo(path)
    transcode.transcode(path, tmp_path / "clip.mp4", width=128, height=96)
    result, whole = images(tmp_path / "clip.mp4"), [frame.image for frame in plain_pass(source)]
    assert len(result) > 5
    for image, expected in zip(reversed(result), reversed(whole), strict=False):
        assert np.abs(image.astype(int) - expected).mean() < 8
