import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkdlib.data.datasets import DatasetError
from pkdlib.data.marionette import _props, marionette
from pkdlib.data.marionette._actions import ACTIONS
from pkdlib.video import reader, transcode
from tests.extent import examples

TINY = {"clips_per_pair": 1, "actors": 3, "actions": 2, "frames": 14}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return marionette.generate(tmp_path_factory.mktemp("made"), **TINY)


def staged(count, **changes):
    """What many clips of every action show."""
    rng = np.random.default_rng(0)
    for action in range(len(ACTIONS)):
        recipe = marionette.Recipe(0, action, 0, 0, **changes)
        yield from ((action, recipe.staged(rng)) for _ in range(count))


def looks(staging):
    return staging.family, bool((np.ravel(staging.light) != 1).any()), staging.prop.kind


def test_each_action_has_a_place_of_its_own_and_shares_its_prop_with_two_others():
    homes = [marionette.home(action) for action in range(len(ACTIONS))]
    assert len({home[:2] for home in homes}) == len(ACTIONS)
    kinds = [kind for *_, kind in homes]
    assert {kind: kinds.count(kind) for kind in _props.KINDS} == dict.fromkeys(_props.KINDS, 3)
    families = [{home[0] for home in homes if home[2] == kind} for kind in _props.KINDS]
    assert all(len(own) == 3 for own in families)  # so that the kind of scene tells the three apart


@pytest.mark.parametrize(("appearance", "movement"), [(0.0, 0.6), (0.3, 1.0), (1.0, 0.2)])
def test_what_goes_with_the_action_does_so_as_often_as_declared(appearance, movement):
    difficulty = dataclasses.replace(marionette.DIFFICULTY, movement=movement, handheld=movement)
    found = list(staged(300, appearance=appearance, difficulty=difficulty))
    homely = np.array([looks(staging) == marionette.home(action) for action, staging in found])
    own = np.array([staging.movement == action for action, staging in found])
    expected = {
        "place and prop": (homely, appearance + (1 - appearance) / (12 * 4)),
        "movement": (own, movement + (1 - movement) / 12),
    }
    expected["both"] = (homely & own, expected["place and prop"][1] * expected["movement"][1])  # independently
    expected["camera"] = (np.array([staging.camera == 1 for _, staging in found]), movement)
    for name, (seen, share) in expected.items():
        assert abs(seen.mean() - share) <= 4 * np.sqrt(share * (1 - share) / len(found)), name


def test_what_goes_with_no_action_is_any():
    found = [staging for _, staging in staged(100, appearance=0.0, difficulty=marionette.Difficulty(movement=0.0))]
    assert len({looks(staging) for staging in found}) == 12 * 4
    assert {staging.movement for staging in found} == set(range(12))


def test_behind_a_standing_camera_the_scene_leaves_no_residual(tmp_path):
    left = []
    for handheld in (0.0, 1.0):
        difficulty = dataclasses.replace(marionette.DIFFICULTY, handheld=handheld, movement=1.0)
        recipe = marionette.Recipe(0, marionette.CLASSES.index("march"), 1, 0, 10, difficulty, appearance=1.0)
        transcode.encode(recipe.render(), tmp_path / "clip.mp4")
        residuals = np.stack([frame.residual for frame in reader.CompressedVideo(tmp_path / "clip.mp4").frames()][3:])
        left.append(np.abs(residuals[:, :60, :60].astype(float)).mean())  # a corner that the figure does not enter
    assert left[1] > 3 * left[0]


def test_no_prop_is_shared():
    colours = [tuple(staging.prop.colour) for _, staging in staged(20)]
    assert len(set(colours)) == len(colours)


def test_a_folder_of_another_dial_is_refused(made):
    folder = made.clips[0].path.parent.parent
    with pytest.raises(DatasetError, match=r"other parameters .*appearance: 0\.8 there, 0\.5"):
        marionette.generate(folder, **TINY, appearance=0.5)


@examples(30)
@given(kind=st.sampled_from(_props.KINDS), seed=st.integers(0, 99), right=st.integers(-9, 9), down=st.integers(-9, 9))
def test_a_prop_goes_where_the_hand_goes(kind, seed, right, down):
    prop = _props.draw_prop(kind, np.random.default_rng(seed))
    pictures = []
    for shift in ((0, 0), (right, down)):
        picture = np.full((3, 240, 240), 128, np.float32)
        hand = np.array([120.0, 110.0]) + shift
        _props.draw_in_hand(picture, prop, hand - (20, 31), hand, height=170)
        pictures.append(picture)
    first, second = pictures
    assert 100 < (np.abs(first - 128).max(axis=0) > 4).sum() < 12_000  # it can be seen, and is no wall
    np.testing.assert_allclose(np.roll(first, (down, right), (1, 2)), second, atol=0.5)


@pytest.mark.parametrize("kind", [kind for kind in _props.KINDS if kind != "cello"])
def test_a_prop_turns_with_the_forearm(kind):
    # A quarter turn of the arm is a quarter turn of the picture; a cello alone hangs, whatever the arm does.
    prop = _props.draw_prop(kind, np.random.default_rng(1))
    prop = dataclasses.replace(prop, second=prop.colour)  # no weave, whose grain is not turned
    pictures = []
    for arm in ((30.0, 0.0), (0.0, 30.0)):
        picture = np.full((3, 241, 241), 128, np.float32)
        hand = np.array([120.0, 120.0])
        _props.draw_in_hand(picture, prop, hand - arm, hand, height=170)
        pictures.append(np.abs(picture - 128).max(axis=0) > 20)
    turned = np.rot90(pictures[0], -1)
    assert (turned ^ pictures[1]).sum() < 0.05 * pictures[1].sum()
