"""Videos from a path, from bytes and from file objects: the same frames, and one clear line where that cannot be."""

import contextlib
import io
import multiprocessing
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from pkdlib.video.container import BadRequest, DamagedVideo, UnreadableVideo, UnsupportedVideo
from pkdlib.video.reader import CompressedVideo, VideoError
from tests.extent import examples
from tests.video.test_formats import pictures, write

FILES = {
    "mpeg4.m4v": ("mpeg4", {"g": "5"}, {}),
    "mpeg4_b.avi": ("mpeg4", {"g": "6"}, {"bframes": 2}),
    "h264_b.mp4": ("libx264", {"g": "6", "bf": "2"}, {}),
    "h264.mkv": ("libx264", {"g": "5", "bf": "0"}, {}),
    "mpeg2.ts": ("mpeg2video", {"g": "5"}, {"bframes": 0}),
}
COUNT = 13


class Halting(io.BytesIO):
    """A file object that gives less than was asked for, as the standard allows; it has no `readinto`, nor a name."""

    readinto = None

    def read(self, size=-1):
        return super().read(size if 0 <= size <= 100 else size // 2)


KINDS = {
    "bytes": lambda path: path.read_bytes(),
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(b"no" + path.read_bytes())[2:],
    "ndarray": lambda path: np.fromfile(path, np.uint8),
    "memmap": lambda path: np.memmap(path, np.uint8, "r"),
    "BytesIO": lambda path: io.BytesIO(path.read_bytes()),
    "BufferedReader": lambda path: open(path, "rb"),  # noqa: SIM115
    "FileIO": lambda path: open(path, "rb", buffering=0),  # noqa: SIM115
    "Halting": lambda path: Halting(path.read_bytes()),
}


@contextlib.contextmanager
def opened(kind, path, **options):
    given = KINDS[kind](path)
    try:
        with CompressedVideo(given, **options) as video:
            yield video
        assert not getattr(given, "closed", False)
    finally:
        if hasattr(given, "close") and kind != "memoryview":
            given.close()


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A file of each container, with its path's video and those of all other kinds of sources, open all the time."""
    folder, files = tmp_path_factory.mktemp("sources"), {}
    with contextlib.ExitStack() as stack:
        for name, (codec, options, other) in FILES.items():
            path = write(folder / name, codec, options, frames=pictures(COUNT), **other)
            videos = {kind: stack.enter_context(opened(kind, path)) for kind in KINDS}
            files[name] = path, stack.enter_context(CompressedVideo(path)), videos
        yield files


@pytest.fixture
def clip(clips):
    return clips["h264_b.mp4"][0]


def told(video):
    names = ("codec", "width", "height", "frame_rate", "gops", "approximate", "damage", "frame_types", "num_frames")
    return [getattr(video, name) for name in names] + video.times.tolist()


READS = {
    "sample": lambda video, gop, position, accumulate: video.sample(gop, position, accumulate),
    "motion": lambda video, gop, position, accumulate: [video.motion(gop, position, accumulate)],
    "image": lambda video, gop, position, accumulate: [video.image(gop, position)],
    "iframe": lambda video, gop, position, accumulate: [video.iframe(gop)],
    "vectors": lambda video, gop, position, accumulate: [video.vectors(gop, position)],
}


@pytest.mark.parametrize("name", FILES)
def test_all_sources_give_the_same_pass(clips, name):
    path, video, others = clips[name]
    expected = list(video.frames())
    assert len(expected) == COUNT and len(video.gops) >= 3
    assert video.path == path
    for other in others.values():
        assert told(other) == told(video) and other.path is None
        for frame, same in zip(expected, other.frames(), strict=True):
            for one, another in zip(frame, same, strict=True):
                np.testing.assert_array_equal(one, another)


@examples(30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(FILES)),
    st.lists(
        st.tuples(
            st.sampled_from(sorted(KINDS)), st.sampled_from(sorted(READS)), st.integers(0, COUNT - 1), st.booleans()
        ),
        min_size=1,
        max_size=6,
    ),
)
def test_random_access_to_all_sources_is_that_to_the_path(clips, name, asked):
    _, video, others = clips[name]
    for kind, what, frame, accumulate in asked:
        place = video.locate(frame)
        for one, other in zip(
            READS[what](others[kind], *place, accumulate), READS[what](video, *place, accumulate), strict=True
        ):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_told_of_all_sources_alike(tmp_path, clips, kind):
    for name in ("mpeg4_b.avi", "h264_b.mp4", "mpeg4.m4v"):
        path = tmp_path / name
        data = clips[name][0].read_bytes()
        path.write_bytes(data[: -len(data) // 4])
        said = []
        for source in (CompressedVideo, None):
            with contextlib.ExitStack() as stack:
                try:
                    video = stack.enter_context(source(path) if source else opened(kind, path))
                    list(video.frames())
                except VideoError as error:
                    label, _, reason = str(error).partition(": ")
                    said.append((type(error), reason))
        assert len(said) == 2 and said[0] == said[1] and said[0][0] in (DamagedVideo, UnreadableVideo)
        assert label.startswith(f"<{kind}") and label.endswith(f", {path.stat().st_size:,} bytes>")


def test_messages_name_the_source(clip):
    data = clip.read_bytes()
    for given_, name in (
        (data, f"<bytes, {len(data):,} bytes>"),
        (np.frombuffer(data, np.uint8), f"<ndarray, {len(data):,} bytes>"),
        (io.BytesIO(data), f"<BytesIO, {len(data):,} bytes>"),
    ):
        with CompressedVideo(given_) as video, pytest.raises(VideoError) as caught:
            video.iframe(99)
        assert str(caught.value) == f"{name}: no GOP 99: there are 3"
        with pytest.raises(UnreadableVideo) as caught:
            video.iframe(0)
        assert str(caught.value) == f"{name}: was closed; open it again to read on"
    with clip.open("rb") as file, CompressedVideo(file) as video, pytest.raises(VideoError) as caught:
        video.iframe(99)
    assert str(caught.value).startswith(f"<BufferedReader '{clip}', {len(data):,} bytes>: no GOP 99")


class Failing(io.BytesIO):
    """A file object that fails at one of its reads, with what no one has foreseen."""

    left = 0

    def read(self, size=-1):
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("the line\nis dead")
        return super().read(size)


@pytest.mark.parametrize("name", ["h264_b.mp4", "mpeg2.ts"])
def test_a_file_object_that_fails_is_one_clear_error(clips, name):
    file, whole = Failing(clips[name][0].read_bytes()), clips[name][1].sample(1, 2)
    reached = set()
    for reads in (*range(80), 10**9):
        file.left = reads
        step = "opening"
        try:
            with CompressedVideo(file) as video:
                step = "reading"
                for one, other in zip(video.sample(1, 2), whole, strict=True):
                    np.testing.assert_array_equal(one, other)
                step = "done"
        except UnreadableVideo as error:
            assert str(error).startswith("<Failing") and str(error).endswith(": cannot be read (the line is dead)")
        reached.add(step)
    assert reached == {"opening", "reading", "done"}


def pipe():
    reading, writing = os.pipe()
    os.close(writing)
    return os.fdopen(reading, "rb")


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda clip: 5, BadRequest, "<int>: must be a path, bytes or another buffer, or a binary file object"),
        (lambda clip: None, BadRequest, "<NoneType>: must be a path"),
        (lambda clip: b"", UnreadableVideo, "<bytes, 0 bytes>: is empty"),
        (lambda clip: io.BytesIO(), UnreadableVideo, "<BytesIO, 0 bytes>: is empty"),
        (lambda clip: b"no video\n" * 99, UnreadableVideo, "<bytes, 891 bytes>: cannot be opened as a video"),
        (lambda clip: str(clip).encode(), UnreadableVideo, "bytes>: cannot be opened as a video"),
        (lambda clip: np.zeros((9, 9), np.uint8)[:, ::2], BadRequest, "<ndarray>: must hold bytes in one piece"),
        (lambda clip: np.zeros(99, np.int16), BadRequest, "<ndarray>: must hold bytes in one piece"),
        (lambda clip: clip.open(encoding="latin-1"), UnreadableVideo, r"gives text; open it in binary mode, 'rb'"),
        (lambda clip: pipe(), UnreadableVideo, "is not seekable; give the bytes that its read"),
    ],
)
def test_what_is_no_source_is_told_in_one_line(clip, make, kind, message):
    with contextlib.ExitStack() as stack:
        given_ = make(clip)
        if hasattr(given_, "close"):
            stack.callback(given_.close)
        with pytest.raises(kind, match=message) as caught:
            CompressedVideo(given_)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("<")


def test_a_codec_without_vectors_is_told_of_bytes(tmp_path):
    path = write(tmp_path / "clip.mkv", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}, frames=pictures(2))
    with pytest.raises(UnsupportedVideo, match=r"^<bytes, [\d,]+ bytes>: the codec vp9 exports no motion vectors"):
        CompressedVideo(path.read_bytes())


def test_an_index_is_kept_by_content(tmp_path, clips, monkeypatch):
    cache, (path, video, _) = tmp_path / "cache", clips["h264_b.mp4"]
    data = path.read_bytes()
    other = clips["h264.mkv"][0].read_bytes()
    CompressedVideo(data, cache=cache).close()
    CompressedVideo(other, cache=cache).close()
    assert len(list(cache.iterdir())) == 2
    monkeypatch.setattr("pkdlib.video.indexing.build", None)  # a kept index needs no other
    with path.open("rb") as file:
        for given_ in (data, bytearray(data), io.BytesIO(data), file):
            with CompressedVideo(given_, cache=cache) as again:
                assert told(again) == told(video)
                np.testing.assert_array_equal(again.motion(-1, -1), video.motion(-1, -1))
    assert len(list(cache.iterdir())) == 2
    with pytest.raises(TypeError):  # one byte is another, and so is the content
        CompressedVideo(data[:-1] + bytes([data[-1] ^ 1]), cache=cache)
    with pytest.raises(TypeError):  # a path is known by its name, size and time stamp
        CompressedVideo(path, cache=cache)


def test_bytes_are_pickled_and_a_file_object_says_that_it_cannot_be(clips):
    _, video, others = clips["mpeg2.ts"]
    for kind, other in others.items():
        if isinstance(other._source, type(others["bytes"]._source)):
            with pickle.loads(pickle.dumps(other)) as again:
                assert told(again) == told(video)
                np.testing.assert_array_equal(again.motion(1, 3), video.motion(1, 3))
        else:
            with pytest.raises(BadRequest, match=f"^<{kind}.*: a file object cannot be given to another process; give"):
                pickle.dumps(other)


_shared = None


def read_shared(place):
    try:
        return _shared.sample(*place).residual.copy()
    except VideoError as error:
        return str(error)


@pytest.mark.parametrize("kind", ["bytes", "BufferedReader"])
def test_threads_share_every_source_and_forked_processes_all_but_file_objects(clips, kind):
    global _shared
    _, video, others = clips["h264_b.mp4"]
    _shared, places = others[kind], [(2, 0), (0, 5), (1, 1), (1, 5), (0, 1)] * 4
    expected = [video.sample(*place).residual for place in places]
    with ThreadPoolExecutor(4) as threads:
        for array, other in zip(threads.map(read_shared, places), expected, strict=True):
            np.testing.assert_array_equal(array, other)
    with multiprocessing.get_context("fork").Pool(1) as forked:
        results = forked.map(read_shared, places[:5])
    for array, other in zip(results, expected[:5], strict=True):
        if kind == "bytes":
            np.testing.assert_array_equal(array, other)
        else:
            assert array.endswith("a forked process cannot share a file object; give a path or bytes instead")
    np.testing.assert_array_equal(read_shared(places[1]), expected[1])


def test_a_closed_video_lets_go_of_the_bytes(clip):
    data = bytearray(clip.read_bytes())
    with CompressedVideo(data) as video:
        video.iframe(1)
        with pytest.raises(BufferError):  # as long as it may be read
            data.append(0)
    data.append(0)


def test_pickling_a_closed_video_of_bytes_says_so(clip):
    with CompressedVideo(clip.read_bytes()) as video:
        pass
    with pytest.raises(UnreadableVideo, match="was closed"):
        pickle.dumps(video)
