import hashlib
import json
import subprocess
import sys
import time

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from hypothesis import given
from hypothesis import strategies as st

from pkdlib.data.datasets import DatasetError
from pkdlib.data.marionette import _clips, _recipe, marionette
from pkdlib.data.marionette._actions import ACTIONS, LIMB_JOINTS, SIDES, rest
from pkdlib.data.marionette._figure import draw_actor, pose
from pkdlib.data.marionette._scene import FAMILIES, draw_scene, view
from pkdlib.data.marionette._shapes import capsule, ring
from tests.extent import examples

TINY = {"clips_per_pair": 1, "actors": 3, "actions": 2, "frames": 14}
PHASES = np.linspace(0, 3, 61)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return marionette.generate(tmp_path_factory.mktemp("made"), **TINY)


@pytest.fixture
def stubbed(monkeypatch):
    """Replace drawing and encoding by writing a few bytes; returns the names written."""
    written = []

    def encode(frames, target):
        target.write_bytes(target.name.encode())
        written.append(target.name)

    monkeypatch.setattr(_clips, "encode", encode)
    return written


def _digests(dataset):
    return {clip.name: hashlib.sha256(clip.path.read_bytes()).hexdigest() for clip in dataset.clips}


# What a clip is


def test_clips_are_in_the_papers_form(made):
    assert len(made.clips) == 6
    for clip in made.clips:
        with av.open(clip.path) as container:
            context = container.streams.video[0].codec_context
            assert (context.name, context.width, context.height) == ("mpeg4", 340, 256)
            assert "".join(PictureType(frame.pict_type).name for frame in container.decode(video=0)) == "IPPPPPPPPPPPIP"


def test_limbs_give_motion_vectors_of_several_pixels(made):
    for clip in made.clips:
        with av.open(clip.path) as container:
            container.streams.video[0].codec_context.flags2 |= 1 << 28  # export motion vectors
            frames = list(container.decode(video=0))
        largest, scene = [], []
        for frame in frames[1:12]:
            vectors = frame.side_data.get("MOTION_VECTORS").to_ndarray()
            x = vectors["motion_x"] / vectors["motion_scale"]
            largest.append(np.abs(x).max())
            scene.append(np.median(np.abs(x[vectors["dst_y"] < 40])))
        assert np.median(largest) >= 3
        assert np.median(scene) <= 3  # behind the figure there is only the slow camera


def test_a_march_stays_and_a_walk_moves_ahead(monkeypatch):
    """The figure's way over the scene, read from where it is drawn and where the camera is."""
    for action, least, most in (("walk", 30, 200), ("march", 0, 0)):
        recipe = marionette.Recipe(0, marionette.CLASSES.index(action), 0, 0)
        places = []
        monkeypatch.setattr(_recipe, "draw", lambda *_, ground, **__: places[-1].append(ground[0]))  # noqa: B023

        def watched(scene, x, y, **size):
            places.append([x])  # noqa: B023
            return view(scene, x, y, **size)

        monkeypatch.setattr(_recipe, "view", watched)
        list(recipe.render())
        way = np.ptp([x + on_screen for x, on_screen in places])
        assert least - 1e-6 <= way <= most + 1e-6


def test_no_scene_is_shared(monkeypatch):
    scenes = []

    def kept(*arguments, **size):
        scenes.append(draw_scene(*arguments, **size)[:, :200, :300].tobytes())
        return draw_scene(*arguments, **size)

    monkeypatch.setattr(_recipe, "draw_scene", kept)
    for actor in range(3):
        for index in range(2):
            next(marionette.Recipe(0, 0, actor, index, 2, appearance=1.0).render())
    assert len(set(scenes)) == len(scenes) == 6


# Determinism, resumption, caching


def test_the_number_of_workers_and_of_clips_changes_no_byte(made, tmp_path):
    larger = marionette.generate(tmp_path, **(TINY | {"actors": 4}), workers=2)
    assert _digests(made).items() < _digests(larger).items()
    assert made.checksum != larger.checksum


def test_another_seed_gives_other_clips(made, tmp_path):
    other = marionette.generate(tmp_path, **TINY, seed=1)
    assert not set(_digests(made).values()) & set(_digests(other).values())


def test_a_lost_or_cut_clip_alone_is_made_again(made, tmp_path):
    first = marionette.generate(tmp_path, **TINY)
    digests = _digests(first)
    lost, cut, *others = [clip.path for clip in first.clips]
    before = [path.stat().st_mtime_ns for path in others]
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[:1000])
    again = marionette.generate(tmp_path, **TINY)
    assert again == first
    assert _digests(again) == digests == _digests(made)
    assert [path.stat().st_mtime_ns for path in others] == before


def test_an_interrupted_run_goes_on_where_it_was(stubbed, monkeypatch, tmp_path):
    encode = _clips.encode

    def interrupted(frames, target):
        if len(stubbed) == 4:
            raise KeyboardInterrupt
        encode(frames, target)

    monkeypatch.setattr(_clips, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        marionette.generate(tmp_path, **TINY)
    monkeypatch.setattr(_clips, "encode", encode)
    marionette.generate(tmp_path, **TINY)
    assert len(stubbed) == len(set(stubbed)) == 6
    marionette.generate(tmp_path, **TINY)
    assert len(stubbed) == 6


def test_a_killed_run_leaves_a_folder_that_can_be_finished(made, tmp_path):
    program = f"from pkdlib.data.marionette import marionette as m; m.generate({str(tmp_path)!r}, **{TINY!r})"
    process = subprocess.Popen([sys.executable, "-c", program])
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob("*/*.mp4")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert _digests(marionette.generate(tmp_path, **TINY)) == _digests(made)


@pytest.mark.parametrize(
    ("change", "named"), [({"seed": 5}, "seed: 0 there, 5"), ({"frames": 15}, "frames"), ({"actors": 4}, "actors")]
)
def test_a_folder_of_other_parameters_is_refused(stubbed, tmp_path, change, named):
    marionette.generate(tmp_path, **TINY)
    with pytest.raises(DatasetError, match=f"other parameters .*{named}"):
        marionette.generate(tmp_path, **(TINY | change))
    assert len(stubbed) == 6


def test_a_folder_of_another_difficulty_is_refused(stubbed, monkeypatch, tmp_path):
    marionette.generate(tmp_path, **TINY)
    monkeypatch.setattr(marionette, "DIFFICULTY", marionette.Difficulty(noise=9))
    with pytest.raises(DatasetError, match="difficulty"):
        marionette.generate(tmp_path, **TINY)


def test_the_manifest_tells_parameters_and_every_clip(stubbed, tmp_path):
    dataset = marionette.generate(tmp_path, **TINY)
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["parameters"]["appearance"] == marionette.APPEARANCE
    assert set(manifest["versions"]) == {"av", "numpy"}
    expected = {
        str(clip.path.relative_to(tmp_path)): hashlib.sha256(clip.path.name.encode()).hexdigest()
        for clip in dataset.clips
    }
    assert {name: entry["sha256"] for name, entry in manifest["clips"].items()} == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"actors": 2}, "actors is 2"),
        ({"actions": 1}, "actions is 1"),
        ({"actions": 99}, "actions is 99, there are 12"),
        ({"frames": 0}, "frames is 0"),
        ({"clips_per_pair": 0}, "clips_per_pair is 0"),
        ({"appearance": 1.5}, "appearance is 1.5"),
        ({"seed": -1}, "seed is -1"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_parameters_out_of_range_are_named(tmp_path, change, message):
    with pytest.raises(DatasetError, match=message):
        marionette.generate(tmp_path, **(TINY | change))


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DatasetError, match="cannot use the clip folder"):
        marionette.generate(tmp_path / "file" / "below", **TINY)


# Splits


def test_each_of_25_actors_is_tested_once(stubbed, tmp_path):
    dataset = marionette.generate(tmp_path, clips_per_pair=1, frames=1)
    assert len(dataset.classes) >= 12 and len(dataset.splits) == 3
    groups = [clip.group for clip in dataset.clips]
    parts = [
        {part: {groups[i] for i in getattr(split, part)} for part in ("train", "validation", "test")}
        for split in dataset.splits
    ]
    assert sorted(len(part["test"]) for part in parts) == [8, 8, 9]
    assert set.union(*(part["test"] for part in parts)) == set(groups)
    for part in parts:
        assert len(part["validation"]) in (4, 5)
        assert len(part["train"]) in (11, 12, 13)
        assert set.union(*part.values()) == set(groups)
        assert sum(map(len, part.values())) == 25


@pytest.mark.parametrize("actors", [3, 4, 6, 26])
def test_other_numbers_of_actors_split_as_well(stubbed, tmp_path, actors):
    dataset = marionette.generate(tmp_path, **(TINY | {"actors": actors}))
    tested = [i for split in dataset.splits for i in split.test]
    assert sorted(tested) == list(range(len(dataset.clips)))


# Actions, body, scene


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.name)
def test_actions_are_cycles_of_known_joints(action):
    angles = action.angles(PHASES)
    assert set(angles) <= set(rest(action.view))
    for joint, angle in angles.items():
        np.testing.assert_allclose(action.angles(PHASES + 1)[joint], angle, atol=1e-9, err_msg=joint)
    assert max(np.ptp(angle) for angle in angles.values()) > 20


def test_confusable_pairs_share_their_poses():
    by_name = {action.name: action for action in ACTIONS}
    walk, march = by_name["walk"].angles(PHASES), by_name["march"].angles(PHASES)
    raising, lowering = by_name["raise_arms"].angles(PHASES), by_name["lower_arms"].angles(PHASES[::-1])
    for joint in walk:
        np.testing.assert_array_equal(walk[joint], march[joint])
    for joint in raising:
        np.testing.assert_allclose(raising[joint], lowering[joint], atol=1e-9)
    assert by_name["walk"].travel > 0 == by_name["march"].travel
    up = np.diff(raising["shoulder_near"]) > 0
    assert 0.65 < up.mean() < 0.75  # the rise takes longer than the fall, else the two would be one


@examples(30)
@given(
    seed=st.integers(0, 2**32 - 1),
    view_name=st.sampled_from(["side", "front"]),
    facing=st.sampled_from([-1, 1]),
    data=st.data(),
)
def test_bones_keep_their_length_and_a_foot_its_ground(seed, view_name, facing, data):
    actor = draw_actor(np.random.default_rng(seed), manner=1.0)
    angle = st.floats(0, 120)
    angles = {"lean": np.array([data.draw(st.floats(-30, 60))]), "lift": np.array([0.0])}
    angles |= {f"{joint}_{side}": np.array([data.draw(angle)]) for joint in LIMB_JOINTS for side in SIDES}
    joints = pose(actor, angles, view=view_name, height=170.0, facing=facing)
    bones = {"upper_arm": "shoulder elbow", "forearm": "elbow hand", "thigh": "hip knee", "shin": "knee ankle"}
    for bone, ends in bones.items():
        for side in SIDES:
            start, end = (joints[f"{name}_{side}"][0] for name in ends.split())
            assert np.hypot(*(end - start)) == pytest.approx(170 * actor.lengths[bone])
    soles = max(joints[f"ankle_{side}"][0, 1] for side in SIDES) + 0.03 * 170
    assert soles == pytest.approx(0, abs=1e-9)


@examples(25)
@given(x=st.floats(25, 60), y=st.floats(25, 60), reach=st.floats(0, 18), turn=st.floats(0, 6.3), radius=st.floats(2, 9))
def test_a_capsule_covers_its_area(x, y, reach, turn, radius):
    picture = np.ones((3, 90, 90), np.float32)
    start = np.array([x, y])
    end = start + reach * np.array([np.cos(turn), np.sin(turn)])
    black, cloth = np.zeros(3), np.zeros((64, 64), np.float32)
    capsule(picture, start, end, (radius, radius), black, black, cloth, light=0.0)
    # Its edge fades over a pixel, which adds a twelfth of a disc of radius 1.
    area = np.pi * (radius**2 + 1 / 12) + 2 * radius * np.hypot(*(end - start))
    assert (1 - picture[0]).sum() == pytest.approx(area, rel=0.02, abs=0.6)


@examples(25)
@given(x=st.floats(40, 50), y=st.floats(40, 50), radius=st.floats(6, 30), thickness=st.floats(1, 4))
def test_a_ring_covers_its_area(x, y, radius, thickness):
    picture = np.ones((3, 90, 90), np.float32)
    ring(picture, np.array([x, y]), radius, thickness, np.zeros(3))
    assert (1 - picture[0]).sum() == pytest.approx(4 * np.pi * radius * thickness, rel=0.02)


@given(x=st.floats(0, 9.99), y=st.floats(0, 9.99), slope=st.floats(-3, 3))
def test_the_camera_shifts_by_fractions_of_a_pixel(x, y, slope):
    rows, columns = np.mgrid[:31, :41].astype(np.float32)
    scene = np.stack([columns, rows, 100 + slope * columns - rows])
    seen = view(scene, x, y, height=20, width=30)
    expected_columns, expected_rows = columns[:20, :30] + x, rows[:20, :30] + y
    expected = np.stack([expected_columns, expected_rows, 100 + slope * expected_columns - expected_rows])
    np.testing.assert_allclose(seen, expected, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_scenes_are_textured_everywhere_and_in_range(family):
    for seed in range(3):
        scene = draw_scene(family, np.random.default_rng(seed), height=280, width=400, horizon=190)
        assert scene.shape == (3, 280, 400) and scene.dtype == np.float32
        assert np.isfinite(scene).all() and scene.min() > -60 and scene.max() < 330
        blocks = scene.mean(axis=0)[:272].reshape(17, 16, 25, 16)
        assert np.median(blocks.std(axis=(1, 3))) > 2
