"""Reading compressed video: one pass, random access, other formats, and everything that can be wrong with a file."""

import contextlib
import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import pairwise

import av
import numpy as np
import pytest

from pkdlib.video import transcode
from pkdlib.video.container import BadRequest, DamagedVideo, NoSuchFrame, UnreadableVideo, UnsupportedVideo
from pkdlib.video.motion import reconstruct
from pkdlib.video.reader import CompressedVideo, VideoError, View

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


@pytest.mark.parametrize("accumulate", [True, False])
def test_reference_motion_and_residual_give_the_picture_back(clip, accumulate):
    with CompressedVideo(clip) as video:
        for before, frame in pairwise(video.frames(accumulate)):
            if frame.position == 0:
                assert not frame.motion.any() and not frame.residual.any()
                iframe = frame.image
                continue
            reference = (iframe if frame.gop else video.iframe(0)) if accumulate else before.image
            assert (frame.motion.dtype, frame.residual.dtype) == (np.int16, np.int16)
            np.testing.assert_array_equal(reconstruct(reference, frame.motion, frame.residual), frame.image)


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


def test_slices_and_negative_numbers_are_python_s(clip):
    with CompressedVideo(clip) as video:
        frames = list(video.frames())
        gops = [[frame for frame in frames if frame.gop == number] for number in range(3)]
        for chosen in (slice(None), slice(1, 4), slice(-2, None), slice(None, None, -3), slice(9, 20)):
            for name in ("image", "motion", "residual"):
                stack = getattr(video, name)(1, chosen)
                expected = [getattr(frame, name) for frame in gops[1]][chosen]
                assert len(stack) == len(expected) and stack.dtype == getattr(frames[0], name).dtype
                for array, other in zip(stack, expected, strict=True):
                    np.testing.assert_array_equal(array, other)
        sample = video.sample(-1, slice(2, 5))
        assert sample.iframe.shape == (3, HEIGHT, WIDTH, 3) and sample.motion.shape == (3, HEIGHT, WIDTH, 2)
        np.testing.assert_array_equal(sample.residual[2], gops[2][4].residual)
        np.testing.assert_array_equal(video.iframe(slice(None, None, 2))[1], gops[2][0].image)
        assert len(video.iframe(slice(3, 9))) == 0
        assert [frame.index for frame in video.frames(gops=-1)] == list(range(14, 20))
        assert [frame.index for frame in video.frames(gops=slice(0, 2))] == list(range(14))
        for frame, other in zip(video.frames(gops=slice(1, None), accumulate=False), video.frames(False), strict=False):
            assert frame.index == other.index + 7
        np.testing.assert_array_equal(next(video.frames(gops=1)).image, gops[1][0].image)


def test_frames_are_located(clip):
    with CompressedVideo(clip) as video:
        assert len(video) == 20
        for frame in video.frames():
            assert video.locate(frame.index) == (frame.gop, frame.position) == video.locate(frame.index - 20)
            assert frame.time == video.times[frame.index] == frame.index / 25


def test_a_batch_decodes_each_gop_once_and_no_further_than_needed(clip, monkeypatch):
    asked = [(2, 3), (0, 5), (2, 1), (0, 0), (2, 3)]
    with CompressedVideo(clip) as video:
        expected = [video.sample(*place) for place in asked]
        read = []
        original = type(video._index).read

        def counted(self, source, first=0):
            for packet in original(self, source, first):
                read.append(packet.pts)
                yield packet

        monkeypatch.setattr(type(video._index), "read", counted)
        batch = video.samples(asked)
        # A decoder that holds a picture back is given one packet more.
        assert sorted(set(read)) == sorted(read) and set(read) <= {*range(7), *range(14, 19)}
        for name in batch._fields:
            for array, sample in zip(getattr(batch, name), expected, strict=True):
                np.testing.assert_array_equal(array, getattr(sample, name))


@pytest.mark.parametrize(
    ("read", "kind", "message"),
    [
        (lambda video: video.sample(3, 0), NoSuchFrame, "no GOP 3: there are 3"),
        (lambda video: video.sample(-4, 0), NoSuchFrame, "no GOP -4"),
        (lambda video: video.sample(2, 6), NoSuchFrame, "no position in GOP 2 6: there are 6"),
        (lambda video: video.iframe(3), NoSuchFrame, "no GOP 3"),
        (lambda video: video.locate(20), NoSuchFrame, "no frame 20: there are 20"),
        (lambda video: video.samples([(0, 1), (0, 7)]), NoSuchFrame, "no position in GOP 0 7"),
        (lambda video: video.samples([]), BadRequest, "places: there must be at least one"),
        (lambda video: video.motion(0, 1.5), BadRequest, r"position in GOP 0 1\.5: must be a whole number"),
        (lambda video: video.motion(0, 1, view=View(crop=(0, 0, 49, 9))), BadRequest, r"View\.crop=\(0, 0, 49, 9\)"),
        (lambda video: next(video.frames(view=View(size=(0, 9)))), BadRequest, r"View\.size=\(0, 9\)"),
        (lambda video: CompressedVideo(video.path, on_error="ignore"), BadRequest, "on_error='ignore'"),
        (lambda video: CompressedVideo(video.path, stream=1), BadRequest, "stream=1"),
    ],
)
def test_a_request_that_makes_no_sense_is_told(clip, read, kind, message):
    with CompressedVideo(clip) as video, pytest.raises(kind, match=message) as caught:
        read(video)
    assert isinstance(caught.value, VideoError) and str(caught.value).startswith(f"{clip}: ")
    assert isinstance(caught.value, IndexError if kind is NoSuchFrame else ValueError)


def test_a_closed_video_says_so(clip):
    video = CompressedVideo(clip)
    video.close()
    with pytest.raises(UnreadableVideo, match="was closed"):
        video.iframe(0)


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
        path.write_text("no video\n" * 99, encoding="utf-8")
    elif kind == "text.txt":
        path = folder / "clip.txt"
        path.write_text("no video\n" * 99, encoding="utf-8")
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
        ("text.txt", "cannot be opened as a video"),
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
    classes = {"cut AVI": DamagedVideo, "vp9": UnsupportedVideo, "hevc": UnsupportedVideo}
    with pytest.raises(classes.get(kind, UnreadableVideo), match=message) as caught:
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


@pytest.fixture
def damaged(tmp_path, clip):
    """A stream whose second GOP is torn."""
    with CompressedVideo(clip) as video:
        place, size = video._index.packets[10][["place", "size"]]
    data = bytearray(clip.read_bytes())
    data[place + 12 : place + size] = bytes(size - 12)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    return path


def test_the_sound_part_can_be_kept(tmp_path, clip, damaged):
    with CompressedVideo(clip) as whole:
        expected = list(whole.frames())
    with (
        CompressedVideo(damaged) as video,
        pytest.raises(DamagedVideo, match="frame 10 is corrupt; 10 sound") as caught,
    ):
        list(video.frames())
    assert caught.value.sound_frames == 10
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        with CompressedVideo(damaged, on_error="keep", cache=cache) as video:
            assert "10 sound frames" in video.damage and video.num_frames == 10 == len(video.frame_types)
            assert [tuple(gop) for gop in video.gops] == [(0, 7), (7, 3)]
            for frame, other in zip(video.frames(), expected[:10], strict=True):
                np.testing.assert_array_equal(frame.residual, other.residual)
            np.testing.assert_array_equal(video.sample(-1, -1).motion, expected[9].motion)
    with CompressedVideo(clip, on_error="keep") as video:
        assert video.damage is None and video.num_frames == 20
    avi = broken_file("cut AVI", tmp_path, clip)
    with CompressedVideo(avi, on_error="keep") as video:
        assert "truncated" in video.damage and 0 < video.num_frames < 20
        assert len(list(video.frames())) == video.num_frames
    (tmp_path / "noise").write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(UnreadableVideo):
        CompressedVideo(tmp_path / "noise", on_error="keep")


def test_other_gops_of_a_damaged_stream_can_be_read(clip, damaged):
    with CompressedVideo(damaged) as video, CompressedVideo(clip) as whole:
        np.testing.assert_array_equal(video.sample(2, 5).residual, whole.sample(2, 5).residual)
        np.testing.assert_array_equal(video.sample(1, 2).residual, whole.sample(1, 2).residual)
        with pytest.raises(DamagedVideo, match=r"frame 10 is corrupt; 3 sound frames precede it since frame 7"):
            video.sample(1, 5)


def told(video):
    names = ("codec", "width", "height", "rotation", "frame_rate", "gops", "approximate", "damage", "frame_types")
    return [getattr(video, name) for name in names] + video.times.tolist()


KEPT = {
    "mpeg4_b.avi": ("mpeg4", {"g": "9"}, {"max_b_frames": 2}),
    "h264_b.mp4": ("libx264", {"g": "8", "bf": "3"}, {}),
    "h264.h264": ("libx264", {"g": "8", "bf": "0"}, {}),
    "mpeg2.ts": ("mpeg2video", {"g": "6"}, {"max_b_frames": 0}),
}


@pytest.mark.parametrize("name", KEPT)
def test_a_kept_index_is_the_index(tmp_path, monkeypatch, name):
    codec, options, context = KEPT[name]
    path, cache = write(tmp_path / name, codec, options, **context), tmp_path / "deep" / "cache"
    with CompressedVideo(path) as video:
        expected, motion = told(video), video.motion(-1, -1)
    CompressedVideo(path, cache=cache).close()
    assert len(list(cache.iterdir())) == 1
    with monkeypatch.context() as patch:
        patch.setattr("pkdlib.video.indexing.build", None)  # a kept index needs no other
        with CompressedVideo(path, cache=cache) as video:
            assert told(video) == expected
            np.testing.assert_array_equal(video.motion(-1, -1), motion)
        with CompressedVideo(path, cache=cache) as video:  # now with the types
            assert told(video) == expected
    (kept,) = cache.iterdir()
    for damage in (b"", kept.read_bytes()[:-3], b"{}\n", b"\xff" * 99):
        kept.write_bytes(damage)
        with CompressedVideo(path, cache=cache) as video:
            assert told(video) == expected


def test_an_index_of_a_file_that_has_changed_is_built_anew(tmp_path):
    path = tmp_path / "clip.mp4"
    for count in (5, 9):
        transcode.encode(pictures(count), path)
        with CompressedVideo(path, cache=tmp_path / "cache") as video:
            assert video.num_frames == count
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_an_index_that_cannot_be_kept_is_told(tmp_path, clip):
    (tmp_path / "cache").write_text("a file", encoding="utf-8")
    with pytest.raises(VideoError, match=r"clip\.mp4: its index cannot be kept in .*cache"):
        CompressedVideo(clip, cache=tmp_path / "cache")


_shared = None


def read_shared(place):
    return _shared.sample(*place).residual.copy()


def read_given(video, place):
    return video.sample(*place).residual.copy()


PLACES = [(2, 3), (0, 6), (1, 1), (2, 5), (0, 1), (1, 6)] * 4


def test_threads_and_processes_share_one_video(clip):
    global _shared
    with CompressedVideo(clip) as _shared:
        expected = [read_shared(place) for place in PLACES]
        with ThreadPoolExecutor(4) as threads:
            results = list(threads.map(read_shared, PLACES))
        # Forked processes share the open file and its offset with this one.
        with multiprocessing.get_context("fork").Pool(2) as forked:
            results += forked.map(read_shared, PLACES, chunksize=1)
        for array, other in zip(results, expected * 2, strict=True):
            np.testing.assert_array_equal(array, other)


@pytest.mark.slow
def test_spawned_processes_are_given_a_video(clip):
    with CompressedVideo(clip) as video, ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as spawned:
        for array, place in zip(spawned.map(read_given, [video] * len(PLACES), PLACES), PLACES, strict=True):
            np.testing.assert_array_equal(array, read_given(video, place))


def test_a_video_is_pickled_with_its_index(clip, monkeypatch):
    with CompressedVideo(clip) as video:
        monkeypatch.setattr("pkdlib.video.indexing.build", None)
        with pickle.loads(pickle.dumps(video)) as other:
            assert told(other) == told(video)
            np.testing.assert_array_equal(other.motion(1, 3), video.motion(1, 3))


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
