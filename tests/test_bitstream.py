"""Reading compressed video: one pass, random access, other formats, and everything that can be wrong with a file."""

import contextlib
import os
from itertools import pairwise

import av
import numpy as np
import pytest

from pkdlib import transcode
from pkdlib.bitstream import CompressedVideo, VideoError

HEIGHT, WIDTH = 48, 68  # a width that is no multiple of 8


def pictures(count=20):
    """A texture behind a square, both of which move."""
    rng = np.random.default_rng(0)
    ground = np.kron(rng.integers(40, 200, (12, 40, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    square = np.kron(rng.integers(0, 255, (4, 4, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    for index in range(count):
        picture = ground[:, 2 * index : 2 * index + WIDTH].copy()
        picture[4 + index : 20 + index, 40 - index : 56 - index] = square
        yield picture


def write(path, codec="libx264", options=None, frames=None, **context):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = WIDTH, HEIGHT, "yuv420p", 1
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        for picture in frames or pictures():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    transcode.encode(pictures(), path, gop=7)
    return path


def plain_pass(path):
    """Types, pictures and vectors by the simplest PyAV loop, as an oracle."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        stream.codec_context.options = {"flags2": "+export_mvs"}
        for frame in container.decode(stream):
            vectors = frame.side_data.get("MOTION_VECTORS")
            yield frame.key_frame, frame.to_ndarray(format="rgb24"), [] if vectors is None else vectors.to_ndarray()


def test_what_a_video_says_of_itself(clip):
    with CompressedVideo(clip) as video:
        assert (video.codec, video.width, video.height) == ("mpeg4", WIDTH, HEIGHT)
        assert (video.num_frames, video.frame_rate, video.approximate) == (20, 25, False)
        assert [tuple(gop) for gop in video.gops] == [(0, 7), (7, 7), (14, 6)]
        assert "".join(video.frame_types) == "IPPPPPPIPPPPPPIPPPPP"


def test_motion_and_residual_are_the_loops_of_the_rules(clip):
    """The source map of the reference, pixel by pixel: `src[dst] = old_src[dst's source]` on a full copy."""
    with CompressedVideo(clip) as video:
        frames = video.frames()
        moved = False
        for is_key, picture, vectors in plain_pass(clip):
            if is_key:
                source = {(x, y): (x, y) for x in range(WIDTH) for y in range(HEIGHT)}
                iframe = picture
            old = dict(source)
            for vector in vectors:
                dx, dy = int(vector["dst_x"]) - vector["src_x"], int(vector["dst_y"]) - vector["src_y"]
                wide, high = int(vector["w"]), int(vector["h"])
                if dx == dy == 0:
                    continue
                for x in range(vector["dst_x"] - wide // 2, vector["dst_x"] + wide // 2):
                    for y in range(vector["dst_y"] - high // 2, vector["dst_y"] + high // 2):
                        if (x, y) in old and (x - dx, y - dy) in old:
                            source[x, y] = old[x - dx, y - dy]
            frame = next(frames)
            np.testing.assert_array_equal(frame.image, picture)
            for (x, y), (from_x, from_y) in source.items():
                assert tuple(frame.motion[y, x]) == (x - from_x, y - from_y)
                expected = picture[y, x].astype(int) - iframe[from_y, from_x]
                assert (frame.residual[y, x] == (0 if is_key else expected)).all()
                moved = moved or (x, y) != (from_x, from_y)
        assert moved
        assert next(frames, None) is None


def compensated(image, motion):
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return image[y - motion[..., 1], x - motion[..., 0]]


@pytest.mark.parametrize("accumulate", [True, False])
def test_reference_and_residual_give_the_picture_back(clip, accumulate):
    with CompressedVideo(clip) as video:
        for before, frame in pairwise(video.frames(accumulate)):
            if frame.position == 0:
                assert not frame.motion.any() and not frame.residual.any()
                iframe = frame.image
                continue
            reference = (iframe if frame.gop else video.iframe(0)) if accumulate else before.image
            assert (frame.motion.dtype, frame.residual.dtype) == (np.int16, np.int16)
            rebuilt = compensated(reference, frame.motion) + frame.residual
            np.testing.assert_array_equal(rebuilt, frame.image)


FORMATS = {
    "mpeg4.avi": ("mpeg4", {"g": "6"}, {"max_b_frames": 0}),
    "mpeg4_b.avi": ("mpeg4", {"g": "9"}, {"max_b_frames": 2}),
    "mpeg4.mkv": ("mpeg4", {"g": "6"}, {"max_b_frames": 2}),
    "mpeg4.mp4": ("mpeg4", {"g": "6"}, {"max_b_frames": 1}),
    "mpeg4.m4v": ("mpeg4", {"g": "6"}, {"max_b_frames": 0}),
    "mpeg4_b.m4v": ("mpeg4", {"g": "6"}, {"max_b_frames": 2}),
    "h264.mp4": ("libx264", {"g": "8", "bf": "0", "refs": "1"}, {}),
    "h264_b.mp4": ("libx264", {"g": "8", "bf": "3"}, {}),
    "h264_open.mkv": ("libx264", {"g": "8", "bf": "3", "x264-params": "open-gop=1"}, {}),
    "h264.h264": ("libx264", {"g": "8", "bf": "0"}, {}),
    "h264.ts": ("libx264", {"g": "8", "bf": "2"}, {}),
    "mpeg1.mpg": ("mpeg1video", {"g": "6"}, {"max_b_frames": 2}),
    "mpeg2.mkv": ("mpeg2video", {"g": "6"}, {"max_b_frames": 2}),
    "mpeg2.ts": ("mpeg2video", {"g": "6"}, {"max_b_frames": 0}),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("accumulate", [True, False])
def test_random_access_is_the_pass_in_any_format(tmp_path, name, accumulate):
    codec, options, context = FORMATS[name]
    path = write(tmp_path / name, codec, options, **context)
    decoded = [picture for _, picture, _ in plain_pass(path)]
    with CompressedVideo(path) as video:
        frames = list(video.frames(accumulate))
        assert len(frames) == video.num_frames == len(video.frame_types) == len(decoded) == 20
        assert len(video.gops) > 1 and video.frame_types[0] == "I"
        order = np.random.default_rng(0).permutation(len(frames))
        for frame in [frames[-1], *(frames[index] for index in order[:8])]:
            np.testing.assert_array_equal(frame.image, decoded[frame.index])
            sample = video.sample(frame.gop, frame.position, accumulate)
            np.testing.assert_array_equal(sample.motion, frame.motion)
            np.testing.assert_array_equal(sample.residual, frame.residual)
            np.testing.assert_array_equal(sample.iframe, decoded[video.gops[frame.gop].start])
        times = [frame.time for frame in frames]
        np.testing.assert_allclose(np.diff(times), 1 / float(video.frame_rate), atol=2e-3)


def test_vectors_are_the_same_in_every_run(tmp_path):
    path = write(tmp_path / "clip.mp4", "libx264", {"g": "20", "bf": "3", "refs": "4"})
    with CompressedVideo(path) as video:
        assert video.approximate and "B" in video.frame_types
        first = [frame.motion for frame in video.frames(residual=False, image=False)]
        for _ in range(3):
            for motion, frame in zip(first, video.frames(residual=False, image=False), strict=True):
                assert frame.image is None and frame.residual is None
                np.testing.assert_array_equal(motion, frame.motion)


def test_a_frame_without_vectors_keeps_the_accumulated_motion(tmp_path):
    moving = list(pictures(4))
    still = np.full_like(moving[0], 90)
    path = tmp_path / "clip.mp4"
    transcode.encode([*moving, moving[-1], still], path)
    with CompressedVideo(path) as video:
        assert video.motion(0, 3).any()
        np.testing.assert_array_equal(video.motion(0, 4), video.motion(0, 3))
        assert not video.motion(0, 4, accumulate=False).any()


def test_single_accessors_agree_with_the_sample(clip):
    with CompressedVideo(clip) as video:
        for accumulate in (True, False):
            sample = video.sample(1, 5, accumulate)
            np.testing.assert_array_equal(video.motion(1, 5, accumulate), sample.motion)
            np.testing.assert_array_equal(video.residual(1, 5, accumulate), sample.residual)
        np.testing.assert_array_equal(video.iframe(1), sample.iframe)
        np.testing.assert_array_equal(video.image(1, 0), sample.iframe)
        np.testing.assert_array_equal(video.motion(-1, -1), video.motion(2, 5))


@pytest.mark.parametrize(
    ("gop", "position", "message"),
    [(3, 0, "no GOP 3: there are 3"), (-4, 0, "no GOP -4"), (2, 6, "no position in GOP 2 6: there are 6")],
)
def test_an_index_out_of_range_is_told(clip, gop, position, message):
    with CompressedVideo(clip) as video, pytest.raises(VideoError, match=message):
        video.sample(gop, position)


def test_samples_can_be_read_during_a_pass(clip):
    with CompressedVideo(clip) as video:
        expected = [frame.motion for frame in video.frames()]
        for frame in video.frames():
            video.sample(2 - frame.gop, 3)
            np.testing.assert_array_equal(frame.motion, expected[frame.index])


def broken_file(kind, folder, clip):
    path = folder / "clip.mp4"
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("no video\n" * 99)
    elif kind == "text.txt":
        path = folder / "clip.txt"
        path.write_text("no video\n" * 99)
    elif kind == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(5000))
    elif kind == "audio":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=8000, layout="mono")
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            silence.rate = 8000
            container.mux(stream.encode(silence))
            container.mux(stream.encode(None))
    elif kind == "no header":
        write(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "cut AVI":
        path = write(folder / "clip.avi", "mpeg4", qmin=2, qmax=2)
        path.write_bytes(path.read_bytes()[: -path.stat().st_size // 4])
    elif kind == "vp9":
        write(folder / "clip.mkv", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"})
        path = folder / "clip.mkv"
    elif kind == "hevc":
        write(path, "libx265", {"x265-params": "log-level=none"})
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "No such file"),
        ("folder", "is a folder"),
        ("empty", "is empty"),
        ("text", "cannot be opened as a video"),
        ("text.txt", "holds no video"),
        ("noise", "cannot be opened as a video|holds no video"),
        ("audio", "holds no video"),
        ("no header", "cannot be opened as a video"),
        ("cut AVI", r"truncated: its header announces 20 frames, \d+ are sound"),
        ("vp9", "vp9 exports no motion vectors; .*transcode"),
        ("hevc", "hevc exports no motion vectors; .*transcode"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_error(tmp_path, capfd, clip, kind, message):
    path = broken_file(kind, tmp_path, clip)
    capfd.readouterr()
    with pytest.raises(VideoError, match=message) as caught:
        CompressedVideo(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_damage_says_how_many_frames_are_sound(tmp_path, clip):
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip.read_bytes()[:-40])
    with CompressedVideo(path) as video:
        read = []
        with pytest.raises(VideoError, match=r"clip\.mp4: damaged: frame 19 is corrupt; 19 sound frames precede"):
            read.extend(video.frames())
        assert len(read) == 19
        with pytest.raises(VideoError, match="damaged"):
            video.frame_types  # noqa: B018
        with CompressedVideo(clip) as whole:
            np.testing.assert_array_equal(video.sample(1, 6).residual, whole.sample(1, 6).residual)


def open_files():
    names = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own handle is gone by now
            names.add(os.readlink(f"/proc/self/fd/{number}"))
    return names


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux's list of open files")
def test_no_file_stays_open(tmp_path, clip):
    short = tmp_path / "short.mp4"
    short.write_bytes(clip.read_bytes()[:-40])
    names = {str(clip), str(short)}
    with CompressedVideo(clip) as video:
        assert names & open_files()  # the check sees what it has to see
        next(video.frames())
        list(video.frames())
        video.sample(1, 2)
    assert not names & open_files()
    video.close()
    hevc = write(tmp_path / "hevc.mp4", "libx265", {"x265-params": "log-level=none"})
    for path in (hevc, short):
        with pytest.raises(VideoError), CompressedVideo(path) as video:
            list(video.frames())
    assert not {*names, str(hevc)} & open_files()
