"""A packed bank gives the bytes of the plain one, on a fraction of the disk, and no drawn clip stays beside it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkdlib.companion import workspace
from pkdlib.companion.parameters import Parameters
from pkdlib.data import frame_cache, sampling
from pkdlib.data.frame_cache import PLANES, PackedFrames
from tests.extent import examples


@pytest.fixture(scope="module")
def packed_file(tmp_path_factory):
    return tmp_path_factory.mktemp("packed") / "clip.packed"


@given(st.data())
@examples(40)
def test_packing_loses_nothing(packed_file, data):
    count, height, width = (data.draw(st.integers(1, 6)) for _ in range(3))
    seed, spread = data.draw(st.integers(0, 2**32 - 1)), data.draw(st.sampled_from([1, 4, 256]))
    frames = np.random.default_rng(seed).integers(0, spread, (count, 8, height, width), np.uint8)
    frames[:, :3] = frames[:: data.draw(st.integers(1, count)), :3][0]  # an I-frame lasts for its GOP
    packed_file.write_bytes(frame_cache.pack(frames))
    read = PackedFrames(packed_file)
    assert read.shape == frames.shape and len(read) == count
    numbers = data.draw(st.lists(st.integers(0, count - 1), min_size=1))
    for planes in (*PLANES.values(), slice(0, 5), slice(3, 8)):
        np.testing.assert_array_equal(read[numbers, planes], frames[numbers, planes])


def test_a_packed_bank_is_the_plain_one_and_lets_drawn_clips_go(tmp_path):
    small = {"marionette_actors": 3, "marionette_actions": 2, "input_size": 64, "threads": 1}
    found = {}
    for frames in ("bank", "packed"):
        p = Parameters.for_profile("smoke", frames=frames, cache=str(tmp_path / frames), **small)
        bank, clips = workspace.frame_bank(p), workspace.dataset(p).clips
        every = range(len(bank.open(0)))
        found[frames] = [bank.open(clip)[every, PLANES["joint"]].tobytes() for clip in range(len(clips))]
        assert {clip.path.is_file() for clip in clips} == {frames == "bank"}
        again = [path.stat().st_mtime_ns for path in bank.paths]
        workspace.frame_bank.cache_clear()
        assert [path.stat().st_mtime_ns for path in workspace.frame_bank(p).paths] == again  # nothing is drawn for it
    assert found["bank"] == found["packed"]


@pytest.mark.slow
def test_the_cache_of_quick_takes_at_most_300_megabytes(tmp_path):
    p = Parameters.for_profile("quick", cache=str(tmp_path))
    data, side = workspace.dataset(p), round(p.input_size * sampling.CROP_FROM)
    chosen = range(0, len(data.clips), len(data.clips) // 12)
    with data.lent(chosen) as paths:
        sizes = [len(frame_cache.pack(frame_cache.decode_candidates(path, p.candidates, side))) for path in paths]
    assert np.mean(sizes) * len(data.clips) < 300e6
    assert not list(tmp_path.rglob("*.mp4"))
